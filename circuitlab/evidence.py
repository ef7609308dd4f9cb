"""What is known of one feature: the examples it is active on, the tokens it promotes, whom it reads from and writes to.

`Evidence` is filled by `features.py` from the weights and a few texts, or from any feature JSON of this field
(`from_json`); `sources` says where each part came from, `missing` why a part is not there. A quantile is a range of
peak activations: "Top", then equal ranges below it. Texts that agree up to the peak are one example to a causal model:
`fold` counts them.

The JSON is that of Anthropic's public frontend and of circuit-tracer (`circuitlab.formats.feature_json`). What a file
holds beyond these parts is kept in `extra` and written again.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from numbers import Integral
from typing import Any, Protocol, runtime_checkable

import numpy as np

PARTS = (
    "examples",
    "promoted",
    "suppressed",
    "activation_histogram",
    "logit_histogram",
    "density",
    "reads_from",
    "writes_to",
)
SOURCES = ("weights", "prompt", "harvest")
TOP = "Top"
NEURONS = "MLP neurons, no transcoder"
"""What the features of a model without a transcoder are called wherever they are shown."""


@dataclass(frozen=True)
class Example:
    """One text: tokens, their activations, and where the largest is; `copies` texts agree with it up to there.

    `logit_weights` gives, where known, the feature's weight on the logit of each of these tokens; `extra` what a file
    says of it beyond that.
    """

    tokens: tuple[str, ...]
    activations: tuple[float, ...]
    peak: int
    quantile: str = TOP
    copies: int = 1
    logit_weights: tuple[float, ...] | None = None
    extra: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        if len(self.activations) != len(self.tokens):
            raise ValueError(
                f"an example has {len(self.tokens)} tokens but {len(self.activations)} activations: one each expected"
            )
        if not 0 <= self.peak < len(self.tokens):
            raise ValueError(f"an example's peak is at {self.peak}; it has tokens 0 to {len(self.tokens) - 1}")


@dataclass(frozen=True)
class TokenWeight:
    """A token with a weight on its logit, in logits per unit of activation before the final norm's scale."""

    token: str
    weight: float


@dataclass(frozen=True)
class Neighbour:
    """Another feature with the virtual weight ⟨W_dec, W_enc⟩ between it and this one."""

    layer: int
    index: int
    weight: float
    label: str = ""

    @property
    def name(self) -> str:
        return f"L{self.layer}/{self.index}"


@dataclass(frozen=True)
class Histogram:
    """`counts[i]` values between `edges[i]` and `edges[i + 1]`."""

    counts: tuple[int, ...]
    edges: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.edges) != len(self.counts) + 1:
            raise ValueError(
                f"a histogram of {len(self.counts)} bins has {len(self.counts) + 1} edges, not {len(self.edges)}"
            )

    @staticmethod
    def of(values: Any, bins: int = 40, low: float | int | None = None) -> Histogram | None:
        """The histogram of some numbers; None where there are none."""
        values = np.asarray(values, dtype=np.float64)
        if not values.size:
            return None
        first = values.min() if low is None else low
        counts, edges = np.histogram(values, bins, (first, max(values.max(), first + 1e-9)))
        return Histogram(tuple(counts.tolist()), tuple(edges.tolist()))


@dataclass(frozen=True)
class TokenActivations:
    """A feature's activation at every token of a text; the first token is left out (0), as everywhere here."""

    tokens: tuple[str, ...]
    activations: tuple[float, ...]
    logit_weights: tuple[float, ...] | None = None


@dataclass(frozen=True)
class Evidence:
    """What is known of the feature `index` of `layer`; see the module's docstring.

    `density` is the share of tokens on which it is active; `note` a sentence about where the examples come from;
    `extra` what a file said beyond these parts, by its keys there.
    """

    layer: int
    index: int
    label: str = ""
    examples: tuple[Example, ...] = ()
    promoted: tuple[TokenWeight, ...] = ()
    suppressed: tuple[TokenWeight, ...] = ()
    activation_histogram: Histogram | None = None
    logit_histogram: Histogram | None = None
    density: float | None = None
    largest: float | None = None
    reads_from: tuple[Neighbour, ...] = ()
    writes_to: tuple[Neighbour, ...] = ()
    sources: Mapping[str, str] = field(default_factory=dict)
    missing: Mapping[str, str] = field(default_factory=dict)
    note: str = ""
    extra: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        for what, given in (("sources", self.sources), ("missing", self.missing)):
            unknown = [part for part in given if part not in PARTS]
            if unknown:
                raise ValueError(f"evidence has no part {unknown[0]!r} ({what}); its parts are {', '.join(PARTS)}")
        odd = [source for source in self.sources.values() if source not in SOURCES]
        if odd:
            raise ValueError(f"evidence comes from {', '.join(SOURCES)}, not from {odd[0]!r}")

    @property
    def name(self) -> str:
        return f"L{self.layer}/{self.index}"

    @property
    def quantiles(self) -> dict[str, tuple[Example, ...]]:
        """The examples by the name of their quantile, in the order in which these come."""
        names = dict.fromkeys(example.quantile for example in self.examples)
        return {name: tuple(e for e in self.examples if e.quantile == name) for name in names}

    def __repr__(self) -> str:
        label = f" {self.label!r}" if self.label else ""
        return f"Evidence({self.name}{label}, {len(self.examples)} examples, {len(self.missing)} parts missing)"

    def to_json(self, extra: bool = True) -> dict[str, Any]:
        """The feature JSON, ready for `json.dumps`; without `extra` only what `Evidence` itself holds."""
        from circuitlab.formats.feature_json import json_of_evidence

        return json_of_evidence(self, extra)

    @staticmethod
    def from_json(data: Mapping[str, Any], layer: int | None = None) -> Evidence:
        """Evidence from a feature JSON of any tool; `layer` where the file does not say it.

        Raises ValueError for one without `index` or `examples_quantiles`, and for what does not fit together.
        """
        from circuitlab.formats.feature_json import evidence_from_json

        return evidence_from_json(data, layer=layer)


