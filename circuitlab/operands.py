"""Operand plots: what features do over all pairs of operands, and which kind of arithmetic that is.

    plots = operand_plots(model, "calc : {a} + {b} =", ["2_875_6", "1_1499_3"])      # [node, a, b]
    operand_kind(plots[0])                                          # OperandKind("magnitude", "a + b", explained=0.9)

A plot is sorted by the share of its variance that a description of its cells explains:

    explained = 1 − Σ_ab (x_ab − x̂_ab)² / Σ_ab (x_ab − x̄)²

x̂ is the mean of the cells that the description does not tell apart. Descriptions, from the simplest on:

    digit      the last digit of a, of b, or of a + b: cells alike have it in common
    magnitude  a, b, a + b, or a and b together, roughly: cells alike differ by at most 5
    lookup     the last digits of a and b, both: a lattice over the plot
    sum        a + b exactly: cells alike lie on one diagonal

A plot is of the simplest description that explains at least `CLEAR` of it, and at most `NEARLY` less than the best one.
Where none does: "number" if one operand explains as much (the feature knows certain numbers by heart), "constant" if
the plot hardly varies, else "unclear".

Source: Lindsey et al. 2025, "On the Biology of a Large Language Model", section "Addition", where such plots are sorted
by eye; https://transformer-circuits.pub/2025/attribution-graphs/biology.html
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int, Shaped

if TYPE_CHECKING:
    from circuitlab.replacement import ReplacementModel

KINDS = ("digit", "magnitude", "lookup", "sum")
REACH = 5
"""Numbers that differ by at most so much are roughly the same."""
CLEAR, NEARLY = 0.7, 0.1
STEADY = 0.1
"""The standard deviation of a constant plot, at most, as a share of its mean."""
PROMPTS = 1000
"""Prompts in one forward pass."""


class OperandKind(NamedTuple):
    """What a feature goes by: its `kind`, `of` which operand, and the share of variance that this explains."""

    kind: str
    of: str
    explained: float


# ---- the plots ----


def operand_plots(
    model: ReplacementModel, form: str, nodes: Sequence[str], numbers: Sequence[int] = range(100)
) -> Float[np.ndarray, "node a b"]:
    """The activations of nodes ("layer_feature_pos", ids of a graph of `form`) for all a and b of `numbers`.

    `form` has `{a}` and `{b}`. Positions are those of a prompt with the first of the numbers; where numbers have tokens
    of different lengths, what counts is the place from the end. ValueError for a form without operands, and for nodes
    that are no features of this transcoder or stand behind the prompt.
    """
    if "{a}" not in form or "{b}" not in form:
        raise ValueError(f"form={form!r:.80}: expected {{a}} and {{b}} in it, as in 'calc : {{a}} + {{b}} ='")
    prompts = [model.model.to_tokens(form.format(a=a, b=b)) for a in numbers for b in numbers]
    places = _places(model, nodes, len(prompts[0]))
    lengths = np.array([len(tokens) for tokens in prompts])
    found = np.zeros((len(nodes), len(prompts)))
    for length in np.unique(lengths):
        rows = np.flatnonzero(lengths == length)
        for part in np.array_split(rows, -(-len(rows) // PROMPTS)):
            tokens = torch.stack([prompts[row] for row in part])
            _read(model, tokens, places, found, part)
    return found.reshape(len(nodes), len(numbers), len(numbers))


Places = dict[tuple[int, int], tuple[list[int], list[int]]]  # (layer, place from the end) → rows of plots, features


def _places(model: ReplacementModel, nodes: Sequence[str], length: int) -> Places:
    config, places = model.transcoder.config, {}
    for row, node in enumerate(nodes):
        parts = node.split("_")
        numbers = [int(part) for part in parts if part.isdecimal()]
        limits = (config.n_layers, config.n_features, length)
        if len(parts) != 3 or len(numbers) != 3 or any(n >= limit for n, limit in zip(numbers, limits, strict=True)):
            raise ValueError(
                f"{node!r:.60} is no node of a feature of this prompt: expected layer_feature_position, "
                f"the layer below {limits[0]}, the feature below {limits[1]}, the position below {limits[2]}"
            )
        layer, feature, pos = numbers
        which, features = places.setdefault((layer, pos - length), ([], []))
        which.append(row)
        features.append(feature)
    return places


def _read(
    model: ReplacementModel, tokens: Int[torch.Tensor, "row pos"], places: Places, found: np.ndarray, rows: np.ndarray
) -> None:
    """Write the activations of one batch into columns `rows` of `found`."""
    transcoder = model.transcoder
    sites = {layer: f"blocks.{layer}.{transcoder.config.input_hook}" for layer, _ in places}
    seen = model.model.capture(tokens, list(sites.values()))[1]
    for (layer, place), (which, features) in places.items():
        with torch.no_grad():
            activations = transcoder.encode(layer, seen[sites[layer]][:, place].to(transcoder.dtype))
        found[np.array(which)[:, None], rows] = activations[:, features].double().cpu().numpy().T


# ---- their kinds ----


def operand_kind(plot: Shaped[np.ndarray, "a b"], numbers: Sequence[int] = range(100)) -> OperandKind:
    """The kind of one operand plot, by the rule above; `numbers` are the operands of its rows and of its columns."""
    plot, n = plot.astype(float), len(numbers)
    if plot.shape != (n, n):
        raise ValueError(f"a plot of shape {plot.shape} for {n} numbers: expected ({n}, {n}); pass its numbers")
    if plot.std() <= STEADY * abs(plot.mean()):
        return OperandKind("constant", "", 0.0)
    found = [
        OperandKind(kind, of, _explained(plot, fitted))
        for kind, fits in _fits(plot, np.array(numbers)).items()
        for of, fitted in fits.items()
    ]
    for kinds in (KINDS, ("number",)):
        best = max(one.explained for one in found if one.kind in kinds)
        if best >= CLEAR:
            return next(one for one in found if one.kind in kinds and one.explained >= max(CLEAR, best - NEARLY))
    return OperandKind("unclear", "", max(one.explained for one in found if one.kind in KINDS))


def _fits(plot: Float[np.ndarray, "a b"], numbers: Int[np.ndarray, " n"]) -> dict[str, dict[str, np.ndarray]]:
    """By kind, from the simplest on, and by operand: the plot as that description has it."""
    a, b = np.meshgrid(numbers, numbers, indexing="ij")
    near = (np.abs(numbers[:, None] - numbers) <= REACH).astype(float)
    return {
        "digit": {name: _alike(plot, number % 10) for name, number in (("a", a), ("b", b), ("a + b", a + b))},
        "magnitude": {
            **{name: _roughly(plot, number) for name, number in (("a", a), ("b", b), ("a + b", a + b))},
            "a and b": near @ plot @ near / np.outer(near.sum(1), near.sum(0)),
        },
        "lookup": {"a and b": _alike(plot, a % 10 * 10 + b % 10)},
        "sum": {"a + b": _alike(plot, a + b)},
        "number": {"a": _alike(plot, a), "b": _alike(plot, b)},
    }


def _alike(plot: Float[np.ndarray, "a b"], key: Int[np.ndarray, "a b"]) -> Float[np.ndarray, "a b"]:
    """Each cell's mean over the cells with the same key."""
    _, group = np.unique(key, return_inverse=True)
    group = group.reshape(-1)
    return (np.bincount(group, plot.reshape(-1)) / np.bincount(group))[group].reshape(plot.shape)


def _roughly(plot: Float[np.ndarray, "a b"], number: Int[np.ndarray, "a b"]) -> Float[np.ndarray, "a b"]:
    """Each cell's mean over the cells whose number differs by at most `REACH`."""
    values, group = np.unique(number, return_inverse=True)
    group = group.reshape(-1)
    near = np.abs(values[:, None] - values) <= REACH
    return ((near @ np.bincount(group, plot.reshape(-1))) / (near @ np.bincount(group)))[group].reshape(plot.shape)


def _explained(plot: Float[np.ndarray, "a b"], fitted: Float[np.ndarray, "a b"]) -> float:
    return float(1.0 - ((plot - fitted) ** 2).sum() / ((plot - plot.mean()) ** 2).sum())
