"""Names the features of atlas's transcoder by what they are active on.

Computes, for feature f and each variable v of `variables`, over the positions of sampled world text,

    precision = |f active and v| / |f active|,   recall = |f active and v| / |v|,
    F = (1 + β²) · precision · recall / (β² · precision + recall),   β = 1/2

f being active where its activation exceeds `ACTIVE` of its largest. The label is the name with the highest F; below
`clear` the feature stays unnamed. A `say X` label also needs X among the `PROMOTED` tokens that the feature's decoders
promote most, read through the final norm's gain and the unembedding. Evidence from text and from weights, then; no
label is written by hand.

Reads a model, its transcoder, the world; gives `{"L{layer}/{index}": name}`.
"""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from circuitlab.atlas import corpus, world
from circuitlab.atlas.variables import Variable, variables
from circuitlab.model import Model
from circuitlab.transcoder import Transcoder

ACTIVE = 0.2
CLEAR = 0.5
BETA = 0.5
PROMOTED = 10
RARE = 5  # a feature active at fewer positions stays unnamed


def label_features(
    model: Model, transcoder: Transcoder, chosen: Sequence[world.Sentence], clear: float | int = CLEAR
) -> dict[str, str]:
    """The labels of all features that have a clear one on the sentences chosen, in the order of layer and index."""
    rows = model.tokenizer([sentence.text for sentence in chosen])["input_ids"]
    names, where = _named_positions(model, chosen, rows)
    labels = {}
    for layer, active in enumerate(_activity(model, transcoder, rows)):
        score = _f_scores(active, *where, len(names))
        score = _without_unpromoted(score, names, _logit_effects(model, transcoder, layer), model)
        best = score.max(0)
        for index in range(active.shape[1]):
            if active[:, index].sum() >= RARE and best.values[index] >= clear:
                labels[f"L{layer}/{index}"] = names[int(best.indices[index])].name
    return labels


def write_labels(labels: dict[str, str], path: Path) -> None:
    draft = path.with_suffix(".part")
    draft.write_text(json.dumps(labels, ensure_ascii=False, indent=0) + "\n", encoding="utf-8")
    os.replace(draft, path)


def sample_sentences(
    n_sentences: int,
    seed: int,
    told: list[world.Sentence] | None = None,
    mixture: Mapping[str, float] = corpus.CASES_MIXTURE,
) -> list[world.Sentence]:
    """Sentences of every world by its share of the mixture; all of a world's sentences are equally likely."""
    rng = np.random.default_rng([seed, 7])
    by_world: dict[str, list[world.Sentence]] = {}
    for sentence in told or world.sentences(seed):
        by_world.setdefault(sentence.world, []).append(sentence)
    chosen = []
    for name, share in mixture.items():
        members = by_world[name]
        drawn = rng.choice(len(members), min(len(members), round(share * n_sentences)), replace=False)
        chosen += [members[row] for row in drawn]
    return chosen


def _named_positions(
    model: Model, chosen: Sequence[world.Sentence], rows: Sequence[list[int]]
) -> tuple[list[Variable], tuple[Int[Tensor, " pair"], Int[Tensor, " pair"]]]:
    """All variables, and pairs (position in the concatenated rows without <bos>, variable) that hold."""
    numbers: dict[Variable, int] = {}
    positions, held = [], []
    start = 0
    for sentence, row in zip(chosen, rows, strict=True):
        for offset, names in enumerate(variables(sentence, model.tokenizer.convert_ids_to_tokens(row))[1:]):
            for name in sorted(names):
                positions.append(start + offset)
                held.append(numbers.setdefault(name, len(numbers)))
        start += len(row) - 1
    return list(numbers), (torch.tensor(positions), torch.tensor(held))


@torch.no_grad()
def _activity(model: Model, transcoder: Transcoder, rows: Sequence[list[int]]) -> list[Bool[Tensor, "pos feat"]]:
    """Per layer, where each feature exceeds `ACTIVE` of its largest activation, <bos> left out."""
    sites = [f"blocks.{layer}.{transcoder.config.input_hook}" for layer in range(model.n_layers)]
    parts: list[list[Tensor]] = [[] for _ in sites]
    longest = max(map(len, rows))
    pad = model.tokenizer.pad_token_id
    for start in range(0, len(rows), 512):
        batch = rows[start : start + 512]
        tokens = torch.tensor([row + [pad] * (longest - len(row)) for row in batch])
        kept = torch.arange(longest) < torch.tensor([len(row) for row in batch])[:, None]
        kept[:, 0] = False
        _, seen = model.capture(tokens, sites)
        for layer, site in enumerate(sites):
            parts[layer].append(transcoder.encode(layer, seen[site][kept]).half())
    activity = []
    for layer_parts in parts:
        activations = torch.cat(layer_parts)
        activity.append(activations > (ACTIVE * activations.amax(0)).clamp_min(1e-6))
    return activity


def _f_scores(
    active: Bool[Tensor, "pos feat"], positions: Int[Tensor, " pair"], held: Int[Tensor, " pair"], n_names: int
) -> Float[Tensor, "name feat"]:
    both = torch.zeros(n_names, active.shape[1])
    for pair in torch.arange(len(positions)).split(100_000):
        both.index_add_(0, held[pair], active[positions[pair]].float())
    named = torch.bincount(held, minlength=n_names).float()[:, None]
    precision = both / active.float().sum(0).clamp_min(1)
    recall = both / named.clamp_min(1)
    return (1 + BETA**2) * precision * recall / (BETA**2 * precision + recall).clamp_min(1e-9)


@torch.no_grad()
def _logit_effects(model: Model, transcoder: Transcoder, layer: int) -> Float[Tensor, "feat vocab"]:
    """What a unit of each feature adds to the logits through its decoders alone, before the norm's scale."""
    return transcoder.W_dec[layer].sum(1) * model.final_norm.gain @ model.W_U


def _without_unpromoted(
    score: Float[Tensor, "name feat"],
    names: list[Variable],
    effects: Float[Tensor, "feat vocab"],
    model: Model,
) -> Float[Tensor, "name feat"]:
    """Scores with `say X` set to 0 for features that do not promote X."""
    promoted = torch.zeros_like(effects, dtype=torch.bool)
    promoted.scatter_(1, effects.topk(PROMOTED, dim=1).indices, True)
    score = score.clone()
    known = model.tokenizer.get_vocab()
    for row, variable in enumerate(names):
        if variable.kind == "say":
            text = variable.name.removeprefix("say ")
            ids = [known[token] for token in (text, f"##{text}") if token in known]
            score[row] *= promoted[:, ids].any(1)
    return score