@runtime_checkable
class FeatureSource(Protocol):
    """Where a dashboard gets its evidence: `model.features`, or anything like it."""

    labels: Mapping[str, str]

    def __getitem__(self, key: Any) -> Evidence: ...


def parse_name(name: str) -> tuple[int, int] | None:
    """Layer and index of "L3/55" (or "3/55"); None where the text is no feature's name."""
    found = re.fullmatch(r"\s*[Ll]?(\d{1,6})\s*/\s*(\d{1,12})\s*", name)
    return (int(found[1]), int(found[2])) if found else None


def locate(key: Any, n_layers: int, n_features: int, labels: Mapping[str, str]) -> tuple[int, int]:
    """Layer and index of a feature; ValueError for what is no feature, with the valid range and the nearest label."""
    valid = f"features are L0/0 to L{n_layers - 1}/{n_features - 1}"
    place = parse_name(key) if isinstance(key, str) else key
    if isinstance(key, str) and place is None:
        raise ValueError(f"{key[:80]!r} names no feature; {_near(key, labels)}{valid}")
    if not (isinstance(place, tuple) and len(place) == 2 and all(map(_is_integer, place))):
        raise ValueError(f"{key!r} names no feature: write features['L3/55'] or features[3, 55]; {valid}")
    layer, index = map(int, place)
    if not 0 <= layer < n_layers:
        raise ValueError(f"there is no layer {layer}: layers are 0 to {n_layers - 1}")
    if not 0 <= index < n_features:
        raise ValueError(f"layer {layer} has no feature {index}: its features are 0 to {n_features - 1}")
    return layer, index


def _near(text: str, labels: Mapping[str, str]) -> str:
    close = difflib.get_close_matches(text[:80], set(labels.values()), n=1, cutoff=0.7)
    if not close:
        return ""
    name = next(name for name, label in labels.items() if label == close[0])
    return f"{name} is labelled {close[0]!r}; "


def _is_integer(value: Any) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


def fold(examples: Sequence[Example]) -> tuple[Example, ...]:
    """One example for all of a quantile that agree up to and including the peak; the first stays, with their count."""
    kept: dict[tuple[str, tuple[str, ...]], Example] = {}
    for example in examples:
        key = (example.quantile, example.tokens[: example.peak + 1])
        first = kept.get(key)
        kept[key] = example if first is None else replace(first, copies=first.copies + example.copies)
    return tuple(kept.values())


def in_quantiles(
    examples: Sequence[Example], n_top: int = 10, n_lower: int = 4, ranges: int = 5
) -> tuple[Example, ...]:
    """Examples by falling peak: the `n_top` highest, then up to `n_lower` of each lower range of peak activations.

    The ranges split 0 to the largest peak into `ranges` equal parts; within one, examples are taken evenly.
    """
    ordered = sorted(examples, key=lambda example: -example.activations[example.peak])
    folded = fold([replace(example, quantile=TOP) for example in ordered])
    if not folded:
        return ()
    largest = folded[0].activations[folded[0].peak]
    chosen = list(folded[:n_top])
    for part in reversed(range(ranges)):
        low, high = part / ranges, (part + 1) / ranges
        within = [e for e in folded[n_top:] if low * largest < e.activations[e.peak] <= high * largest]
        name = f"{low:.0%} to {high:.0%} of the largest"
        places = np.unique(np.linspace(0, len(within) - 1, min(n_lower, len(within))).round().astype(int))
        chosen += [replace(within[place], quantile=name) for place in places]
    return tuple(chosen)
