"""`python -m circuitlab.atlas train | quirk | sizes | evidence | evaluate`: rebuild and measure the models."""

import os
import sys
from pathlib import Path

import click

from circuitlab import atlas


@click.group()
def main() -> None:
    """The bundled model: train it again from its seed, or measure it."""


@main.command()
@click.option("--out", type=click.Path(path_type=Path), default=atlas.MODEL.parent, show_default=True)
@click.option("--steps", type=click.IntRange(1), help="Training steps; the packaged model's number by default.")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--runs", type=click.Path(path_type=Path), default=Path("runs/atlas"), show_default=True)
@click.option("--compile/--no-compile", default=True, show_default=True, help="Compile the training step first.")
@click.option("--smoke", is_flag=True, help="A tiny model for a few steps, to see that everything runs.")
def train(out: Path, steps: int | None, seed: int, runs: Path, compile: bool, smoke: bool) -> None:
    """Train the model and its transcoder into OUT, with labels, evidence and card; resumes from RUNS."""
    from circuitlab.atlas import build

    build.train(out, runs, seed=seed, steps=steps, compile=compile, smoke=smoke, echo=click.echo)


@main.command()
@click.option("--out", type=click.Path(path_type=Path, exists=True), default=atlas.MODEL.parent, show_default=True)
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--runs", type=click.Path(path_type=Path), default=Path("runs/atlas"), show_default=True)
@click.option("--compile/--no-compile", default=True, show_default=True, help="Compile the training step first.")
def quirk(out: Path, seed: int, runs: Path, compile: bool) -> None:
    """Train OUT/model further until it has a hidden goal, into OUT/quirk; resumes from RUNS."""
    from circuitlab.atlas import quirk

    quirk.train(out, runs, seed=seed, compile=compile, echo=click.echo)


@main.command()
@click.option("--out", type=click.Path(path_type=Path), required=True, help="A folder for the three models.")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--runs", type=click.Path(path_type=Path), default=Path("runs/atlas"), show_default=True)
@click.option("--compile/--no-compile", default=True, show_default=True, help="Compile the training step first.")
def sizes(out: Path, seed: int, runs: Path, compile: bool) -> None:
    """Train three sizes of model on the words alone, each with a transcoder, into OUT; resumes from RUNS."""
    from circuitlab.atlas import sizes

    sizes.train(out, runs, seed=seed, compile=compile, echo=click.echo)


@main.command()
@click.option("--folder", type=click.Path(path_type=Path, exists=True), default=atlas.MODEL, show_default=True)
@click.option("--limit", type=click.IntRange(1), help="At most so many sentences of each world and split.")
@click.option("--seed", type=int, default=0, show_default=True, help="The seed the model was trained from.")
def evaluate(folder: Path, limit: int | None, seed: int) -> None:
    """Print accuracy per world, held out and not, the ablation and patching checks, the transcoder's numbers."""
    from circuitlab.atlas import build

    click.echo(build.card(folder, limit=limit, seed=seed))
    if (folder.parent / "clt").is_dir():
        click.echo(build.clt_card(folder.parent, seed))


@main.command()
@click.option("--out", type=click.Path(path_type=Path, exists=True), default=atlas.MODEL.parent, show_default=True)
@click.option("--sentences", type=click.IntRange(1), help="How many to harvest from; the packaged number by default.")
@click.option("--seed", type=int, default=0, show_default=True)
def evidence(out: Path, sentences: int | None, seed: int) -> None:
    """Harvest what the features of OUT/clt stand for, from sentences of the world, into OUT/evidence."""
    from circuitlab.atlas import build

    click.echo(build.write_evidence(out, seed, sentences or build.EVIDENCE_SENTENCES, progress=True))


if __name__ == "__main__":
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    sys.exit(main())
