"""The command line: one function per command.

Exit codes: 0 done; 1 the request could not be carried out, with one line on standard error that says why; 2 the
command line itself was wrong; 130 interrupted. With --json, standard output is one JSON document and nothing else.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import platform
import sys
import warnings
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from circuitlab import __version__

if TYPE_CHECKING:
    import pandas as pd

    from circuitlab.graph import Graph
    from circuitlab.replacement import ReplacementModel
    from circuitlab.store.schema import Manifest

FIGURES = (".svg", ".pdf", ".png", ".pgf")
GRAPHS = (".json", ".zip")
PAGES = (".html",)


def reports_errors(command: Callable) -> Callable:
    """What a user got wrong ends in one line and exit code 1, not in a traceback."""

    @functools.wraps(command)
    def wrapped(*arguments: Any, **options: Any) -> None:
        try:
            command(*arguments, **options)
        except BrokenPipeError:
            raise  # click ends quietly where nobody reads on
        except (ValueError, OSError) as error:
            raise click.ClickException(str(error)) from error

    return wrapped


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="circuitlab")
def main() -> None:
    """A microscope for language models: trace a prompt, train a transcoder, see what there is."""
    if not sys.warnoptions:
        warnings.filterwarnings("ignore", category=DeprecationWarning)


def model_options(command: Callable) -> Callable:
    """--model, --transcoder, --device and --dtype, the same for every command that loads a model."""
    for option in (
        click.option("--dtype", type=click.Choice(["float32", "float64", "bfloat16"]), help="Default: float32."),
        click.option("--device", help="cpu, cuda, mps. Default: the best there is."),
        click.option(
            "--transcoder",
            help="A folder with a CLT or PLT, or: neurons. Default: atlas's own, else neurons.",
        ),
        click.option("--model", default="atlas", show_default=True, help="atlas, a folder, or a hub id."),
    ):
        command = option(command)
    return command


def as_json(command: Callable) -> Callable:
    return click.option("--json", "json_out", is_flag=True, help="Print one JSON document instead of text.")(command)


def _as_text(document: Any) -> str:
    """A JSON document; numbers that JSON does not know (NaN: nothing was there to measure) as null."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: plain(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [plain(item) for item in value]
        return None if isinstance(value, float) and not math.isfinite(value) else value

    return json.dumps(plain(document), ensure_ascii=False, indent=1, allow_nan=False)


def _load(model: str, transcoder: str | None, device: str | None, dtype: str | None) -> ReplacementModel:
    import torch

    from circuitlab.replacement import load

    _quiet_transformers()
    return load(model, transcoder, device=device, dtype=getattr(torch, dtype) if dtype else None)


def _quiet_transformers() -> None:
    """Weights load in milliseconds here; their progress bars are noise."""
    from transformers.utils import logging

    logging.disable_progress_bar()


# ---- trace ----


@main.command()
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
    loaded = _load(model, transcoder, device, dtype)
    graph = loaded.trace(prompt, list(targets) or None, progress=not json_out, **options)
    pruned = graph.prune(nodes, edges)
    for path in outputs:
        _write(graph, pruned, path, nodes, edges)
    summary = _summary(loaded, graph, pruned, n_paths, outputs)
    click.echo(_as_text(summary) if json_out else _report(summary))


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
        "answers": _records(graph.targets, ["token", "probability"]),
        "routes": _records(graph.routes(n_paths), ["text", "contribution", "share"]) if n_paths else [],
        "paths": _records(graph.paths(n_paths), ["text", "contribution", "share"]) if n_paths else [],
        "scores": {"replacement": scores.replacement, "completeness": scores.completeness},
        "check": {"targets": len(check), "worst_relative_miss": check.attrs["worst"]},
        "active_features": graph.metadata["active_features"],
        **counts,
        "model": loaded.model.name,
        "basis": graph.metadata["transcoder"],
        "neurons": graph.metadata.get("basis") == "neurons",
        "written": [str(path) for path in outputs],
    }


def _records(table: pd.DataFrame, columns: list[str]) -> list[dict]:
    """Rows as plain dictionaries; missing values as None."""
    values = [[None if value != value else value for value in table[column].tolist()] for column in columns]
    return [dict(zip(columns, row, strict=True)) for row in zip(*values, strict=True)]


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


# ---- train ----


