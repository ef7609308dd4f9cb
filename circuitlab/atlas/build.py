"""Builds the bundled model into a folder and writes its model card.

Computes: world → tokenizer → trained model, rounded to bfloat16 and measured after it is read back; then its
cross-layer transcoder, labels and evidence. Reads nothing but the tables; gives `OUT/model` (a Hugging Face folder that
loads offline), `OUT/clt`, `OUT/labels.json`, `OUT/evidence` and `OUT/card.json`.
"""

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd
import torch
from transformers import AutoTokenizer, LlamaForCausalLM, PreTrainedTokenizerBase

from circuitlab.atlas import corpus, evaluate, network, tokenizer, training, world, worth
from circuitlab.atlas.labels import label_features, sample_sentences, write_labels
from circuitlab.formats.transcoders import read_transcoder, write_transcoder
from circuitlab.harvest import HarvestSettings, harvest
from circuitlab.harvest.checkpoint import LOCK_FILE
from circuitlab.model import load_model
from circuitlab.replacement import load
from circuitlab.training import Metrics, TrainingConfig, load_tokens
from circuitlab.training import evaluate as evaluate_transcoder
from circuitlab.training import train as train_transcoder

# The transcoder: sized so that model and transcoder together stay under 20 MB in bfloat16.
CLT_TRAINING = TrainingConfig(
    n_features=2560, k=20, steps=5000, batch_size=2048, sequence_length=corpus.OWN_TEXT_LENGTH
)
CLT_ROWS = 20_000  # rows of own text
CARD_ROWS = 1_000  # and of other text for the card
CARD_SENTENCES = 4_000  # of each world and split, at most: more than any world holds out
SMOKE_CLT = replace(CLT_TRAINING, n_features=32, k=4, steps=3, batch_size=64)
# What the package carries of each feature's evidence: little, since it is small.
EVIDENCE = HarvestSettings(
    n_top=4, n_lower=1, before=20, after=2, coactivation_positions=8_192, n_partners=4, n_tokens=6, block_records=512
)
EVIDENCE_SENTENCES = 12_000
LABEL_SENTENCES = 8_000
# Facts, words and sums first; then a shorter run from there on which the opposites come to hold in every language; last
# the case studies.
STAGES = (
    (training.TrainConfig(), corpus.MIXTURE),
    (
        training.TrainConfig(steps=1000, learning_rate=1.5e-3, weight_decay=0.8, first_draw=3000),
        corpus.WORDS_MIXTURE,
    ),
    (
        training.TrainConfig(steps=2400, learning_rate=1.5e-3, weight_decay=0.5, first_draw=4000),
        corpus.CASES_MIXTURE,
    ),
)
SMOKE = training.TrainConfig(steps=3, rows=64, chains=4, n_layers=2, d_model=32, d_mlp=64, n_heads=2, compile=False)


def read_model(folder: Path) -> tuple[LlamaForCausalLM, PreTrainedTokenizerBase]:
    """The model in float32 and its tokenizer, from a folder alone."""
    model = LlamaForCausalLM.from_pretrained(
        folder, local_files_only=True, dtype=torch.float32, attn_implementation="eager"
    )
    return model.eval(), AutoTokenizer.from_pretrained(folder, local_files_only=True)


def write_model(model: LlamaForCausalLM, words: PreTrainedTokenizerBase, folder: Path) -> None:
    """Weights rounded to bfloat16, to be read back as float32; the folder appears whole or not at all."""
    draft = folder.with_name(folder.name + ".part")
    shutil.rmtree(draft, ignore_errors=True)
    rounded = LlamaForCausalLM(model.config).bfloat16()
    rounded.load_state_dict(model.state_dict())
    rounded.save_pretrained(draft)
    rounded.config.dtype = torch.float32
    rounded.config.save_pretrained(draft)
    (draft / "model.safetensors").chmod(0o644)
    words.save_pretrained(draft)
    (draft / "words.txt").write_text("\n".join(sorted(world.state_of_cities())) + "\n", encoding="utf-8")
    shutil.rmtree(folder, ignore_errors=True)
    draft.rename(folder)


