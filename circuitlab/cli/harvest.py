"""`circuitlab harvest` and `circuitlab merge`: a corpus into feature evidence."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from circuitlab.cli.options import as_json, as_text, load_replacement, model_options, reports_errors

if TYPE_CHECKING:
    from circuitlab.store.schema import Manifest


@click.command()
@model_options
@click.option(
    "--corpus", required=True,
    help="A .txt, .jsonl or .parquet file, a folder of them, a data set's hub id, or: generated.",
)  # fmt: skip
@click.option(
    "-o", "--out", required=True, type=click.Path(path_type=Path, file_okay=False), help="The store's folder."
)
@click.option("--records", type=click.IntRange(1), help="Read only so many records.")
@click.option("--tokens", type=click.IntRange(1), default=1_000_000, show_default=True, help="Tokens to generate.")
@click.option("--shard", default="0/1", show_default=True, help="Read part K of N in blocks of 64 records, as K/N.")
@click.option("--top", "n_top", type=click.IntRange(1), default=10, show_default=True, help="Top examples kept.")
@click.option("--before", type=click.IntRange(0), default=32, show_default=True, help="Tokens kept before a peak.")
@click.option("--after", type=click.IntRange(0), default=8, show_default=True, help="Tokens kept after a peak.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option(
    "--random", "random_out", type=click.Path(path_type=Path, file_okay=False),
    help="Also harvest a random dictionary as dense as the transcoder into this folder, for label --random.",
)  # fmt: skip
@click.option("--engine", type=click.Choice(["local", "ray"]), default="local", show_default=True)
@click.option("--workers", type=click.IntRange(1), default=2, show_default=True, help="Processes, with --engine ray.")
@click.option("--resume/--fresh", default=True, show_default=True, help="Go on from OUT's checkpoint, or ignore it.")
@click.option("--tally/--no-tally", default=True, show_default=True, help="Keep what merging needs.")
@as_json
@reports_errors
def harvest(
    model: str, transcoder: str | None, device: str | None, dtype: str | None, corpus: str, out: Path, tokens: int,
    shard: str, engine: str, workers: int, resume: bool, tally: bool, json_out: bool, random_out: Path | None,
    **settings: Any,
) -> None:  # fmt: skip
    """Run a corpus through a model and keep what each feature stands for in the store OUT; goes on where it stopped."""
    from circuitlab.harvest import HarvestSettings, ray_engine
    from circuitlab.harvest import harvest as run
    from circuitlab.harvest.generated import Generated
    from circuitlab.random_dictionary import random_like

    part = _shard(shard)
    if random_out is not None and part != (0, 1):
        raise ValueError("--random needs the densities of the whole corpus: leave out --shard, or merge first")
    loaded = load_replacement(model, transcoder, device, dtype)
    source, name = corpus, None
    if corpus == "generated":
        source, name = Generated(loaded.model, tokens, seed=settings["seed"]), f"{tokens:,} tokens the model wrote"
    ray = ray_engine.Ray(functools.partial(load_replacement, model, transcoder, device, dtype), workers)
    result = run(
        loaded, source, out, HarvestSettings(**settings), shard=part, engine=ray if engine == "ray" else None,
        resume=resume, keep_tally=tally, progress=not json_out, name=name,
    )  # fmt: skip
    if random_out is not None:
        run(
            random_like(loaded, out, source), source, random_out, HarvestSettings(**settings), resume=resume,
            keep_tally=tally, progress=not json_out, name=name,
        )  # fmt: skip
    _tell_store(result.manifest, out, json_out, tokens_per_second=round(result.rate))


def _shard(text: str) -> tuple[int, int]:
    part, _, of = text.partition("/")
    if not (part.isdecimal() and of.isdecimal() and int(part) < int(of)):
        raise ValueError(f"--shard {text} is no part of a corpus: write K/N with K from 0 to N - 1, as 0/4")
    return int(part), int(of)


def _tell_store(manifest: Manifest, out: Path, json_out: bool, **more: Any) -> None:
    counts = dataclasses.asdict(manifest) | {"out": str(out), **more}
    if json_out:
        click.echo(as_text(counts))
        return
    click.echo(f"{manifest.n_tokens:,} tokens of {manifest.n_records:,} records of {manifest.corpus}")
    for reason, count in manifest.skipped.items():
        click.echo(f"  {count:,} record{'s' if count > 1 else ''}: {reason}")
    click.echo(f"written to {out}")


@click.command()
@click.argument("stores", nargs=-1, required=True, type=click.Path(path_type=Path, file_okay=False))
@click.option("-o", "--out", required=True, type=click.Path(path_type=Path, file_okay=False), help="The merged store.")
@as_json
@reports_errors
def merge(stores: tuple[Path, ...], out: Path, json_out: bool) -> None:
    """Join the STORES of a corpus's shards into the store that one harvest of the whole gives."""
    from circuitlab.harvest import merge as join

    _tell_store(join(stores, out), out, json_out)