@main.command()
@click.option("--model", required=True, help="A folder or a hub id.")
@click.option("--text", type=click.Path(path_type=Path, exists=True), help="Text, JSONL or Parquet; default: sampled.")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), help="Default: runs/MODEL-KIND.")
@click.option("--kind", type=click.Choice(["clt", "plt"]), default="clt", show_default=True)
@click.option("--features", "n_features", type=int, default=1024, show_default=True, help="Features per layer.")
@click.option(
    "--activation",
    type=click.Choice(["batchtopk", "topk", "jumprelu"]),
    default="batchtopk",
    show_default=True,
)
@click.option("--k", type=int, default=16, show_default=True, help="Active features per position and layer.")
@click.option("--skip/--no-skip", default=False, show_default=True, help="Add linear skip connections.")
@click.option("--minutes", type=float, default=10.0, show_default=True, help="Wall time; ignored with --steps.")
@click.option("--steps", type=int, help="Optimiser steps instead of minutes.")
@click.option("--tokens", "n_tokens", type=int, help="Tokens to sample or to take from the text.  [default: 1000000]")
@click.option("--batch-size", type=int, help="Positions per step.")
@click.option("--learning-rate", type=float)
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--device", help="cpu, cuda, mps. Default: the best there is.")
@click.option("--resume/--fresh", default=True, show_default=True, help="Go on from OUT's checkpoint, or ignore it.")
@as_json
@reports_errors
def train(
    model: str, text: Path | None, out: Path | None, minutes: float, steps: int | None, device: str | None,
    resume: bool, json_out: bool, **settings: Any,
) -> None:  # fmt: skip
    """Train a transcoder on a model and measure how well it stands in for the MLPs."""
    from circuitlab.model import load_model
    from circuitlab.replacement import ATLAS
    from circuitlab.training import TrainingConfig
    from circuitlab.training import train as train_transcoder

    settings = {name: value for name, value in settings.items() if value is not None}
    settings |= {"minutes": minutes} if steps is None else {"steps": steps}
    config = TrainingConfig(**settings)
    _quiet_transformers()
    loaded = load_model(ATLAS / "model" if model == "atlas" else model, device=device)
    folder = out or Path("runs") / f"{Path(model).name}-{config.kind}"
    result = train_transcoder(loaded, config, text, folder, resume=resume, progress=not json_out)
    metrics = dataclasses.asdict(result.metrics)
    if json_out:
        click.echo(_as_text({"out": str(folder), "metrics": metrics}))
    else:
        click.echo(f"{result.metrics}\nwritten to {folder}")


# ---- intervene ----


