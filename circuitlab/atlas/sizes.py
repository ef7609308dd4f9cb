"""Three sizes of model on the words alone: do larger models share more features between languages?

Each is trained from the same seed on the same text in English, French and Chinese (opposites, synonyms, translations),
then gets a transcoder of its own, with as many features per layer for all. They are not in the package: what was
measured on them is in the README.

Gives `OUT/small`, `OUT/middle`, `OUT/large`, each with `model` and `clt`.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from circuitlab.atlas import build, corpus, evaluate, network, tokenizer, training, world
from circuitlab.training import TrainingConfig

MIXTURE = {"antonym": 0.25, "antonym_in": 0.30, "synonym": 0.15, "translation": 0.20, "same": 0.10}
SIZES = {
    "small": training.TrainConfig(n_layers=3, d_model=48, d_mlp=192, n_heads=3),
    "middle": training.TrainConfig(n_layers=4, d_model=80, d_mlp=320, n_heads=5),
    "large": training.TrainConfig(n_layers=5, d_model=112, d_mlp=448, n_heads=7),
}
STEPS = 600
CLT_TRAINING: TrainingConfig = replace(build.CLT_TRAINING, n_features=512, steps=1200)
CLT_ROWS = 3_000


def train(out: Path, runs: Path, *, seed: int = 0, compile: bool = True, echo: Callable[[str], None] = print) -> None:
    """Train the three sizes and their transcoders into `out`; resumes from `runs`."""
    told = [sentence for sentence in world.sentences(seed) if sentence.world in MIXTURE]
    words = tokenizer.build_tokenizer(world.sentences(seed))
    text = corpus.build_corpus(told, words, MIXTURE)
    for name, size in SIZES.items():
        config = replace(size, steps=STEPS, rows=256, chains=16, weight_decay=0.8, seed=seed, compile=compile)
        model = network.build_model(
            words, seed, n_layers=config.n_layers, d_model=config.d_model, d_mlp=config.d_mlp, n_heads=config.n_heads
        )

        def report(step: int, loss: float, seconds: float, name=name, model=model) -> None:
            table = evaluate.accuracy(model, words, told, limit=200)
            rows = zip(table["world"], table["split"], table["accuracy"], strict=True)
            shown = " ".join(f"{world}{'*' * (split != 'train')} {score:.0%}" for world, split, score in rows)
            echo(f"{name}: step {step}/{STEPS}  loss {loss:.4f}  {seconds:.0f} s  {shown}   (* held out)")

        training.train(model, text, config, runs / f"{name}-{seed}.pt", report, report_every=200)
        (out / name).mkdir(parents=True, exist_ok=True)
        build.write_model(model, words, out / name / "model")
        runs_here = runs / f"clt-{name}"
        build.train_clt(out / name, runs_here, CLT_TRAINING, CLT_ROWS, seed, told, MIXTURE, labelled=False)