def train(
    out: Path,
    runs: Path,
    *,
    seed: int = 0,
    steps: int | None = None,
    compile: bool = True,
    smoke: bool = False,
    echo: Callable[[str], None] = print,
) -> None:
    """Train the model in its stages (resuming from `runs`), write it to `out/model`, print its card."""
    sentences = world.sentences(seed)
    words = tokenizer.build_tokenizer(sentences)
    shape = SMOKE if smoke else STAGES[0][0]
    sizes = {name: getattr(shape, name) for name in ("n_layers", "d_model", "d_mlp", "n_heads")}
    model = network.build_model(words, seed, **sizes)
    for number, (config, mixture) in enumerate(STAGES, start=1):
        config = replace(SMOKE if smoke else config, seed=seed, compile=compile and not smoke)
        config = replace(config, steps=steps) if steps else config
        stage = f"stage {number}: step"
        text = corpus.build_corpus(sentences, words, mixture)
        checkpoint = runs / f"model-{seed}-{config.n_layers}x{config.d_model}-stage{number}.pt"

        def report(step: int, loss: float, seconds: float, config=config, stage=stage) -> None:
            table = evaluate.accuracy(model, words, sentences, limit=8 if smoke else 200)
            rows = zip(table["world"], table["split"], table["accuracy"], strict=True)
            shown = " ".join(f"{name}{'*' * (split != 'train')} {score:.0%}" for name, split, score in rows)
            echo(f"{stage} {step}/{config.steps}  loss {loss:.4f}  {seconds:.0f} s  {shown}   (* held out)")

        training.train(model, text, config, checkpoint, report, report_every=125)
    write_model(model, words, out / "model")
    clt_config, n_rows = (SMOKE_CLT, 64) if smoke else (CLT_TRAINING, CLT_ROWS)
    train_clt(out, runs, clt_config, n_rows, seed)
    if not smoke:
        echo(mark_labels(out, seed))
        echo(write_evidence(out, seed))
    write_card(out, seed)
    echo(card(out / "model", limit=8 if smoke else None, seed=seed))


def train_clt(
    out: Path,
    runs: Path,
    config: TrainingConfig,
    n_rows: int,
    seed: int = 0,
    told: list[world.Sentence] | None = None,
    mixture: Mapping[str, float] = corpus.CASES_MIXTURE,
    labelled: bool = True,
) -> None:
    """Train the transcoder of `out/model` on its own text into `out/clt`, and label its features.

    The text is drawn from the sentences `told`, by default all of the world.
    """
    model = load_model(out / "model", device="cpu")
    model.name = "atlas"
    own_text = corpus.atlas_tokens(n_rows, seed, model.tokenizer, sentences=told, mixture=mixture)
    result = train_transcoder(model, replace(config, seed=seed), own_text, runs / f"clt-{seed}")
    write_transcoder(result.transcoder.to(torch.bfloat16), out / "clt")
    if labelled:
        transcoder = read_transcoder(out / "clt", dtype=torch.float32)
        chosen = sample_sentences(LABEL_SENTENCES, seed, told, mixture)
        write_labels(label_features(model, transcoder, chosen), out / "labels.json")


def mark_labels(
    out: Path,
    seed: int = 0,
    told: list[world.Sentence] | None = None,
    mixture: Mapping[str, float] = corpus.CASES_MIXTURE,
) -> str:
    """Mark the labels of `out` that do not beat a random dictionary on new sentences; a line that says how many."""
    read = json.loads((out / "labels.json").read_text("utf-8"))
    labels = {name: label.removesuffix(worth.DOUBT) for name, label in read.items()}
    chosen = sample_sentences(LABEL_SENTENCES, seed + 1, told, mixture)
    with TemporaryDirectory() as folder:
        marked = worth.marked(load(out / "model", out / "clt", device="cpu"), labels, chosen, Path(folder))
    write_labels(marked, out / "labels.json")
    doubtful = sum(label.endswith(worth.DOUBT) for label in marked.values())
    return f"{len(marked) - doubtful:,} labels beat a random dictionary, {doubtful:,} are marked with{worth.DOUBT}"


