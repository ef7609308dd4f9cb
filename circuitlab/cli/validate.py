"""`circuitlab validate`: test a graph's claims by interventions."""

from __future__ import annotations

from pathlib import Path

import click

from circuitlab.cli.options import as_json, as_text, load_replacement, model_options, records, reports_errors


@click.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@model_options
@click.option("--features", "n_features", type=click.IntRange(1), default=30, show_default=True, help="To ablate.")
@click.option("--live", is_flag=True, help="Let attention patterns and norms answer too.")
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="A figure: .pdf, .svg or .png.")
@as_json
@reports_errors
def validate(
    file: Path, model: str, transcoder: str | None, device: str | None, dtype: str | None, n_features: int, live: bool,
    output: Path | None, json_out: bool,
) -> None:  # fmt: skip
    """Test what a saved graph (FILE, .json or .zip) says against its model, by ablating its features."""
    from circuitlab.graph import Graph

    if output is not None and output.suffix.lower() not in (".pdf", ".svg", ".png"):
        raise ValueError(f"{output}: a figure ends in .pdf, .svg or .png")
    graph = Graph.open(file)
    loaded = load_replacement(model, transcoder, device, dtype)
    report = graph.validate(loaded, n_features=n_features, freeze_attention=not live, freeze_norms=not live)
    if output is not None:
        report.savefig(output)
    numbers = dict(zip(report.summary()["what"], report.summary()["value"], strict=True))
    if json_out:
        tables = {"features": report.features, "edges": report.edges, "distances": report.distances}
        rows = {name: records(table, list(table.columns)) for name, table in tables.items()}
        click.echo(as_text({"prompt": graph.prompt, "summary": numbers, **rows}))
        return
    click.echo("\n  ".join([graph.prompt, *report.lines()]))
    click.echo("\nby layer distance\n" + report.distances.to_string(index=False, float_format="{:.3f}".format))
    if output is not None:
        click.echo(f"written {output}")
