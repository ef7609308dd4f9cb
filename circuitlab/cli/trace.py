"""`circuitlab trace`: a prompt into a graph, told in text and written as page, figure or file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from circuitlab.cli.options import as_json, as_text, load_replacement, model_options, records, reports_errors

if TYPE_CHECKING:
    from circuitlab.graph import Graph
    from circuitlab.replacement import ReplacementModel

FIGURES = (".svg", ".pdf", ".png", ".pgf")
GRAPHS = (".json", ".zip")
PAGES = (".html",)


@click.command()
@click.argument("prompt")
@model_options
@click.option(
    "-o", "--output", "outputs", multiple=True, type=click.Path(path_type=Path, dir_okay=False),
    help="Where to write: .html, .svg, .pdf, .png, .pgf, .json or .zip; may be given several times.",
)  # fmt: skip
@click.option("--target", "targets", multiple=True, help="A token to explain instead of the likeliest; repeatable.")
@click.option("--position", type=int, default=-1, show_default=True, help="Where targets are read; -1 is the last.")
@click.option("--max-logits", type=int, default=10, show_default=True)
@click.option("--logit-mass", type=float, default=0.95, show_default=True)
@click.option("--max-features", type=int, help="Keep only so many features, the most influential. Default: all.")
@click.option("--mask-bos/--no-mask-bos", default=True, show_default=True)
@click.option("--nodes", type=float, default=0.8, show_default=True, help="Influence kept when pruning nodes.")
@click.option("--edges", type=float, default=0.98, show_default=True, help="Influence kept when pruning edges.")
@click.option(
    "--paths", "n_paths", type=click.IntRange(0), default=5, show_default=True, help="Paths and routes to print."
)
@as_json
@reports_errors
def trace(
    prompt: str, model: str, transcoder: str | None, device: str | None, dtype: str | None, outputs: tuple[Path, ...],
    targets: tuple[str, ...], nodes: float, edges: float, n_paths: int, json_out: bool, **options: Any,
) -> None:  # fmt: skip
    """Trace PROMPT: print the answer, the strongest paths, the scores and the check; write what -o asks for."""
    for path in outputs:
        _require_known(path)
    loaded = load_replacement(model, transcoder, device, dtype)
    graph = loaded.trace(prompt, list(targets) or None, progress=not json_out, **options)
    pruned = graph.prune(nodes, edges)
    for path in outputs:
        _write(graph, pruned, path, nodes, edges)
    summary = _summary(loaded, graph, pruned, n_paths, outputs)
    click.echo(as_text(summary) if json_out else _report(summary))


def _require_known(path: Path) -> None:
    known = (*PAGES, *FIGURES, *GRAPHS)
    if path.suffix.lower() not in known:
        raise ValueError(f"{path}: cannot write a {path.suffix or 'file without an ending'}; known: {', '.join(known)}")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path}: the folder {path.parent} does not exist; make it first")


def _write(graph: Graph, pruned: Graph, path: Path, nodes: float, edges: float) -> None:
    suffix = path.suffix.lower()
    if suffix in PAGES:
        from circuitlab.page import write_page

        write_page(graph, path, nodes=nodes, edges=edges)
    elif suffix in FIGURES:
        pruned.savefig(path)
    elif suffix == ".json":
        pruned.save(path)
    else:
        graph.save(path)


def _summary(loaded: ReplacementModel, graph: Graph, pruned: Graph, n_paths: int, outputs: tuple[Path, ...]) -> dict:
    """What a trace found, as plain values."""
    check, scores = graph.check(), graph.scores()
    sizes = {"full": graph.counts, "pruned": pruned.counts}
    counts = {name: {"nodes": nodes, "edges": edges} for name, (nodes, edges) in sizes.items()}
    return {
        "prompt": graph.prompt,
        "tokens": list(graph.tokens),
        "answers": records(graph.targets, ["token", "probability"]),
        "routes": records(graph.routes(n_paths), ["text", "contribution", "share"]) if n_paths else [],
        "paths": records(graph.paths(n_paths), ["text", "contribution", "share"]) if n_paths else [],
        "scores": {"replacement": scores.replacement, "completeness": scores.completeness},
        "check": {"targets": len(check), "worst_relative_miss": check.attrs["worst"]},
        "active_features": graph.metadata["active_features"],
        **counts,
        "model": loaded.model.name,
        "basis": graph.metadata["transcoder"],
        "neurons": graph.in_neurons,
        "written": [str(path) for path in outputs],
    }


def _report(summary: dict) -> str:
    from circuitlab.graph import percent

    first, *others = summary["answers"]
    answer = f"{summary['prompt']} → {first['token'].strip()}"
    if first["probability"] is not None:
        answer += f"  ({percent(first['probability'])})"
    lines = [answer]
    if others:
        also = ", ".join(f"{o['token'].strip()} {percent(o['probability'])}" for o in others[:4] if o["probability"])
        lines += [f"  also: {also}"] if also else []
    if summary["routes"]:
        lines += ["", "what it runs through (all paths from a word through the features of one label; they overlap)"]
        lines += [f"  {route['text']}  ({route['share']:.0%} of the logit)" for route in summary["routes"]]
    if summary["paths"]:
        lines += ["", "strongest paths"]
        lines += [f"  {path['text']}" for path in summary["paths"]]
    full, pruned, scores = summary["full"], summary["pruned"], summary["scores"]
    lines += [
        "",
        f"graph         {full['nodes']:,} nodes, {full['edges']:,} edges; "
        f"pruned to {pruned['nodes']:,} nodes, {pruned['edges']:,} edges",
        f"scores        replacement {scores['replacement']:.3f}, completeness {scores['completeness']:.3f}",
        f"check         in-edges against pre-activation, {summary['check']['targets']:,} targets: "
        f"worst relative miss {summary['check']['worst_relative_miss']:.1e}",
    ]
    if summary["neurons"]:
        lines.append(f"basis         {summary['basis']}: nodes are single neurons, the rest of a layer is one node")
    if summary["written"]:
        lines.append(f"written       {', '.join(summary['written'])}")
    return "\n".join(lines)