@main.command()
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
    loaded = _load(model, transcoder, device, dtype)
    where = [int(text) if text.removeprefix("-").isdigit() else text for text in positions] or None
    run = loaded.intervene(
        prompt, request, positions=where, freeze_attention=not live, freeze_norms=not live, **options
    )
    verdict = run.verdict(controls) if controls and run.edits.features else None
    tokens = run.top_tokens(top)
    if json_out:
        sizes = ("effect", "p", "stands_out", "top_changed", "controls_changed", "matched")
        click.echo(_as_text({
            "prompt": prompt,
            "set": {name: list(nodes) for name, nodes in run.edits.names.items()},
            "tokens": _records(tokens, list(tokens.columns)),
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
    try:
        if equals and name:
            return name, float(number)
    except ValueError:
        pass
    raise ValueError(f"{option} {text}: give a name and a number, like {option} Texas=-1")


# ---- harvest ----


@main.command()
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
@click.option("--shard", default="0/1", show_default=True, help="Read part K of N, as K/N; merge joins them.")
@click.option("--top", "n_top", type=click.IntRange(1), default=10, show_default=True, help="Top examples kept.")
@click.option("--before", type=click.IntRange(0), default=32, show_default=True, help="Tokens kept before a peak.")
@click.option("--after", type=click.IntRange(0), default=8, show_default=True, help="Tokens kept after a peak.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--engine", type=click.Choice(["local", "ray"]), default="local", show_default=True)
@click.option("--workers", type=click.IntRange(1), default=2, show_default=True, help="Processes, with --engine ray.")
@click.option("--resume/--fresh", default=True, show_default=True, help="Go on from OUT's checkpoint, or ignore it.")
@click.option("--tally/--no-tally", default=True, show_default=True, help="Keep what merging needs.")
@as_json
@reports_errors
def harvest(
    model: str, transcoder: str | None, device: str | None, dtype: str | None, corpus: str, out: Path, tokens: int,
    shard: str, engine: str, workers: int, resume: bool, tally: bool, json_out: bool, **settings: Any,
) -> None:  # fmt: skip
    """Run a corpus through a model and keep what each feature stands for in the store OUT; goes on where it stopped."""
    from circuitlab.harvest import HarvestSettings, ray_engine
    from circuitlab.harvest import harvest as run
    from circuitlab.harvest.generated import Generated

    part = _shard(shard)
    loaded = _load(model, transcoder, device, dtype)
    source, name = corpus, None
    if corpus == "generated":
        source, name = Generated(loaded.model, tokens, seed=settings["seed"]), f"{tokens:,} tokens the model wrote"
    ray = ray_engine.Ray(functools.partial(_load, model, transcoder, device, dtype), workers)
    result = run(
        loaded, source, out, HarvestSettings(**settings), shard=part, engine=ray if engine == "ray" else None,
        resume=resume, keep_tally=tally, progress=not json_out, name=name,
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
        click.echo(_as_text(counts))
        return
    click.echo(f"{manifest.n_tokens:,} tokens of {manifest.n_records:,} records of {manifest.corpus}")
    for reason, count in manifest.skipped.items():
        click.echo(f"  {count:,} {reason}")
    click.echo(f"written to {out}")


@main.command()
@click.argument("stores", nargs=-1, required=True, type=click.Path(path_type=Path, file_okay=False))
@click.option("-o", "--out", required=True, type=click.Path(path_type=Path, file_okay=False), help="The merged store.")
@as_json
@reports_errors
def merge(stores: tuple[Path, ...], out: Path, json_out: bool) -> None:
    """Join the STORES of a corpus's shards into the store that one harvest of the whole gives."""
    from circuitlab.harvest import merge as join

    _tell_store(join(stores, out), out, json_out)


# ---- validate ----


@main.command()
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
    loaded = _load(model, transcoder, device, dtype)
    report = graph.validate(loaded, n_features=n_features, freeze_attention=not live, freeze_norms=not live)
    if output is not None:
        report.savefig(output)
    numbers = dict(zip(report.summary()["what"], report.summary()["value"], strict=True))
    if json_out:
        tables = {"features": report.features, "edges": report.edges, "distances": report.distances}
        records = {name: _records(table, list(table.columns)) for name, table in tables.items()}
        click.echo(_as_text({"prompt": graph.prompt, "summary": numbers, **records}))
        return
    click.echo("\n  ".join([graph.prompt, *report.lines()]))
    click.echo("\nby layer distance\n" + report.distances.to_string(index=False, float_format="{:.3f}".format))
    if output is not None:
        click.echo(f"written {output}")


# ---- features ----


@main.command()
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
        click.echo(_as_text(evidence.to_json()) if json_out else command.evidence_text(evidence))
        return
    if text is None and layer is None and density is None and labelled is None:
        found = command.overview(opened) | ({"written": str(target)} if target is not None else {})
        click.echo(_as_text(found) if json_out else command.overview_text(found))
        return
    if text is not None:
        table = opened.search(text, n, examples)
    else:
        table = opened.filter(layer, density, labelled).head(n)
    click.echo(_as_text(_records(table, list(table.columns))) if json_out else command.table_text(table))


def _label(option: str) -> tuple[str, str]:
    name, equals, text = option.partition("=")
    if not equals:
        raise ValueError(f"--label {option!r}: expected NAME=TEXT, such as L3/55=Texas")
    return name, text


# ---- label ----


@main.command()
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
    labels = {"labels": _records(report.table, list(report.table.columns))}
    click.echo(_as_text(found | labels) if json_out else command.text(report, found))
    if report.stopped:
        raise click.ClickException(f"{report.stopped}; what was labelled is kept, and the same call goes on")


# ---- info ----

PACKAGES = ("torch", "transformers", "transformer-lens", "numpy", "pandas", "matplotlib", "anywidget", "jupyterlab")


@main.command()
@as_json
@reports_errors
def info(json_out: bool) -> None:
    """Versions, the device, and the card of the bundled model."""
    import torch

    from circuitlab.model import best_device
    from circuitlab.replacement import ATLAS

    card = json.loads((ATLAS / "card.json").read_text("utf-8"))
    found = {
        "circuitlab": __version__,
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES},
        "device": best_device(),
        "threads": torch.get_num_threads(),
        "atlas": card,
    }
    click.echo(_as_text(found) if json_out else _describe(found))


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _describe(found: dict) -> str:
    lines = [
        f"circuitlab {found['circuitlab']}, Python {found['python']}, {found['device']}, {found['threads']} threads"
    ]
    lines += [f"  {name:<18}{number or 'not installed'}" for name, number in found["packages"].items()]
    lines += ["", "atlas, the bundled model"]
    lines += [f"  {name:<46}{value}" for name, value in found["atlas"].items()]
    return "\n".join(lines)


if __name__ == "__main__":
    from circuitlab.cli import main as whole  # this module by its name, with which the other commands register

    whole()
else:
    import circuitlab.transcoder_commands  # noqa: F401
