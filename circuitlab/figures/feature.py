"""The figure of one feature: its strongest examples, the tokens it promotes and suppresses, where it is active.

Reads an `Evidence` and gives a `Scene`: examples on the left, each centred on its peak and shaded by activation, output
tokens and the histogram of activations on the right. What is not known is left out.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from circuitlab.evidence import Evidence, Example, Histogram, TokenWeight
from circuitlab.figures.scene import Scene, blend, fit, readable, rectangle
from circuitlab.layout import Theme, text_width

EXAMPLES, TOKENS = 10, 8
ROW = 1.75
SHARE = 0.58
"""Of the width, for the examples."""
PLAIN, BOLD = 0.93, 1.04
"""What a text takes of the width that `text_width` allows for."""


def feature_scene(evidence: Evidence, label: str, points: float | int, em: float | int, theme: Theme) -> Scene:
    """What is known of a feature, `points` wide, its text `em` points high."""
    name = f"L{evidence.layer}/{evidence.index}"
    scene = Scene(points, 0.0, 0.0, em, theme)
    scene.write_fitting(em, 1.4 * em, readable(label) or "no label", 1.5, bold=True)
    scene.write_fitting(em, 3.2 * em, " · ".join(_facts(name, evidence)), 0.9, muted=True)
    middle = SHARE * points
    left = _examples(scene, evidence, 5.2 * em, middle - 1.5 * em)
    right = _outputs(scene, evidence, middle, 5.2 * em)
    if evidence.activation_histogram is not None and evidence.activation_histogram.counts:
        right = _histogram(scene, evidence.activation_histogram, middle, right + em)
    return Scene(points, 0.0, max(left, right, 6 * em) + em, em, theme, scene.items)


def _facts(name: str, evidence: Evidence) -> list[str]:
    facts = [name]
    if evidence.density is not None:
        facts.append(f"active on {100 * evidence.density:.2g}% of tokens")
    if evidence.largest is not None:
        facts.append(f"largest activation {evidence.largest:.3g}")
    return facts


def _examples(scene: Scene, evidence: Evidence, y: float, right: float) -> float:
    """Rows of text, the peak of each in the middle; gives the height below them."""
    em = scene.em
    shown = evidence.examples[:EXAMPLES]
    if not shown:
        return y
    scene.write(em, y, "Examples", 1, bold=True)
    largest = evidence.largest or max(max(one.activations, default=0.0) for one in shown)
    for example in shown:
        y += ROW * em
        scene.write(3.4 * em, y, f"{example.activations[example.peak]:.3g}", 0.85, "right", muted=True)
        _strip(scene, example, largest, y, 4.0 * em, right)
    return y + em


def _strip(scene: Scene, example: Example, largest: float, y: float, left: float, right: float) -> None:
    """One example between two edges: as many tokens around its peak as fit, shaded by activation."""
    em = scene.em
    texts = [_spaced(token) for token in example.tokens]
    peak, middle = example.peak, (left + right) / 2
    wide = [max((BOLD if at == peak else PLAIN) * text_width(text), 0.35) * em for at, text in enumerate(texts)]
    begins = {peak: middle - wide[peak] / 2}
    for at in range(peak - 1, -1, -1):
        begins[at] = begins[at + 1] - wide[at]
    for at in range(peak + 1, len(texts)):
        begins[at] = begins[at - 1] + wide[at - 1]
    for at, x in begins.items():
        if x < left or x + wide[at] > right:
            continue
        share = min(1.0, max(0.0, example.activations[at] / largest)) if largest > 0 else 0.0
        if share > 0:
            ink = blend(scene.theme.background, scene.theme.positive, 0.08 + 0.45 * share)
            scene.add(rectangle(x, y - 0.72 * em, wide[at], 1.44 * em, fill=ink))
        scene.write(x, y, texts[at], bold=at == peak)


def _spaced(token: str) -> str:
    """A token as it can be shown, its spaces kept as spaces of a line."""
    lead = "\u00a0" if token.startswith(" ") else ""
    return lead + fit(readable(token.strip()), 12.0)


def _outputs(scene: Scene, evidence: Evidence, x: float, y: float) -> float:
    em, room = scene.em, (scene.width - x - scene.em) / 2
    most = max((abs(one.weight) for one in (*evidence.promoted, *evidence.suppressed) if one.weight == one.weight),
               default=0.0)  # fmt: skip
    ends = [y]
    for number, (title, tokens) in enumerate((("Promoted", evidence.promoted), ("Suppressed", evidence.suppressed))):
        if tokens:
            scene.write(x + number * room, y, title, 1, bold=True)
            ends.append(_weights(scene, tokens[:TOKENS], most, x + number * room, y, room - em))
    return max(ends)


def _weights(scene: Scene, tokens: Sequence[TokenWeight], most: float, x: float, y: float, room: float) -> float:
    em, theme = scene.em, scene.theme
    for one in tokens:
        y += ROW * em
        scene.write(x, y, fit(readable(one.token.strip()) or "␣", room / em - 7.2))
        if one.weight != one.weight or not most:
            continue
        scene.write(x + room, y, f"{one.weight:+.3f}".replace("-", "−"), 0.85, "right", muted=True)
        ink = theme.positive if one.weight > 0 else theme.negative
        wide = 2.6 * em * abs(one.weight) / most
        scene.add(rectangle(x + room - 6.4 * em, y - 0.25 * em, wide, 0.5 * em, fill=ink))
    return y + em


def _histogram(scene: Scene, histogram: Histogram, x: float, y: float) -> float:
    """Bars on a logarithmic scale, in which single counts next to thousands can be seen."""
    em, room, high = scene.em, scene.width - x - scene.em, 4.0 * scene.em
    scene.write(x, y, "Activations", 1, bold=True)
    total, floor = sum(histogram.counts), y + em + high
    scene.write(x + room, y, f"{total:,} tokens, log scale", 0.85, "right", muted=True)
    heights = np.log1p(np.array(histogram.counts, dtype=np.float64))
    heights *= high / max(float(heights.max()), 1e-9)
    step = room / len(heights)
    for at, tall in enumerate(heights.tolist()):
        if tall > 0:
            scene.add(rectangle(x + at * step, floor - tall, 0.86 * step, tall, fill=scene.theme.positive))
    scene.add(rectangle(x, floor, room, 0.08 * em, fill=scene.theme.line))
    scene.write(x, floor + 0.8 * em, f"{histogram.edges[0]:.3g}", 0.8, muted=True)
    scene.write(x + room, floor + 0.8 * em, f"{histogram.edges[-1]:.3g}", 0.8, "right", muted=True)
    return floor + 1.6 * em
