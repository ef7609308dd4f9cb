"""Writes a `Scene` as PGF, for `\\input` in a LaTeX document with `\\usepackage{pgf}`. Needs no LaTeX to write.

Texts are set by the document in its sans-serif font, at the scene's sizes: their places are known beforehand (the
baseline lies 0.36 of the font size below the middle), so nothing has to be measured. TeX's special characters are
escaped. Characters that pdfLaTeX cannot set in its first font encoding (scripts beyond Latin, emoji) are set by XeLaTeX
and LuaLaTeX where the document's font has them; pdfLaTeX sets an empty box for each and goes on.
"""

from __future__ import annotations

from circuitlab.figures.scene import BASELINE, DASHES, Colour, Path, Scene, Words, readable, rgb

_ALIGN = {"left": "left", "right": "right", "center": "center"}
_ESCAPED = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "%": r"\%", "_": r"\_",
    "^": r"\textasciicircum{}", "~": r"\textasciitilde{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", '"': r"\char34{}", "'": "{'}", "`": "{`}", "-": "{-}",
    "…": r"\ldots{}", "·": r"\textperiodcentered{}", "␣": r"\textvisiblespace{}", "−": "$-$", "×": r"$\times$",
    "→": r"$\rightarrow$", "⏎": r"$\hookleftarrow$", "⇥": r"$\mapsto$", "–": "--", "␍": r"$\hookleftarrow$",
    "+": "$+$", "=": "$=$", "‘": "{`}", "’": "{'}", "“": "{``}", "”": "{''}", "—": "---", "•": r"\textbullet{}",
}  # fmt: skip
_LATIN = frozenset(map(chr, range(0xA1, 0x180))) - set("«»ÐÞðþĄąĐđĘęĦħĮįĸĿŀŉŊŋŦŧŲųſ")
"""Letters beyond ASCII that every LaTeX sets without a package."""
_HEAD = r"""%% {title}
%% Written by circuitlab. In the preamble: \usepackage{{pgf}}, and for text in exactly these sizes a scalable font, such
%% as \usepackage{{lmodern}}; for scripts beyond Latin use XeLaTeX or LuaLaTeX. Then: \input{{this file}}
\begingroup
\def\circuitlabglyph#1{{\framebox[0.6em]{{\rule{{0pt}}{{1ex}}}}}}\setlength{{\fboxsep}}{{0pt}}
\ifdefined\directlua\def\circuitlabglyph#1{{#1}}\fi
\ifdefined\XeTeXversion\def\circuitlabglyph#1{{#1}}\fi
\begin{{pgfpicture}}
\pgfpathrectangle{{\pgfpointorigin}}{{\pgfqpoint{{{width}bp}}{{{height}bp}}}}
\pgfusepath{{use as bounding box, clip}}
"""
_TAIL = "\\end{pgfpicture}\n\\endgroup\n"


def pgf_text(scene: Scene, title: str) -> str:
    """The scene as the text of a .pgf file."""
    parts = [_HEAD.format(title=readable(title), width=_n(scene.width), height=_n(scene.height))]
    ground = f"\\pgfpathrectangle{{\\pgfpointorigin}}{{{_at(scene, scene.width, scene.top)}}}\n"
    parts.append(f"{_colour('fill', scene.theme.background)}{ground}\\pgfusepath{{fill}}\n")
    for item in scene.items:
        parts.append(_path(scene, item) if isinstance(item, Path) else _words(scene, item))
    return "".join(parts) + _TAIL


def _n(number: float | int) -> str:
    text = f"{number:.3f}".rstrip("0").rstrip(".")
    return "0" if text in ("-0", "") else text


def _at(scene: Scene, x: float | int, y: float | int) -> str:
    return f"\\pgfqpoint{{{_n(x)}bp}}{{{_n(scene.bottom - y)}bp}}"


def _colour(what: str, colour: Colour) -> str:
    numbers = ",".join(_n(part) for part in rgb(colour))
    return f"\\definecolor{{circuitlab}}{{rgb}}{{{numbers}}}\\pgfset{what}color{{circuitlab}}\n"


def _path(scene: Scene, path: Path) -> str:
    use = ",".join(["fill"] * (path.fill is not None) + ["stroke"] * (path.stroke is not None and path.width > 0))
    if not use:
        return ""
    lines = ["\\begin{pgfscope}\n"]
    if path.fill is not None:
        lines.append(_colour("fill", path.fill))
    if path.stroke is not None and path.width > 0:
        lines.append(_colour("stroke", path.stroke))
        lines.append(f"\\pgfsetlinewidth{{{_n(path.width)}bp}}\n")
        if path.dashed:
            on, off = (_n(part * path.width) for part in DASHES)
            lines.append(f"\\pgfsetdash{{{{{on}bp}}{{{off}bp}}}}{{0bp}}\n")
    if path.opacity < 1:
        lines.append(f"\\pgfsetfillopacity{{{_n(path.opacity)}}}\\pgfsetstrokeopacity{{{_n(path.opacity)}}}\n")
    points = [_at(scene, x, y) for x, y in path.points.tolist()]
    for step in path.steps:
        if step == "Z":
            lines.append("\\pgfpathclose\n")
        else:
            name, n = {"M": ("moveto", 1), "L": ("lineto", 1), "C": ("curveto", 3)}[step]
            lines.append(f"\\pgfpath{name}" + "".join(f"{{{point}}}" for point in points[:n]) + "\n")
            points = points[n:]
    return "".join([*lines, f"\\pgfusepath{{{use}}}\n", "\\end{pgfscope}\n"])


def _words(scene: Scene, words: Words) -> str:
    down = BASELINE * words.size
    x, y = (words.x + down, words.y) if words.rotation else (words.x, words.y + down)
    side = "" if words.align == "center" else f"{words.align},"
    turn = f",rotate={_n(words.rotation)}" if words.rotation else ""
    font = f"\\fontsize{{{_n(words.size)}bp}}{{{_n(1.2 * words.size)}bp}}\\sffamily"
    font += "\\bfseries" if words.bold else "\\mdseries"
    place = f"x={_n(x)}bp,y={_n(scene.bottom - y)}bp"
    return (
        f"\\begin{{pgfscope}}\n\\definecolor{{circuitlab}}{{rgb}}{{{','.join(_n(part) for part in rgb(words.colour))}}}"
        f"\\pgftext[{side}base,{place}{turn}]{{\\color{{circuitlab}}{font}\\selectfont {escaped(words.text)}}}\n"
        "\\end{pgfscope}\n"
    )


def escaped(text: str) -> str:
    """Text that TeX sets as it is; line breaks, which would end the paragraph, become spaces."""
    return "".join(_ESCAPED.get(character) or _set(character) for character in " ".join(text.split()))


def _set(character: str) -> str:
    return character if character.isascii() or character in _LATIN else f"\\circuitlabglyph{{{character}}}"
