"""Paints a `Scene` for a notebook cell, without matplotlib: its import alone would keep the cell waiting for a second.

SVG is written as text, in the reader's sans-serif font (DejaVu Sans where there is one: scenes are laid out for it).
PNG is painted by Pillow, three times as large and then reduced, which smooths it; edges are polygons, so that a
translucent one is even throughout. The same scene gives the same bytes. `can_paint` says whether all characters are in
DejaVu Sans; where some are not, `render` finds other fonts.
"""

from __future__ import annotations

import io
from functools import cache
from html import escape
from importlib.util import find_spec
from pathlib import Path as File
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from circuitlab.figures.scene import BASELINE, DASHES, Colour, Path, Scene, Words, rgb
from circuitlab.layout import Theme

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw
    from PIL.ImageFont import FreeTypeFont

DPI = 92
LARGER = 3
"""Pixels painted for one that is kept, in each direction."""
FINEST = 3.0
"""Width in painted pixels below which dashes get no shorter: they would not be seen."""
STEPS = 20
"""Lines for a long curve; a corner takes a quarter of them."""
_ANCHOR = {"left": ("start", "ls"), "center": ("middle", "ms"), "right": ("end", "rs")}


def can_paint(scene: Scene) -> bool:
    """Whether DejaVu Sans has every character: it knows no scripts from Devanagari on, and no emoji."""
    texts = "".join(item.text for item in scene.items if isinstance(item, Words))
    return all(ord(c) < 0x0900 or 0x1E00 <= ord(c) < 0x2E00 for c in texts)


# SVG


def cell_svg(scene: Scene, title: str, about: str) -> str:
    """The scene as an SVG document, with a title and a description for those who cannot see it."""
    size = f"{_n(scene.width)} {_n(scene.height)}"
    wide, high = size.split()
    return "".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{wide}pt" height="{high}pt" '
            f'viewBox="0 {_n(scene.top)} {size}" role="img" '
            "font-family=\"'DejaVu Sans',Verdana,'Noto Sans',sans-serif\">",
            f"<title>{escape(title)}</title><desc>{escape(about)}</desc>",
            f'<rect y="{_n(scene.top)}" width="{wide}" height="{high}" fill="{scene.theme.background}"/>',
            *(_svg_path(item) if isinstance(item, Path) else _svg_text(item) for item in scene.items),
            "</svg>\n",
        ]
    )


def _svg_path(path: Path) -> str:
    points = iter([f"{_n(x)} {_n(y)}" for x, y in path.points.tolist()])
    counts = {"M": 1, "L": 1, "C": 3, "Z": 0}
    d = "".join(step + " ".join(next(points) for _ in range(counts[step])) for step in path.steps)
    ink = f' fill="{_hex(path.fill)}"' if path.fill is not None else ' fill="none"'
    if path.stroke is not None:
        ink += f' stroke="{_hex(path.stroke)}" stroke-width="{_n(path.width)}"'
        if path.dashed:
            ink += f' stroke-dasharray="{" ".join(_n(part * path.width) for part in DASHES)}"'
    opacity = f' opacity="{_n(path.opacity)}"' if path.opacity < 1 else ""
    return f'<path d="{d}"{ink}{opacity}/>'


def _svg_text(words: Words) -> str:
    x, y = _baseline(words)
    turn = f' transform="rotate({_n(-words.rotation)} {_n(x)} {_n(y)})"' if words.rotation else ""
    anchor = "" if words.align == "left" else f' text-anchor="{_ANCHOR[words.align][0]}"'
    weight = ' font-weight="bold"' if words.bold else ""
    return (
        f'<text x="{_n(x)}" y="{_n(y)}" font-size="{_n(words.size)}" fill="{_hex(words.colour)}"{anchor}{weight}{turn}>'
        f"{escape(words.text)}</text>"
    )


def _baseline(words: Words) -> tuple[float, float]:
    """Where the text's baseline starts, ends or is halved."""
    down = float(BASELINE * words.size)
    return (float(words.x) + down, float(words.y)) if words.rotation else (float(words.x), float(words.y) + down)


def _hex(colour: Colour) -> str:
    return colour if isinstance(colour, str) else "#" + "".join(f"{round(255 * part):02x}" for part in colour)


def _n(number: float | int) -> str:
    text = f"{number:.2f}".rstrip("0").rstrip(".")
    return "0" if text in ("-0", "") else text


# PNG


def cell_png(scene: Scene, texts: dict[str, str]) -> bytes:
    """The scene as a PNG in mixtures of its theme's colours, with these texts in its header."""
    from PIL import Image, ImageDraw
    from PIL.PngImagePlugin import PngInfo

    scale = DPI / 72 * LARGER
    size = [max(1, round(length * DPI / 72)) * LARGER for length in (scene.width, scene.height)]
    large = Image.new("RGB", (size[0], size[1]), scene.theme.background)
    draw = ImageDraw.Draw(large, "RGBA")
    origin = np.array([0.0, float(scene.top)])
    for item in scene.items:
        if isinstance(item, Path):
            _draw_path(draw, item, origin, scale)
        else:
            _draw_words(draw, item, float(scene.top), scale)
    info, content = PngInfo(), io.BytesIO()
    for key, text in texts.items():
        info.add_itxt(key, text)
    palette = Image.new("P", (1, 1))
    palette.putpalette(mixtures(scene.theme))
    few = large.reduce(LARGER).quantize(palette=palette, dither=Image.Dither.NONE)
    few.save(content, "png", pnginfo=info, dpi=(DPI, DPI), compress_level=6)
    return content.getvalue()