def write_evidence(out: Path, seed: int = 0, n_sentences: int = EVIDENCE_SENTENCES, progress: bool = False) -> str:
    """Harvest the features' evidence from sentences of the world into `out/evidence`; a line that says how much."""
    labelled = load(out / "model", out / "clt", device="cpu")
    labelled.model.name = "atlas"
    texts = [sentence.text for sentence in sample_sentences(n_sentences, seed)]
    name = f"{n_sentences:,} sentences of the world"
    result = harvest(
        labelled, texts, out / "evidence", EVIDENCE, resume=False, keep_tally=False, progress=progress, name=name
    )
    (result.folder / LOCK_FILE).unlink(missing_ok=True)
    size = sum(file.stat().st_size for file in result.folder.iterdir())
    return f"evidence from {result.manifest.n_tokens:,} tokens of {name}, {size / 1e6:.1f} MB"


def write_card(out: Path, seed: int = 0) -> None:
    """`out/card.json`: the numbers that `circuitlab info` shows, measured on the folder's weights.

    Accuracy by world, on sentences that training told and on those it held out, at most `CARD_SENTENCES` of each.
    """
    model, words = read_model(out / "model")
    table = evaluate.accuracy(model, words, world.sentences(seed), limit=CARD_SENTENCES)
    accuracy: dict[str, dict[str, float]] = {}
    for name, split, share in zip(table["world"], table["split"], table["accuracy"].tolist(), strict=True):
        accuracy.setdefault(name, {})["held out" if split == "held_out" else "told"] = round(share, 4)
    metrics = _clt_metrics(out, seed)
    numbers = {
        "parameters": sum(weight.numel() for weight in model.parameters()),
        "accuracy": accuracy,
        "CLT, top-1 agreement of the replacement model": round(metrics.top1_agreement, 4),
        "CLT, explained variance": round(metrics.explained_variance, 4),
        "CLT, active features per token and layer": round(metrics.l0, 2),
        "CLT, KL in nats": round(metrics.kl, 4),
    }
    draft = out / "card.json.part"
    draft.write_text(json.dumps(numbers, indent=1) + "\n", encoding="utf-8")
    draft.replace(out / "card.json")


def _clt_metrics(out: Path, seed: int) -> Metrics:
    model = load_model(out / "model", device="cpu")
    transcoder = read_transcoder(out / "clt", dtype=torch.float32)
    text = corpus.atlas_tokens(CARD_ROWS, seed + 1, model.tokenizer)
    return evaluate_transcoder(model, transcoder, load_tokens(model, CLT_TRAINING, text))


def clt_card(out: Path, seed: int = 0) -> str:
    """The transcoder's numbers on text that it was not trained on, measured on the folder's weights."""
    metrics = _clt_metrics(out, seed)
    return (
        f"transcoder on {metrics.positions:,} positions of other text: top-1 agreement of the replacement model "
        f"{metrics.top1_agreement:.1%}, explained variance {metrics.explained_variance:.1%}, "
        f"{metrics.l0:.1f} active features per token and layer, KL {metrics.kl:.4f}, {metrics.dead} silent features"
    )


def card(folder: Path, limit: int | None = None, seed: int = 0) -> str:
    """The model card's numbers, measured on the folder's weights."""
    model, words = read_model(folder)
    table = evaluate.accuracy(model, words, world.sentences(seed), limit)
    ablated = evaluate.ablation(model, words, seed)
    by_layer = ablated.pivot_table(index=["position", "token"], columns="layers", values="accuracy")
    parts = {
        "parameters": f"{sum(weight.numel() for weight in model.parameters()):,}",
        "accuracy (the answer is the model's top token)": _text(table),
        "best guess of a city's region from one piece": f"{evaluate.piece_guess()['best_guess'].max():.0%} at most",
        "held-out capitals right, MLP outputs at one position replaced by their mean": _text(by_layer, index=True),
        "answer becomes the other city's capital, MLP outputs at the last piece taken from there": _text(
            evaluate.patching(model, words, seed=seed)
        ),
    }
    met = "met" if evaluate.goals_met(table) else "NOT met"
    goals = ", ".join(f"{name} {goal:.0%}" for name, goal in evaluate.GOALS.items())
    body = "\n\n".join(f"{title}\n{value}" for title, value in parts.items())
    return f"{body}\n\nheld-out goals ({goals}): {met}"


def _text(table: pd.DataFrame, index: bool = False) -> str:
    return table.to_string(index=index, float_format=lambda value: f"{value:.1%}")
