"""Paints a `Scene` by matplotlib: into axes, and into the bytes of SVG, PDF and PNG.

Matplotlib's object interface only: no pyplot, no state, no window. Text stays text: PDF embeds TrueType subsets with
their characters, SVG holds <text> and, in its style, the subset of the font it was laid out with. The same scene
gives the same bytes.
"""

from __future__ import annotations

import base64
import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np

from circuitlab.figures.cell import mixtures
from circuitlab.figures.scene import DASHES, Path, Scene, Words, rectangle, rgb
from circuitlab.layout import Theme

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_STEPS = {"M": (1,), "L": (2,), "C": (4, 4, 4), "Z": (79,)}  # matplotlib.path.Path's codes


def new_axes(scene: Scene) -> Axes:
    """Axes that fill a new figure of the scene's size."""
    from matplotlib.figure import Figure

    size = (scene.width / 72, scene.height / 72)
    return Figure(figsize=size, facecolor=scene.theme.background).add_axes((0.0, 0.0, 1.0, 1.0))


def paint(scene: Scene, ax: Axes) -> Axes:
    """Paint a scene into axes; in axes that are too low for it, everything shrinks alike, text included."""
    with settings():
        scale = _scale(scene, ax)
        ax.set_xlim(0.0, float(scene.width))
        ax.set_ylim(float(scene.bottom), float(scene.top))
        ax.set_aspect("equal", adjustable="box")
        ax.set_axis_off()
        ground = rectangle(0.0, scene.top, scene.width, scene.height, fill=scene.theme.background)
        for order, (is_path, run) in enumerate(groupby([ground, *scene.items], lambda item: isinstance(item, Path))):
            if is_path:
                ax.add_collection(_collection([item for item in run if isinstance(item, Path)], scale, order))
                continue
            for words in run:
                assert isinstance(words, Words)
                _write(ax, words, scale, order)
    return ax


def _scale(scene: Scene, ax: Axes) -> float:
    window, dpi = ax.get_window_extent(), ax.figure.dpi
    return float(min(window.width / dpi * 72 / scene.width, window.height / dpi * 72 / scene.height))


def _collection(paths: list[Path], scale: float, order: int) -> Any:
    from matplotlib.collections import PathCollection
    from matplotlib.path import Path as Outline

    outlines = []
    for path in paths:
        points = np.vstack([path.points, path.points[:1]]) if path.steps.endswith("Z") else path.points
        outlines.append(Outline(points, [code for step in path.steps for code in _STEPS[step]]))
    return PathCollection(
        outlines,
        facecolors=[(*rgb(p.fill), p.opacity) if p.fill is not None else (0, 0, 0, 0) for p in paths],
        edgecolors=[(*rgb(p.stroke), p.opacity) if p.stroke is not None else (0, 0, 0, 0) for p in paths],
        linewidths=[p.width * scale if p.stroke is not None else 0.0 for p in paths],
        linestyles=[(0.0, DASHES) if p.dashed else "solid" for p in paths],
        zorder=order,
    )


def _write(ax: Axes, words: Words, scale: float, order: int) -> None:
    """Text as it is: dollar signs are no formulas."""
    ax.text(
        words.x,
        words.y,
        words.text,
        fontsize=words.size * scale,
        color=words.colour,
        ha=words.align,
        va="center_baseline" if not words.rotation else "center",
        fontweight="bold" if words.bold else "normal",
        fontfamily=_fonts_for(words.text),
        rotation=words.rotation,
        zorder=order,
        parse_math=False,
    )


def figure_bytes(figure: Figure, kind: str, dpi: int, metadata: dict[str, Any]) -> bytes:
    """The figure as an SVG, PDF, PNG or (by matplotlib, which needs LaTeX) PGF file."""
    buffer = io.BytesIO()
    with settings():
        more: dict[str, Any] = {"pil_kwargs": {"compress_level": 4}} if kind == "png" else {}
        figure.savefig(buffer, format=kind, dpi=dpi, metadata=metadata, facecolor=figure.get_facecolor(), **more)
    content = buffer.getvalue()
    return _with_fonts(content, figure) if kind == "svg" else content