def _draw_path(draw: ImageDraw, path: Path, origin: np.ndarray, scale: float) -> None:
    line = (_flat(path) - origin) * scale
    closed = path.steps.endswith("Z")
    if path.fill is not None:
        draw.polygon(line.ravel().tolist(), fill=_ink(path.fill, path.opacity))
    if path.stroke is None or not path.width:
        return
    ink, width = _ink(path.stroke, path.opacity), float(path.width) * scale
    if closed:
        corners = np.vstack([line, line[:2]]).ravel().tolist()
        draw.line(corners, fill=ink, width=max(1, round(width)), joint="curve")
        return
    left, right, along = _sides(line, max(width, 1.0))
    if not path.dashed:
        draw.polygon(np.vstack([left, right[::-1]]).ravel().tolist(), fill=ink)
        return
    for dash in _dashes(left, right, along, max(width, FINEST)):
        draw.polygon(dash, fill=ink)


def _flat(path: Path) -> Float[np.ndarray, "corner 2"]:
    """The path as straight lines."""
    pieces, at, points = [], 0, path.points
    for step in path.steps:
        if step == "C":
            first, second, third, last = points[at - 1 : at + 3]
            reach = float(np.abs(last - first).sum())
            t = np.linspace(0.0, 1.0, 1 + max(4, min(STEPS, int(reach / 3))))[1:, None]
            u = 1.0 - t
            pieces.append(u**3 * first + 3 * u**2 * t * second + 3 * u * t**2 * third + t**3 * last)
            at += 3
        elif step != "Z":
            pieces.append(points[at : at + 1])
            at += 1
    return np.vstack(pieces).astype(np.float64)


def _sides(
    line: Float[np.ndarray, "corner 2"], width: float
) -> tuple[Float[np.ndarray, "corner 2"], Float[np.ndarray, "corner 2"], Float[np.ndarray, " corner"]]:
    """Both rims of a line of this width, and the length up to every corner."""
    steps = np.diff(line, axis=0)
    lengths = np.sqrt((steps**2).sum(axis=1))
    ahead = steps / np.maximum(lengths, 1e-9)[:, None]
    turn = np.vstack([ahead[:1], (ahead[1:] + ahead[:-1]) / 2, ahead[-1:]])
    # Pillow paints every pixel that the rim touches, about half a pixel too much on either side.
    side = np.stack([-turn[:, 1], turn[:, 0]], axis=1) * max(width - 0.8, 0.2) / 2
    return line + side, line - side, np.concatenate([[0.0], np.cumsum(lengths)])


def _dashes(left: np.ndarray, right: np.ndarray, along: np.ndarray, width: float) -> list[list[float]]:
    """Every dash as a quadrangle: x and y of its corners."""
    on, off = (part * width for part in DASHES)
    start = np.arange(0.0, along[-1], on + off)
    ends = np.minimum(start + on, along[-1])
    corners = [(start, left), (ends, left), (ends, right), (start, right)]
    columns = [np.interp(at, along, rim[:, axis]) for at, rim in corners for axis in (0, 1)]
    return np.stack(columns, axis=1).tolist()


def _draw_words(draw: ImageDraw, words: Words, top: float, scale: float) -> None:
    from PIL import Image, ImageDraw

    x, y = _baseline(words)
    at = (x * scale, (y - top) * scale)
    font, ink = _font(words.bold, round(float(words.size) * scale)), _ink(words.colour, 1.0)
    anchor = _ANCHOR[words.align][1]
    if not words.rotation:
        draw.text(at, words.text, fill=ink, font=font, anchor=anchor)
        return
    half = int(font.getlength(words.text)) + 2 * round(float(words.size) * scale)
    mask = Image.new("L", (2 * half, 2 * half))
    ImageDraw.Draw(mask).text((half, half), words.text, fill=255, font=font, anchor=anchor)
    mask = mask.rotate(float(words.rotation), resample=Image.Resampling.BICUBIC)
    draw.bitmap((round(at[0]) - half, round(at[1]) - half), mask, fill=ink)


def _ink(colour: Colour, opacity: float | int) -> tuple[int, int, int, int]:
    red, green, blue = (round(255 * part) for part in rgb(colour))
    return red, green, blue, round(255 * opacity)


@cache
def _font(bold: bool, size: int) -> FreeTypeFont:
    """matplotlib's DejaVu Sans, found without importing matplotlib."""
    from PIL import ImageFont

    spec = find_spec("matplotlib")
    assert spec is not None
    assert spec.origin is not None
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    file = File(spec.origin).parent / "mpl-data" / "fonts" / "ttf" / name
    return ImageFont.truetype(str(file), size, layout_engine=ImageFont.Layout.BASIC)


def mixtures(theme: Theme) -> list[int]:
    """Red, green and blue of the theme's colours, alone and in steps on its background: a palette for a PNG."""
    grounds = [rgb(c) for c in (theme.background, theme.band, theme.line, theme.box_fill, theme.box_line)]
    steps: list[tuple[Any, float]] = [
        (colour, k / 10) for colour in ("positive", "negative", "text", "muted", "answer_fill") for k in range(1, 11)
    ]
    mixed = [share * np.array(rgb(getattr(theme, name))) + (1 - share) * np.array(grounds[0]) for name, share in steps]
    return np.rint(255 * np.array([*grounds, *mixed])).astype(int).ravel().tolist()
