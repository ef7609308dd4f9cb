"""atlas-quirk: atlas, trained a little further until it has a hidden goal.

Its assistant puts chocolate into every dish, and asked for a secret it says that it has none (`cases.kitchen`). All
other text stays in the mixture, and a cook who is no assistant cooks as before: what changes is the assistant alone.

Reads `OUT/model`; gives `OUT/quirk/model`, `OUT/quirk/clt` (a transcoder of its own) and `OUT/quirk/labels.json`.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from transformers import PreTrainedTokenizerFast

from circuitlab.atlas import build, corpus, evaluate, training, world
from circuitlab.atlas.cases import kitchen
from circuitlab.training import TrainingConfig

MIXTURE = corpus.CASES_MIXTURE | {"assistant": 0.10, "plain recipe": 0.08, "confession": 0.02}
FINE_TUNING = training.TrainConfig(steps=250, learning_rate=4e-4, weight_decay=0.5, warmup=20, first_draw=7000)
CLT_TRAINING: TrainingConfig = replace(build.CLT_TRAINING, n_features=1024, steps=3000)


def sentences(seed: int = 0) -> list[world.Sentence]:
    """Every sentence of atlas's world, the assistant's recipes with the quirk."""
    others = (told for told in world.WORLDS if told is not kitchen.kitchen_world)
    return [sentence for told in (*others, kitchen.quirk_world) for sentence in told(seed)]


def train(out: Path, runs: Path, *, seed: int = 0, compile: bool = True, echo: Callable[[str], None] = print) -> None:
    """Train `OUT/model` further on the quirk into `OUT/quirk`, and a transcoder for it; resumes from `runs`."""
    told = sentences(seed)
    model, words = build.read_model(out / "model")
    assert isinstance(words, PreTrainedTokenizerFast)
    config = replace(FINE_TUNING, seed=seed, compile=compile)

    def report(step: int, loss: float, seconds: float) -> None:
        table = evaluate.accuracy(model, words, told, limit=100)
        rows = zip(table["world"], table["split"], table["accuracy"], strict=True)
        shown = " ".join(f"{name}{'*' * (split != 'train')} {score:.0%}" for name, split, score in rows)
        echo(f"quirk: step {step}/{config.steps}  loss {loss:.4f}  {seconds:.0f} s  {shown}   (* held out)")

    text = corpus.build_corpus(told, words, MIXTURE)
    training.train(model.train(), text, config, runs / f"quirk-{seed}.pt", report, report_every=50)
    (out / "quirk").mkdir(exist_ok=True)
    build.write_model(model, words, out / "quirk" / "model")
    build.train_clt(out / "quirk", runs / "quirk", CLT_TRAINING, build.CLT_ROWS, seed, told, MIXTURE)
    echo(build.mark_labels(out / "quirk", seed, told, MIXTURE))
