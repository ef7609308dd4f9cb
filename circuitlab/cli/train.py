"""`circuitlab train`: a transcoder for a model."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import click

from circuitlab.cli.options import as_json, as_text, quiet_transformers, reports_errors


@click.command()
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
    quiet_transformers()
    loaded = load_model(ATLAS / "model" if model == "atlas" else model, device=device)
    folder = out or Path("runs") / f"{Path(model).name}-{config.kind}"
    result = train_transcoder(loaded, config, text, folder, resume=resume, progress=not json_out)
    metrics = dataclasses.asdict(result.metrics)
    if json_out:
        click.echo(as_text({"out": str(folder), "metrics": metrics}))
    else:
        click.echo(f"{result.metrics}\nwritten to {folder}")
