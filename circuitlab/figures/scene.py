"""A drawing as data: paths and texts in points, x to the right and y downwards, painted in order.

What a figure shows is decided once, as a `Scene`; `render` paints it by matplotlib and `pgf` writes it for LaTeX, so
all formats show the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float

from circuitlab.graph import percent
from circuitlab.layout import DASHES, LONGEST, Theme, clip_text, show_token, text_width

Colour = str | tuple[float, float, float]
BASELINE = 0.36
"""How far the baseline lies below the middle of a line, in font sizes."""
_ROUND = 0.5523  # how far a cubic curve's handle reaches along a quarter of a circle


@dataclass(frozen=True, eq=False)
class Path:
    """`steps`, one letter per command: M and L take one point, C three, Z none."""

    steps: str
    points: Float[np.ndarray, "point 2"]
    fill: Colour | None = None
    stroke: Colour | None = None
    width: float | int = 0.0
    opacity: float | int = 1.0
    dashed: bool = False


@dataclass(frozen=True)
class Words:
    """One line of text, its middle height at y."""

    x: float | int
    y: float | int
    text: str
    size: float | int
    colour: Colour
    align: str = "left"
    bold: bool = False
    rotation: float | int = 0


@dataclass(eq=False)
class Scene:
    """What to paint, on the theme's background, from `top` to `bottom`."""

    width: float | int
    top: float | int
    bottom: float | int
    em: float | int
    theme: Theme
    items: list[Path | Words] = field(default_factory=list)

    @property
    def height(self) -> float:
        return float(self.bottom - self.top)

    def add(self, *items: Path | Words) -> None:
        self.items.extend(items)

    def write(
        self,
        x: float | int,
        y: float | int,
        text: str,
        size: float | int = 1,
        align: str = "left",
        bold: bool = False,
        muted: bool = False,
        colour: Colour | None = None,
        rotation: float | int = 0,
    ) -> None:
        """Add a line of text; `size` in em."""
        chosen = colour or (self.theme.muted if muted else self.theme.text)
        self.add(Words(float(x), float(y), text, float(size * self.em), chosen, align, bold, rotation))

    def write_fitting(self, x: float | int, y: float | int, text: str, size: float | int = 1, **style: object) -> None:
        """Add a line of text that ends before the right edge."""
        room = (self.width - x) / (self.em * size) - 0.5
        self.write(x, y, fit(text, room), size, **style)  # pyright: ignore[reportArgumentType]


def readable(text: str) -> str:
    """A label of any kind and length as one line that can be shown; see `layout.show_token`."""
    return clip_text(show_token(text[: LONGEST + 1]), LONGEST)


def fit(text: str, room: float | int) -> str:
    """As much of a line as fits into `room` em, an ellipsis in place of the rest."""
    if text_width(text) <= room:
        return text
    while text and text_width(text + "…") > room:
        text = text[:-1]
    return text.rstrip() + "…"


def wrap(text: str, room: float | int, n_lines: int = 2) -> list[str]:
    """Words in lines of at most `room` em, as even as they come; the last line ends in … where text is left over."""
    words, lines = text.split(), [""]
    for at, word in enumerate(words):
        longer = f"{lines[-1]} {word}".strip()
        if not lines[-1] or text_width(longer) <= room:
            lines[-1] = longer
        elif len(lines) < n_lines:
            lines.append(word)
        else:
            lines[-1] = " ".join([lines[-1], *words[at:]])
            break
    return [fit(line, room) for line in lines]


def rectangle(left: float | int, top: float | int, wide: float | int, high: float | int, **ink: object) -> Path:
    corners = [(left, top), (left + wide, top), (left + wide, top + high), (left, top + high)]
    return Path("MLLLZ", np.array(corners, dtype=float), **ink)  # pyright: ignore[reportArgumentType]


def rounded(
    x: float | int, y: float | int, wide: float | int, high: float | int, radius: float | int, **ink: object
) -> Path:
    """A box about its middle, with round corners."""
    a, b = wide / 2, high / 2
    r = min(radius, a, b)
    k = r * (1 - _ROUND)
    points = [
        (-a + r, -b), (a - r, -b), (a - k, -b), (a, -b + k), (a, -b + r), (a, b - r), (a, b - k), (a - k, b),
        (a - r, b), (-a + r, b), (-a + k, b), (-a, b - k), (-a, b - r), (-a, -b + r), (-a, -b + k), (-a + k, -b),
        (-a + r, -b),
    ]  # fmt: skip
    return Path("MLCLCLCLCZ", np.array(points) + np.array([x, y]), **ink)  # pyright: ignore[reportArgumentType]


def circle(x: float | int, y: float | int, radius: float | int, **ink: object) -> Path:
    return rounded(x, y, 2 * radius, 2 * radius, radius, **ink)


def polygon(points: Sequence[tuple[float, float]], **ink: object) -> Path:
    steps = "M" + "L" * (len(points) - 1) + "Z"
    return Path(steps, np.array(points, dtype=float), **ink)  # pyright: ignore[reportArgumentType]


def line(points: Sequence[tuple[float, float]], **ink: object) -> Path:
    return Path("M" + "L" * (len(points) - 1), np.array(points, dtype=float), **ink)  # pyright: ignore[reportArgumentType]


def curve(points: Float[np.ndarray, "4 2"], **ink: object) -> Path:
    return Path("MC", np.asarray(points, dtype=float), **ink)  # pyright: ignore[reportArgumentType]


def blend(first: str, second: str, share: float | int) -> tuple[float, float, float]:
    """A colour between two: `share` 0 gives the first, 1 the second."""
    a, b = rgb(first), rgb(second)
    return (
        a[0] + (b[0] - a[0]) * float(share),
        a[1] + (b[1] - a[1]) * float(share),
        a[2] + (b[2] - a[2]) * float(share),
    )


def rgb(colour: Colour) -> tuple[float, float, float]:
    """Red, green, blue from 0 to 1 of "#rrggbb"."""
    if not isinstance(colour, str):
        return colour
    red, green, blue = bytes.fromhex(colour[1:])
    return red / 255, green / 255, blue / 255


def sign_key(scene: Scene, y: float | int) -> None:
    """The two kinds of edge, at the right: a solid line excites, a dashed one inhibits."""
    em, at = scene.em, scene.width - 0.4 * scene.em
    for text, weight in (("negative", -1), ("positive", 1)):
        scene.write(at, y, text, size=0.85, align="right", muted=True)
        at -= 0.85 * em * text_width(text) + 0.3 * em
        ends = [(at - 2.0 * em, float(y)), (at, float(y))]
        scene.add(line(ends, stroke=scene.theme.edge_color(weight), width=0.14 * em, dashed=weight < 0))
        at -= 2.8 * em


__all__ = [
    "BASELINE",
    "DASHES",
    "Path",
    "Scene",
    "Words",
    "blend",
    "circle",
    "curve",
    "fit",
    "line",
    "percent",
    "polygon",
    "readable",
    "rectangle",
    "rgb",
    "rounded",
    "sign_key",
    "wrap",
]
