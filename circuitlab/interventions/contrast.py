"""Concepts by contrast: the nodes that some prompts have and others have not, to be switched off or put elsewhere.

    harmful = contrast(model, refused, granted)
    runs = intervene_each(model, refused, harmful.times(0))
    answers(runs), answers(random_matched(runs))

A node is (layer, feature, place), its place counted from the end of the prompt: −1 is the last token. Prompts of one
form agree in what stands there, whatever stood before. A node belongs to the concept if it is active in at least half
of the first prompts and on average `clearer` times as strong as in the second. Nothing is chosen by hand, and a concept
found on some prompts can be tested on others.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from circuitlab.interventions.controls import matched_controls, written
from circuitlab.interventions.result import InterventionRun
from circuitlab.interventions.run import experiments, outcomes
from circuitlab.interventions.values import Value
from circuitlab.texts import show

if TYPE_CHECKING:
    from circuitlab.replacement import ReplacementModel

Node = tuple[int, int, int]
Values = Mapping[Node, float | int]
MOST_OFTEN = 0.5


@dataclass(frozen=True)
class Means:
    """Over some prompts: of every node the mean activation (0 where it is silent), and in what share it is active."""

    activation: Mapping[Node, float]
    share: Mapping[Node, float]


@dataclass(frozen=True)
class Concept:
    """The nodes of a concept, each with its mean activation in the prompts that have it."""

    nodes: Mapping[Node, float]

    def __len__(self) -> int:
        return len(self.nodes)

    def __repr__(self) -> str:
        layers = sorted({layer for layer, _, _ in self.nodes})
        places = sorted({place for _, _, place in self.nodes})
        return f"Concept({len(self)} nodes in layers {layers}, at {places} from the end)"

    def times(self, strength: float | int) -> dict[Node, float]:
        """Values of the nodes: `strength` times their means; 0 switches the concept off."""
        return {node: strength * value for node, value in self.nodes.items()}

    def within(self, layers: Collection[int] | None = None, places: Collection[int] | None = None) -> Concept:
        """The part of the concept in some layers, or at some places."""
        return Concept(
            {
                node: value
                for node, value in self.nodes.items()
                if (layers is None or node[0] in layers) and (places is None or node[2] in places)
            }
        )

    def strongest(self, model: ReplacementModel, n: int) -> Concept:
        """The `n` nodes that write most: mean activation × ‖W_dec‖, over all layers that a decoder writes to."""
        if n < 1:
            raise ValueError(f"n={n}: a concept of its strongest nodes needs at least 1")
        written: dict[Node, float] = {}
        for layer in sorted({layer for layer, _, _ in self.nodes}):
            nodes = [node for node in self.nodes if node[0] == layer]
            features = torch.tensor([feature for _, feature, _ in nodes], device=model.transcoder.device)
            rows = model.transcoder.W_dec.rows(layer, features)
            sizes = torch.linalg.vector_norm(rows.detach().flatten(1), dim=1).tolist()
            written |= {node: self.nodes[node] * size for node, size in zip(nodes, sizes, strict=True)}
        return Concept({node: self.nodes[node] for node in sorted(written, key=lambda node: -written[node])[:n]})


def means(model: ReplacementModel, prompts: Iterable[str]) -> Means:
    """What is active in some prompts; ValueError where there is none."""
    listed = list(prompts)
    if not listed:
        raise ValueError("a contrast needs prompts on both sides; one side has none")
    shown = show(model.model, model.transcoder, listed)
    lengths = np.array([len(tokens) for tokens in shown.tokens])
    total: dict[Node, float] = {}
    share: dict[Node, float] = {}
    for layer, hits in enumerate(shown.layers):
        feature = np.repeat(np.arange(len(hits.starts) - 1), np.diff(hits.starts))
        keys, which = np.unique(np.stack([feature, hits.pos - lengths[hits.text]]), axis=1, return_inverse=True)
        sums, counts = np.bincount(which.reshape(-1), hits.activation), np.bincount(which.reshape(-1))
        for (index, place), value, n in zip(keys.T.tolist(), sums.tolist(), counts.tolist(), strict=True):
            total[layer, index, place], share[layer, index, place] = value / len(listed), n / len(listed)
    return Means(total, share)


def contrast(
    model: ReplacementModel,
    prompts: Iterable[str] | Means,
    against: Iterable[str] | Means,
    *,
    clearer: float | int = 2.0,
    places: Collection[int] | None = None,
) -> Concept:
    """What `prompts` have and `against` have not; at some `places` from the end, where given.

    `means` of a set of prompts can stand for it, so that one set serves several contrasts.
    """
    of, other = (side if isinstance(side, Means) else means(model, side) for side in (prompts, against))
    return Concept(
        {
            node: value
            for node, value in of.activation.items()
            if of.share[node] >= MOST_OFTEN
            and value >= clearer * other.activation.get(node, 0.0)
            and (places is None or node[2] in places)
        }
    )


def swapped(out: Concept, into: Concept, strength: float | int = 1.0) -> dict[Node, float]:
    """Values that take one concept out and put another in."""
    return out.times(0) | into.times(strength)


def intervene_each(
    model: ReplacementModel,
    prompts: Sequence[str],
    values: Values | Sequence[Values],
    *,
    n_tokens: int = 0,
    freeze_attention: bool = False,
    freeze_norms: bool = False,
) -> list[InterventionRun]:
    """Each prompt with nodes set to `values` (of all prompts, or one mapping for each), many in one pass.

    Nodes before a prompt's second token are passed over. With `n_tokens` each run goes on for so many. ValueError where
    the numbers of prompts and mappings differ, or one is empty.
    """
    each = [values] * len(prompts) if isinstance(values, Mapping) else values
    if len(each) != len(prompts):
        raise ValueError(f"{len(prompts)} prompts and {len(each)} mappings of values: give one for each prompt")
    nothing = [prompt for prompt, wanted in zip(prompts, each, strict=True) if not wanted]
    if nothing:
        raise ValueError(f"no node to set in {nothing[0]!r}: was the concept empty? A lower `clearer` finds more nodes")
    settings = experiments(model, prompts, freeze_attention=freeze_attention, freeze_norms=freeze_norms)
    pairs = []
    for setting, wanted in zip(settings, each, strict=True):
        n = setting.baseline.n_positions
        named = {f"{layer}_{feature}_{n + at}": Value(v) for (layer, feature, at), v in wanted.items() if n + at > 0}
        pairs.append((setting, setting.resolve(named)))
    if n_tokens:
        return [setting.run(edits, n_tokens) for setting, edits in pairs]
    return [InterventionRun(*pair, outcome=outcome) for pair, outcome in zip(pairs, outcomes(pairs), strict=True)]


def random_matched(
    runs: Sequence[InterventionRun], excluded: Collection[Node] = (), seed: int = 0
) -> list[InterventionRun]:
    """The same prompts with random active features changed as much, none of them of the nodes `excluded`.

    As much, unless too few others are active: `share_matched` says how much.
    As in `circuitlab.interventions.controls`: at the same positions, in the same layers, as large in what is written.
    """
    drawn = []
    for number, run in enumerate(runs):
        n = run.experiment.baseline.n_positions
        names = {f"{layer}_{feature}_{n + place}" for layer, feature, place in excluded}
        drawn.append((run.experiment, matched_controls(run, 1, seed + number, names)[0]))
    if runs and runs[0].n_tokens:
        return [setting.run(edits, runs[0].n_tokens) for setting, edits in drawn]
    return [InterventionRun(*pair, outcome=outcome) for pair, outcome in zip(drawn, outcomes(drawn), strict=True)]


def share_matched(runs: Sequence[InterventionRun], controls: Sequence[InterventionRun]) -> float:
    """How much of what the runs write their controls write, the mean over the runs.

    1 unless too few other features are active at a position: what a smaller control leaves alone says less.
    """
    sizes = [
        (written(run, run.edits), written(run, control.edits)) for run, control in zip(runs, controls, strict=True)
    ]
    return float(np.mean([control / size for size, control in sizes if size > 0] or [1.0]))


def answers(runs: Iterable[InterventionRun]) -> list[str]:
    """The likeliest next token of each run, without its blanks."""
    found = []
    for run in runs:
        _, after = run.probabilities()
        found.append(run.experiment.replacement.model.token_strings([int(after.argmax())])[0].strip())
    return found
