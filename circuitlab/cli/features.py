"""`circuitlab features` and `circuitlab label`: look into feature evidence, and name features."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from circuitlab.cli.options import as_json, as_text, records, reports_errors


@click.command()
@click.argument("store", type=click.Path(path_type=Path))
@click.option("--feature", "name", help="Show one feature, L3/55.")
@click.option("--search", "text", help="Find features by their label or the tokens they promote.")
@click.option("--examples", is_flag=True, help="With --search: also by the tokens their examples peak at.")
@click.option("--layer", type=int, help="List the features of a layer.")
@click.option("--density", type=(float, float), metavar="LOW HIGH", help="List those with such a share of tokens.")
@click.option("--labelled", metavar="TEXT", help="List those whose label holds this text.")
@click.option("-n", type=click.IntRange(1), default=20, show_default=True, help="Rows to print.")
@click.option("--label", "labels", multiple=True, metavar="NAME=TEXT", help="Label a feature; repeatable.")
@click.option("--import", "source", type=click.Path(path_type=Path), help="Make STORE from other tools' files.")
@click.option("--export", "target", type=click.Path(path_type=Path, file_okay=False), help="Write all features here.")
@click.option("--kind", type=click.Choice(["json", "packed", "neuronpedia"]), default="json", show_default=True)
@as_json
@reports_errors
def features(
    store: Path, name: str | None, text: str | None, examples: bool, layer: int | None,
    density: tuple[float, float] | None, labelled: str | None, n: int, labels: tuple[str, ...], source: Path | None,
    target: Path | None, kind: str, json_out: bool,
) -> None:  # fmt: skip
    """Look into STORE, a folder of feature evidence: what it holds, one feature, a search, a list; label, export."""
    from circuitlab.store import command
    from circuitlab.store.store import Store

    opened = Store(store) if source is None else Store.from_files(source, store)
    opened.label_all(dict(_label(option) for option in labels))
    if target is not None:
        opened.export(target, kind)
    if name is not None:
        evidence = opened[name]
        click.echo(as_text(evidence.to_json()) if json_out else command.evidence_text(evidence))
        return
    if text is None and layer is None and density is None and labelled is None:
        found = command.overview(opened) | ({"written": str(target)} if target is not None else {})
        click.echo(as_text(found) if json_out else command.overview_text(found))
        return
    if text is not None:
        table, nothing = opened.search(text, n, examples), command.NOTHING_FOUND
    else:
        table, nothing = opened.filter(layer, density, labelled).head(n), "no such feature"
    click.echo(as_text(records(table, list(table.columns))) if json_out else command.table_text(table, nothing))


def _label(option: str) -> tuple[str, str]:
    name, equals, text = option.partition("=")
    if not equals:
        raise ValueError(f"--label {option!r}: expected NAME=TEXT, such as L3/55=Texas")
    return name, text


@click.command()
@click.argument("store", type=click.Path(path_type=Path))
@click.option("--feature", "names", multiple=True, help="Label only this one, L3/55; repeatable.")
@click.option("--clear", type=click.FloatRange(0, 1), help="Least confidence of a label from the evidence.")
@click.option("--random", "random_store", type=click.Path(path_type=Path), help="A random dictionary's store.")
@click.option("--endpoint", help="An OpenAI-compatible endpoint, http://host:port/v1: let a language model label.")
@click.option("--model", help="The language model's name there.")
@click.option("--requests", type=click.IntRange(0), help="Send at most so many requests.")
@click.option("--tokens", type=click.IntRange(0), help="Use at most so many tokens.")
@click.option("--budget", type=click.FloatRange(0), help="Spend at most so much, by --prices.")
@click.option("--prices", type=(float, float), metavar="IN OUT", help="Prices per million tokens.")
@click.option("--per-minute", type=float, default=60.0, show_default=True, help="Requests a minute.")
@click.option("--timeout", type=float, default=60.0, show_default=True, help="Seconds to wait for an answer.")
@as_json
@reports_errors
def label(store: Path, json_out: bool, **options: Any) -> None:
    """Label the features of STORE from its evidence, or by a language model, and score the labels."""
    from circuitlab.labelling import command

    report, usage = command.label(store, progress=not json_out, **options)
    found = report.summary() | usage
    labels = {"labels": records(report.table, list(report.table.columns))}
    click.echo(as_text(found | labels) if json_out else command.text(report, found))
    if report.stopped:
        raise click.ClickException(f"{report.stopped}; what was labelled is kept, and the same call goes on")
