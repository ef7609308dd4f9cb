"""Charts on paper: sweeps, a graph's validation, operand plots. matplotlib's object interface, no pyplot.

Each takes the tidy table that the torch side makes and draws it into the user's axes, or into a new figure's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from jaxtyping import Float

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe and Ito's, which colour-blind readers tell apart."""
AXES = {"factor": "steering factor M", "end_layer": "end layer", "feature": ""}


def new_axes(width: float | int, height: float | int, columns: int | tuple[int, int]) -> Any:
    """Axes of a new figure, sizes in millimetres; several in a row for `columns` above 1, or (rows, columns)."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width / 25.4, height / 25.4), layout="constrained")
    FigureCanvasAgg(figure)
    rows, columns = (1, columns) if isinstance(columns, int) else columns
    return figure.subplots(rows, columns)


def plot_sweep(table: pd.DataFrame, ax: Axes | None = None, title: str | None = None) -> Axes:
    """Probability of each token over the values of a sweep; the unperturbed probability is a dashed line.

    `table` is `Sweep.table`; a sweep over names is drawn at equal steps.
    """
    ax = ax or new_axes(89.0, 60.0, 1)
    assert ax is not None
    over = str(table["sweep"].iloc[0])
    named = over == "feature"
    values = list(dict.fromkeys(table["value"]))
    for number, (token, part) in enumerate(table.groupby("token", sort=False)):
        colour = COLOURS[number % len(COLOURS)]
        x = np.arange(len(part)) if named else part["value"].to_numpy(float)
        ax.plot(x, part["probability"], marker="o", markersize=2.5, linewidth=1.0, color=colour, label=_plain(token))
        ax.axhline(float(part["unperturbed"].iloc[0]), color=colour, linewidth=0.6, linestyle=(0, (4, 3)))
    if named:
        ax.set_xticks(np.arange(len(values)), [_plain(value) for value in values], rotation=30, ha="right")
    _finish(ax, AXES[over], "probability (dashed: unperturbed)", title)
    ax.set_ylim(-0.03, 1.03)
    ax.legend(fontsize=6, frameon=False)
    return ax


def plot_validation(claims: pd.DataFrame, distances: pd.DataFrame, axes: Any = None, title: str | None = None) -> Any:
    """A validation report: foretold against measured effects, and cosine and error by layer distance; two axes.

    `claims` has `predicted` and `measured`, `distances` has `distance`, `cosine`, `normalised_error`.
    """
    left, right = new_axes(183.0, 65.0, 2) if axes is None else axes
    left.scatter(claims["predicted"], claims["measured"], s=5, linewidths=0, color=COLOURS[0], alpha=0.5)
    reach = float(np.nanmax(np.abs(claims[["predicted", "measured"]].to_numpy(float)), initial=0.0)) or 1.0
    left.plot([-reach, reach], [-reach, reach], color="0.6", linewidth=0.6, linestyle=(0, (4, 3)))
    _finish(left, "foretold by the graph", "measured", title or "knock-on effects of each ablated feature")
    for number, (column, label) in enumerate(
        (("cosine", "cosine similarity"), ("normalised_error", "normalised error"))
    ):
        right.plot(
            distances["distance"], distances[column], marker="o", markersize=3, color=COLOURS[number], label=label
        )
    right.set_ylim(bottom=min(0.0, float(distances[["cosine", "normalised_error"]].min().min())))
    _finish(right, "layers from the ablated feature", "", "by layer distance")
    right.legend(fontsize=6, frameon=False)
    return left, right


def plot_operands(
    plots: Float[np.ndarray, "node a b"],
    titles: Sequence[str],
    kinds: Sequence[str],
    columns: int = 10,
    width: float | int = 183.0,
) -> Figure:
    """A page of heat maps, one per node: a downwards, b to the right, dark where the node is active.

    `plots` as in `circuitlab.operands`; kinds stand in rows of their own, each in its colour, in the order
    they come in. Sizes in millimetres. A map's darkest cell is its largest activation.
    """
    if not len(plots) == len(titles) == len(kinds):
        raise ValueError(f"{len(plots)} plots, {len(titles)} titles, {len(kinds)} kinds: expected as many of each")
    colours = {kind: COLOURS[number % len(COLOURS)] for number, kind in enumerate(dict.fromkeys(kinds))}
    rows: list[tuple[str, list[int]]] = []
    for kind in colours:
        of = [at for at, one in enumerate(kinds) if one == kind]
        rows += [(kind if start == 0 else "", of[start : start + columns]) for start in range(0, len(of), columns)]
    axes = new_axes(width, (width / columns + 3.5) * len(rows), (len(rows), columns)).reshape(len(rows), columns)
    style: dict[str, Any] = {"rotation": 90, "va": "center", "ha": "right", "fontsize": 7, "fontweight": "bold"}
    for line, (heading, members) in zip(axes, rows, strict=True):
        for ax in line:
            ax.set_axis_off()
        for at, ax in zip(members, line, strict=False):
            _heat_map(ax, plots[at], titles[at], colours[kinds[at]])
        line[0].text(-0.1, 0.5, heading, transform=line[0].transAxes, color=colours[kinds[members[0]]], **style)
    return axes[0, 0].get_figure(root=True)


def _heat_map(ax: Axes, plot: Float[np.ndarray, "a b"], title: str, colour: str) -> None:
    from matplotlib.colors import LinearSegmentedColormap

    ax.imshow(plot, cmap=LinearSegmentedColormap.from_list("", ["white", colour]), vmin=0, interpolation="nearest")
    ax.set_axis_on()
    ax.set_xticks([])
    ax.set_yticks([])
    for spine in ax.spines.values():
        spine.set_linewidth(0.4)
        spine.set_color("0.6")
    ax.set_title(_plain(title), fontsize=5, pad=1.5)


def _plain(text: Any) -> str:
    """Text for a label; dollar signs are no formulas."""
    return str(text).strip().replace("$", r"\$") or repr(text)


def _finish(ax: Axes, x: str, y: str, title: str | None) -> None:
    ax.set_xlabel(x, fontsize=7)
    ax.set_ylabel(y, fontsize=7)
    ax.tick_params(labelsize=6)
    ax.spines[["top", "right"]].set_visible(False)
    if title:
        ax.set_title(_plain(title), fontsize=8, loc="left")
