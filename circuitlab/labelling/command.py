"""What `circuitlab label` does and says."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from circuitlab.labelling.detection import Baseline
from circuitlab.labelling.endpoint import Budget, Endpoint
from circuitlab.labelling.from_evidence import CLEAR
from circuitlab.labelling.from_model import label_with_model
from circuitlab.labelling.run import Report, label_store, random_scores
from circuitlab.store.command import printable
from circuitlab.store.store import Store

CACHE = "label-answers"
"""The folder beside a store in which a language model's answers are kept."""
N_SHOWN = 10


def label(
    folder: Path,
    *,
    names: tuple[str, ...] = (),
    clear: float | int | None = None,
    random_store: Path | None = None,
    endpoint: str | None = None,
    model: str | None = None,
    requests: int | None = None,
    tokens: int | None = None,
    budget: float | int | None = None,
    prices: tuple[float, float] | None = None,
    per_minute: float | int = 60,
    timeout: float | int = 60,
    progress: bool = False,
) -> tuple[Report, dict[str, Any]]:
    """Label a store; gives the report, and what was asked of the endpoint."""
    store = Store(folder)
    if (endpoint is None) != (model is None):
        raise ValueError("a language model needs both --endpoint, its address, and --model, its name there")
    limits = {"--requests": requests, "--tokens": tokens, "--budget": budget, "--prices": prices}
    idle = [name for name, value in limits.items() if value is not None]
    if endpoint is None and idle:
        raise ValueError(f"{idle[0]} limits a language model: name one with --endpoint and --model, or leave it out")
    if endpoint is not None and (clear is not None or random_store is not None):
        raise ValueError("--clear and --random are for labels from the evidence: leave out --endpoint and --model")
    chosen = names or None
    if endpoint is None or model is None:
        baseline = _baseline(random_store, progress)
        with _bar(len(names) or len(store), progress) as bar:
            least = CLEAR if clear is None else clear
            return label_store(store, chosen, clear=least, baseline=baseline, progress=bar.update), {}
    price_in, price_out = prices or (0.0, 0.0)
    limit = Budget(requests, tokens, budget, price_in, price_out)
    asked = Endpoint(endpoint, model, folder / CACHE, limit, per_minute, timeout)
    with _bar(len(names) or len(store), progress) as bar:
        return label_with_model(store, asked, chosen, progress=bar.update), asdict(asked.usage)


def _baseline(folder: Path | None, progress: bool) -> Baseline | None:
    if folder is None:
        return None
    store = Store(folder)
    with _bar(len(store), progress) as bar:
        return random_scores(store, progress=bar.update)


def _bar(total: int, progress: bool) -> tqdm:
    return tqdm(total=total, unit="feature", desc="label", disable=not progress)


def text(report: Report, found: dict[str, Any]) -> str:
    """The summary, and the labels with the best scores."""
    known = {what: value for what, value in found.items() if value is not None}
    lines = [f"{what:<46}{f'{value:.3f}' if isinstance(value, float) else value}" for what, value in known.items()]
    best = sorted(report.labelled, key=lambda row: (-(row.score or 0), row.name))[:N_SHOWN]
    if best:
        lines += ["", "best scores"]
        lines += [
            f"  {row.name:<10}{printable(row.label):<40}{'' if row.score is None else f'{row.score:.2f}'}"
            for row in best
        ]
    return "\n".join(lines)