def small_png(figure: Figure, theme: Theme, dpi: int, metadata: dict[str, str]) -> bytes:
    """The figure as a PNG in mixtures of its theme's colours, a fifth of the size of one in all colours."""
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    buffer, content, texts = io.BytesIO(), io.BytesIO(), PngInfo()
    with settings():
        figure.savefig(
            buffer, format="png", dpi=dpi, facecolor=figure.get_facecolor(), pil_kwargs={"compress_level": 0}
        )
    for key, text in metadata.items():
        texts.add_itxt(key, text)
    palette = Image.new("P", (1, 1))
    palette.putpalette(mixtures(theme))
    with Image.open(buffer) as full:
        few = full.convert("RGB").quantize(palette=palette, dither=Image.Dither.NONE)
    few.save(content, "png", pnginfo=texts, dpi=(dpi, dpi), compress_level=6)
    return content.getvalue()


def _with_fonts(svg: bytes, figure: Figure) -> bytes:
    """The SVG with the glyphs it needs of DejaVu Sans, so that it looks the same everywhere."""
    from matplotlib.text import Text

    texts: dict[str, set[str]] = {"normal": set(), "bold": set()}
    for text in figure.findobj(Text):
        weight = "bold" if text.get_fontweight() in ("bold", 700) else "normal"
        texts[weight] |= set(text.get_text())
    faces = []
    for weight, characters in texts.items():
        data = _subset(weight, "".join(sorted(characters - {"\n", " "})))
        if data:
            faces.append(
                f"@font-face{{font-family:'DejaVu Sans';font-weight:{weight};src:url(data:font/ttf;base64,{data})}}"
            )
    style = f'<style type="text/css">{"".join(faces)}'.encode()
    return svg.replace(b'<style type="text/css">', style, 1)


@cache
def _subset(weight: str, characters: str) -> str:
    """A font file with only these characters, as base64; empty where there are none."""
    from fontTools import subset
    from matplotlib import font_manager

    if not characters:
        return ""
    name = font_manager.findfont(font_manager.FontProperties(family=["DejaVu Sans"], weight=weight))
    options = subset.Options(hinting=False, layout_features=[], notdef_outline=True)
    options.drop_tables += ["GSUB", "GPOS", "GDEF"]  # ligatures and kerning: most of the work, little to see
    with _quiet("fontTools.subset"):
        buffer = io.BytesIO()
        with subset.load_font(name, options) as font:
            subsetter = subset.Subsetter(options)
            subsetter.populate(text=characters)
            subsetter.subset(font)
            subset.save_font(font, buffer, options)
    return base64.b64encode(buffer.getvalue()).decode("ascii")


@contextmanager
def settings() -> Iterator[None]:
    """matplotlib's settings for real text and bytes that do not change from run to run."""
    import matplotlib

    chosen: dict[Any, Any] = {
        "svg.fonttype": "none",
        "svg.hashsalt": "circuitlab",
        "pdf.fonttype": 42,
        "font.family": _fonts(),
        "text.usetex": False,
        "path.simplify": False,
        "lines.scale_dashes": True,
    }
    with matplotlib.rc_context(chosen), warnings.catch_warnings(), _quiet("matplotlib.font_manager"):
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        yield


@contextmanager
def _quiet(name: str) -> Iterator[None]:
    log = logging.getLogger(name)
    before, log.disabled = log.disabled, True
    try:
        yield
    finally:
        log.disabled = before


_FOR_OTHER_SCRIPTS = (
    "Noto Sans CJK SC", "Noto Sans CJK JP", "Noto Sans SC", "Hiragino Sans GB", "PingFang SC", "Microsoft YaHei",
    "WenQuanYi Micro Hei", "WenQuanYi Zen Hei", "Noto Sans", "Segoe UI",
)  # fmt: skip


def _fonts_for(text: str) -> list[str]:
    """Other fonts only where DejaVu Sans lacks a glyph: matplotlib complains of those that come in one weight."""
    glyphs = _glyphs()
    return ["DejaVu Sans"] if all(ord(character) in glyphs for character in text) else _fonts()


@cache
def _glyphs() -> frozenset[int]:
    from matplotlib import font_manager

    path = font_manager.findfont(font_manager.FontProperties(family=["DejaVu Sans"]))
    return frozenset(font_manager.get_font(path).get_charmap())


@cache
def _fonts() -> list[str]:
    from matplotlib import font_manager

    here = set(font_manager.get_font_names())
    return ["DejaVu Sans", *(name for name in _FOR_OTHER_SCRIPTS if name in here)]
