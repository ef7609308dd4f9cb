"""What is known of one feature: the examples it is active on, the tokens it promotes, whom it reads from and writes to.

`Evidence` is filled by `features.py` from the weights and a few texts, or from any feature JSON of this field
(`from_json`); `sources` says where each part came from, `missing` why a part is not there. A quantile is a range of
peak activations: "Top", then equal ranges below it. Texts that agree up to the peak are one example to a causal model:
`fold` counts them.

The JSON is that of Anthropic's public frontend and of circuit-tracer (`examples_quantiles`, `top_logits`, `histogram`,
`activation_frequency`, …), with what it has no key for beside it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
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


@dataclass(frozen=True)
class Example:
    """One text: tokens, their activations, and where the largest is; `copies` texts agree with it up to there.

    `logit_weights` gives, where known, the feature's weight on the logit of each of these tokens.
    """

    tokens: tuple[str, ...]
    activations: tuple[float, ...]
    peak: int
    quantile: str = TOP
    copies: int = 1
    logit_weights: tuple[float, ...] | None = None

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

    `density` is the share of tokens on which it is active; `note` a sentence about where the examples come from.
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

    def to_json(self) -> dict[str, Any]:
        """The feature JSON, ready for `json.dumps`."""
        return {
            "index": self.index,
            "layer": self.layer,
            "label": self.label,
            "examples_quantiles": [
                {"quantile_name": name, "examples": [_example_json(e) for e in examples]}
                for name, examples in self.quantiles.items()
            ],
            "top_logits": [t.token for t in self.promoted],
            "bottom_logits": [t.token for t in self.suppressed],
            "top_logit_weights": [t.weight for t in self.promoted],
            "bottom_logit_weights": [t.weight for t in self.suppressed],
            "act_min": 0.0,
            "act_max": self.largest,
            "histogram": list(self.activation_histogram.counts) if self.activation_histogram else [],
            "histogram_edges": list(self.activation_histogram.edges) if self.activation_histogram else [],
            "logit_histogram": list(self.logit_histogram.counts) if self.logit_histogram else [],
            "logit_histogram_edges": list(self.logit_histogram.edges) if self.logit_histogram else [],
            "activation_frequency": self.density,
            "reads_from": [_neighbour_json(n) for n in self.reads_from],
            "writes_to": [_neighbour_json(n) for n in self.writes_to],
            "sources": dict(self.sources),
            "missing": dict(self.missing),
            "note": self.note,
        }

    @staticmethod
    def from_json(data: Mapping[str, Any], layer: int | None = None) -> Evidence:
        """Evidence from a feature JSON of any tool; `layer` where the file does not say it.

        Raises ValueError for one without `index` or `examples_quantiles`, and for what does not fit together.
        """
        for key in ("index", "examples_quantiles"):
            if key not in data:
                raise ValueError(
                    f"a feature JSON has the key {key!r}; this one has {', '.join(map(str, data)) or 'none'}"
                )
        if layer is None and "layer" not in data:
            raise ValueError("this feature JSON does not say its layer: give from_json(data, layer=…)")
        examples = [
            _example_from(example, str(part.get("quantile_name", TOP)))
            for part in data["examples_quantiles"]
            for example in part.get("examples", ())
        ]
        return Evidence(
            layer=int(data["layer"] if layer is None else layer),
            index=int(data["index"]),
            label=str(data.get("label", "")),
            examples=fold(examples),
            promoted=_token_weights(data, "top"),
            suppressed=_token_weights(data, "bottom"),
            activation_histogram=_histogram_from(data, "histogram", data.get("act_max")),
            logit_histogram=_histogram_from(data, "logit_histogram", None),
            density=data.get("activation_frequency"),
            largest=data.get("act_max"),
            reads_from=tuple(Neighbour(**n) for n in data.get("reads_from", ())),
            writes_to=tuple(Neighbour(**n) for n in data.get("writes_to", ())),
            sources=data.get("sources", {}),
            missing=data.get("missing", {}),
            note=str(data.get("note", "")),
        )


@runtime_checkable
class FeatureSource(Protocol):
    """Where a dashboard gets its evidence: `model.features`, or anything like it."""

    labels: Mapping[str, str]

    def __getitem__(self, key: Any) -> Evidence: ...


def parse_name(name: str) -> tuple[int, int] | None:
    """Layer and index of "L3/55" (or "3/55"); None where the text is no feature's name."""
    found = re.fullmatch(r"\s*[Ll]?(\d{1,6})\s*/\s*(\d{1,12})\s*", name)
    return (int(found[1]), int(found[2])) if found else None


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


def _example_json(example: Example) -> dict[str, Any]:
    data: dict[str, Any] = {
        "tokens": list(example.tokens),
        "tokens_acts_list": list(example.activations),
        "train_token_ind": example.peak,
        "is_repeated_datapoint": example.copies > 1,
        "copies": example.copies,
    }
    if example.logit_weights is not None:
        data["tokens_logit_weights"] = list(example.logit_weights)
    return data


def _example_from(data: Mapping[str, Any], quantile: str) -> Example:
    for key in ("tokens", "tokens_acts_list"):
        if key not in data:
            raise ValueError(f"an example of quantile {quantile!r} has no {key!r}; it has {', '.join(map(str, data))}")
    activations = tuple(float(value) for value in data["tokens_acts_list"])
    peak = data.get("train_token_ind", data.get("train_token_index"))
    if peak is None:
        peak = int(np.argmax(activations)) if activations else 0
    weights = data.get("tokens_logit_weights")
    return Example(
        tokens=tuple(str(token) for token in data["tokens"]),
        activations=activations,
        peak=int(peak),
        quantile=quantile,
        copies=int(data.get("copies", 1)),
        logit_weights=None if weights is None else tuple(float(weight) for weight in weights),
    )


def _neighbour_json(neighbour: Neighbour) -> dict[str, Any]:
    return {
        "layer": neighbour.layer,
        "index": neighbour.index,
        "weight": neighbour.weight,
        "label": neighbour.label,
    }


def _token_weights(data: Mapping[str, Any], side: str) -> tuple[TokenWeight, ...]:
    """A file without weights gives NaN: the order is known, the size is not."""
    tokens = data.get(f"{side}_logits", ())
    weights = data.get(f"{side}_logit_weights") or [float("nan")] * len(tokens)
    return tuple(TokenWeight(str(t), float(w)) for t, w in zip(tokens, weights, strict=True))


def _histogram_from(data: Mapping[str, Any], key: str, largest: Any) -> Histogram | None:
    counts = data.get(key) or ()
    edges = data.get(f"{key}_edges") or np.linspace(0.0, largest or 1.0, len(counts) + 1).tolist()
    return Histogram(tuple(int(c) for c in counts), tuple(float(e) for e in edges)) if counts else None
