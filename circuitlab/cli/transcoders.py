"""`circuitlab inspect`, `convert` and `cache`: transcoder folders and what was downloaded."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click

from circuitlab.cli.options import as_json, as_text, quiet_transformers, reports_errors


@click.command()
@click.argument("folder")
@click.option("--model", help="Measure whether it fits this model: atlas, a folder, or a hub id.")
@click.option("--device", help="cpu, cuda, mps. Default: the best there is.")
@as_json
@reports_errors
def inspect(folder: str, model: str | None, device: str | None, json_out: bool) -> None:
    """Say what kind of transcoder FOLDER (or owner/repo on the hub) holds, and whether it fits a model."""
    from circuitlab.formats.transcoders import described, find_transcoder
    from circuitlab.hub import locate_transcoder

    located = locate_transcoder(folder)
    found = described(find_transcoder(located.folder, located.fetched))
    if model is not None:
        from circuitlab.replacement import load

        quiet_transformers()
        loaded = load(model, folder, device=device, check=False)
        found |= {key: loaded.info[key] for key in ("model", "explained_variance", "matches", "fit")}
    click.echo(as_text(found) if json_out else _inspected(folder, found))


def _inspected(folder: str, found: dict) -> str:
    k = f", k = {found['k']}" if found["k"] else ""
    made_for = f" for {found['model_name']}" if found["model_name"] else ""
    lines = [
        f"{folder}: {found['form']}{made_for}",
        f"  {found['layers']} layers x {found['features']:,} features, d_model {found['d_model']}, "
        f"{found['activation']}{k}{', skip connections' if found['skip'] else ''}",
        f"  reads {found['input_hook']}, writes {found['output_hook']}",
        f"  {found['parameters']:,} parameters, {found['bytes'] / 1e9:.3g} GB in {found['precision']}, "
        f"{found['bytes_in_float32'] / 1e9:.3g} GB in float32",
        *(f"  {note}" for note in found["notes"]),
    ]
    if "fit" in found:
        lines.append(f"  on {found['model']}: {found['fit']}")
    return "\n".join(lines)


@click.command()
@click.argument("source")
@click.argument("target", type=click.Path(path_type=Path, file_okay=False))
@click.option("--to", "kind", type=click.Choice(["plt", "clt"]), help="Default: the kind that it is.")
@as_json
@reports_errors
def convert(source: str, target: Path, kind: Literal["plt", "clt"] | None, json_out: bool) -> None:
    """Write the transcoder SOURCE (of any kind; a folder, or owner/repo) into the folder TARGET as circuit-tracer's."""
    from circuitlab.formats.transcoders import convert_transcoder, described, find_transcoder
    from circuitlab.hub import locate_transcoder

    located = locate_transcoder(source)
    written = convert_transcoder(located.folder, target, kind, located.fetched)
    found = described(find_transcoder(written)) | {"written": str(written)}
    click.echo(as_text(found) if json_out else f"{_inspected(str(written), found)}")


@click.group()
def cache() -> None:
    """What was downloaded from the hub: list it, empty it."""


@cache.command("list")
@as_json
@reports_errors
def cache_list(json_out: bool) -> None:
    """Repositories in the cache, with their sizes."""
    from circuitlab.cache import contents
    from circuitlab.hub import cache_folder

    table = contents()
    if json_out:
        rows = [{**row, "last_used": str(row["last_used"])} for row in table.to_dict("records")]
        click.echo(as_text({"folder": str(cache_folder()), "repositories": rows}))
    elif not len(table):
        click.echo(f"{cache_folder()} is empty")
    else:
        shown = table.assign(megabytes=(table["bytes"] / 1e6).round(1))
        columns = ["repository", "kind", "revisions", "files", "megabytes", "last_used"]
        click.echo(f"{cache_folder()}\n" + shown[columns].to_string(index=False))


@cache.command("empty")
@click.argument("repository", required=False)
@click.option("--yes", is_flag=True, help="Do not ask.")
@as_json
@reports_errors
def cache_empty(repository: str | None, yes: bool, json_out: bool) -> None:
    """Delete REPOSITORY from the cache; without a name, all transcoders (models stay)."""
    from circuitlab.cache import empty

    if not yes:
        click.confirm(f"Delete {repository or 'all downloaded transcoders'}?", abort=True, err=True)
    freed = empty(repository)
    click.echo(as_text({"freed_bytes": freed}) if json_out else f"{freed / 1e6:.1f} MB freed")
