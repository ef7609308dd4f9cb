"""`circuitlab intervene`: run a prompt with features set to other values."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import click

from circuitlab.cli.options import as_json, as_text, load_replacement, model_options, records, reports_errors


@click.command()
@click.argument("prompt")
@model_options
@click.option(
    "--set", "factors", multiple=True, metavar="NAME=M", required=False,
    help="A label, feature (L3/55), node, error or token, and its factor: 0 ablates, -1 inhibits; repeatable.",
)  # fmt: skip
@click.option("--value", "values", multiple=True, metavar="NAME=V", help="The same, set to the activation V.")
@click.option("--at", "positions", multiple=True, metavar="POSITION", help="Where: an index or a token; repeatable.")
@click.option("--mode", default="propagating", show_default=True, help="propagating, direct, constrained, steering.")
@click.option("--end-layer", type=int, help="Of mode constrained. Default: the last layer that is set.")
@click.option("--live", is_flag=True, help="Let attention patterns and norms answer too.")
@click.option("--tokens", "n_tokens", type=click.IntRange(0), default=0, help="Continue the text by so many tokens.")
@click.option("--top", type=click.IntRange(1), default=5, show_default=True, help="Likeliest tokens to print.")
@click.option("--controls", type=click.IntRange(0), default=20, show_default=True, help="Random controls; 0: none.")
@as_json
@reports_errors
def intervene(
    prompt: str, model: str, transcoder: str | None, device: str | None, dtype: str | None, factors: tuple[str, ...],
    values: tuple[str, ...], positions: tuple[str, ...], live: bool, top: int, controls: int, json_out: bool,
    **options: Any,
) -> None:  # fmt: skip
    """Run PROMPT with some of its features set to other values: print what it answers before and after."""
    from circuitlab.graph import percent
    from circuitlab.interventions import Value

    request: dict[str, Any] = dict(_assignment("--set", text) for text in factors)
    request |= {name: Value(number) for name, number in (_assignment("--value", text) for text in values)}
    if not request:
        raise ValueError("nothing is set: give --set NAME=M, for example --set Texas=-1")
    loaded = load_replacement(model, transcoder, device, dtype)
    where = [int(text) if text.removeprefix("-").isdigit() else text for text in positions] or None
    run = loaded.intervene(
        prompt, request, positions=where, freeze_attention=not live, freeze_norms=not live, **options
    )
    verdict = run.verdict(controls) if controls and run.edits.features else None
    tokens = run.top_tokens(top)
    if json_out:
        sizes = ("effect", "p", "stands_out", "top_changed", "controls_changed", "matched")
        click.echo(as_text({
            "prompt": prompt,
            "set": {name: list(nodes) for name, nodes in run.edits.names.items()},
            "tokens": records(tokens, list(tokens.columns)),
            "continuation": {"before": run.baseline_continuation, "after": run.continuation} if run.n_tokens else None,
            "verdict": None if verdict is None else {name: getattr(verdict, name) for name in sizes},
        }))  # fmt: skip
        return
    lines = [prompt]
    lines += [f"  {text}  ({len(run.edits.names[text.rpartition('=')[0]])} nodes)" for text in (*factors, *values)]
    lines += ["", f"  {'token':<20}{'before':>8}{'after':>9}"]
    lines += [
        f"  {row.token.strip():<20}{percent(row.before):>8}{percent(row.after):>9}" for row in tokens.itertuples()
    ]
    if run.n_tokens:
        lines += ["", f"  before: {run.baseline_continuation}", f"  after:  {run.continuation}"]
    if verdict is not None:
        lines += ["", f"  against random features: {verdict.text}"]
    click.echo("\n".join(lines))


def _assignment(option: str, text: str) -> tuple[str, float]:
    """NAME=NUMBER; names may hold an equals sign, like the label sum=_5."""
    name, equals, number = text.rpartition("=")
    if equals and name:
        with suppress(ValueError):
            return name, float(number)
    raise ValueError(f"{option} {text}: give a name and a number, like {option} Texas=-1")
