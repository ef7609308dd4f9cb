"""From the state of the sliders to one call of `model.intervene`, as arguments and as Python text.

A row acts at its own place(s); "all" positions where its features are active; one position; or "generated": from its
first place on, tokens generated later too. Away from their own place a group's members act as features, each by its
name, since a node stands at one position.
"""

from __future__ import annotations

import difflib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from circuitlab.widgets.sliders.rows import Row

PLACES = ("own", "all", "generated")
MODES = {
    "propagating": "What is set changes the features after it, and these the next; what the transcoder missed holds.",
    "direct": "Every other feature holds its value: what moves, moves along the graph's own edges from what is set.",
    "constrained": "Up to a layer all else holds its value; after it, the model's own MLPs answer.",
    "steering": "The model as it is, with the change of the features added to what its MLPs write.",
}
"""What `model.intervene` names `mode`, each in a line."""
SMALLEST, LARGEST = -5.0, 5.0


@dataclass(frozen=True)
class Setting:
    """The sliders' state: `factors` and `values` by row name (a row in neither is as it was), `where` by row name.

    `end_layer` belongs to the mode "constrained": None for the last layer that is set.
    """

    factors: Mapping[str, float] = field(default_factory=dict)
    values: Mapping[str, float] = field(default_factory=dict)
    where: Mapping[str, str | int] = field(default_factory=dict)
    mode: str = "propagating"
    end_layer: int | None = None
    freeze_attention: bool = True
    n_tokens: int = 0


@dataclass(frozen=True)
class Onward:
    """From this position on; becomes `cl.Onward`."""

    start: int


@dataclass(frozen=True)
class Value:
    """Set to this activation; becomes `cl.Value`."""

    value: float


@dataclass(frozen=True)
class Request:
    """One intervention: the mappings that `model.intervene` takes, with this module's `Value` and `Onward`."""

    interventions: Mapping[str, float | Value]
    supernodes: Mapping[str, Sequence[str]] = field(default_factory=dict)
    positions: Mapping[str, int | slice | Onward] = field(default_factory=dict)
    mode: str = "propagating"
    end_layer: int | None = None
    freeze_attention: bool = True
    n_tokens: int = 0

    def arguments(self, value: Callable[[float], Any], onward: Callable[[int], Any]) -> tuple[dict, dict[str, Any]]:
        """Interventions and keyword arguments, with the model's own `Value` and `Onward`."""

        def real(item: Any) -> Any:
            if isinstance(item, Value):
                return value(item.value)
            return onward(item.start) if isinstance(item, Onward) else item

        options: dict[str, Any] = {"mode": self.mode, "freeze_attention": self.freeze_attention}
        if self.end_layer is not None:
            options["end_layer"] = self.end_layer
        if self.supernodes:
            options["supernodes"] = {name: list(ids) for name, ids in self.supernodes.items()}
        if self.positions:
            options["positions"] = {name: real(place) for name, place in self.positions.items()}
        return {name: real(amount) for name, amount in self.interventions.items()}, options

    def code(self, prompt: str | Sequence[int], opening: str, graph: bool = False) -> str:
        """Python text that makes the same run; `opening` says what `model` is."""
        if not self.interventions:
            return f"{opening}\n\nmodel.top_tokens({_text(prompt)})   # nothing is changed yet\n"
        lines = [f"    {_text(prompt)},", f"    {_mapping(self.interventions)},"]
        if self.supernodes:
            lines.append(f"    supernodes={_mapping(self.supernodes)},")
        if self.positions:
            lines.append(f"    positions={_mapping(self.positions)},")
        if self.mode != "propagating":
            lines.append(f'    mode="{self.mode}",')
        if self.end_layer is not None:
            lines.append(f"    end_layer={self.end_layer},")
        if not self.freeze_attention:
            lines.append("    freeze_attention=False,")
        if self.n_tokens:
            lines.append(f"    n_tokens={self.n_tokens},")
        if graph:
            lines.append("    graph=graph,")
        end = ["run.continuation"] if self.n_tokens else []
        return "\n".join([opening, "", "run = model.intervene(", *lines, ")", "run.top_tokens()", *end, ""])


def request(setting: Setting, rows: Sequence[Row]) -> Request:
    """The request of a setting; rows at factor 1 are as they were and left out.

    Raises ValueError where two rows set the same feature, or a row cannot act at the place asked for.
    """
    interventions: dict[str, float | Value] = {}
    supernodes: dict[str, Sequence[str]] = {}
    positions: dict[str, int | slice | Onward] = {}
    owner: dict[str, str] = {}
    for row in rows:
        amount = amount_of(setting, row)
        if amount is None:
            continue
        where = setting.where.get(row.name, "own")
        for key in (row.name,) if where == "own" else _feature_names(row, where):
            if key in interventions:
                raise ValueError(f"{owner[key]!r:.60} and {row.name!r:.60} both set {key}: take one of them away")
            interventions[key], owner[key] = amount, row.name
            if where != "own" and (place := _place(row, where, amount)) is not None:
                positions[key] = place
        if where == "own" and row.kind in ("supernode", "label"):
            supernodes[row.name] = row.members
    end_layer = setting.end_layer if setting.mode == "constrained" else None
    return Request(
        interventions, supernodes, positions, setting.mode, end_layer, setting.freeze_attention, setting.n_tokens
    )


def amount_of(setting: Setting, row: Row) -> float | Value | None:
    """What a row is set to; None where it is left as it was."""
    if row.name in setting.values:
        return Value(float(setting.values[row.name]))
    factor = float(setting.factors.get(row.name, 1.0))
    return None if factor == 1.0 else factor


def _feature_names(row: Row, where: str | int) -> list[str]:
    if row.vector:
        raise ValueError(f"{row.name!r:.60} holds an error or a token, which has one place: it cannot act at {where!r}")
    return [f"L{layer}/{feature}" for layer, feature in row.features]


def _place(row: Row, where: str | int, amount: float | Value) -> int | slice | Onward | None:
    if where == "generated":
        return Onward(row.places[0] if row.places else 0)
    if where == "all":
        return slice(None) if isinstance(amount, Value) else None
    return int(where)


def _mapping(items: Mapping[str, Any]) -> str:
    """A dictionary as text, one line if it is short."""
    parts = [f"{_text(name)}: {_text(item)}" for name, item in items.items()]
    short = "{" + ", ".join(parts) + "}"
    return short if len(short) <= 96 else "{\n" + "".join(f"        {part},\n" for part in parts) + "    }"


def _text(item: Any) -> str:
    if isinstance(item, Value):
        return f"cl.Value({_number(item.value)})"
    if isinstance(item, Onward):
        return f"cl.Onward({item.start})"
    if isinstance(item, slice):
        return "slice(None)"
    if isinstance(item, float):
        return _number(item)
    return json.dumps(list(item) if isinstance(item, tuple) else item, ensure_ascii=False)


def _number(value: float) -> str:
    """As short as the same number can be said."""
    return short if float(short := f"{value:g}") == value else repr(value)


# ---- checks of what a user sets ----


def checked_amounts(trait: str, amounts: Any) -> dict[str, float]:
    """Row name → finite number; ValueError that names the trait and the row."""
    if not isinstance(amounts, Mapping):
        raise ValueError(f"{trait}={amounts!r:.60}: expected a mapping from row names to numbers")
    for name, amount in amounts.items():
        if isinstance(amount, bool) or not isinstance(amount, int | float) or not math.isfinite(amount):
            raise ValueError(f"{trait}[{name!r:.60}] is {amount!r:.60}; expected a finite number")
    return {name: float(amount) for name, amount in amounts.items()}


def checked_where(where: Any, n_positions: int) -> dict[str, str | int]:
    """Row name → place; ValueError that names the row."""
    if not isinstance(where, Mapping):
        raise ValueError(f"where={where!r:.60}: expected a mapping from row names to places")
    for name, place in where.items():
        if isinstance(place, str) and place in PLACES:
            continue
        if isinstance(place, bool) or not isinstance(place, int) or not 0 <= place < n_positions:
            raise ValueError(
                f"where[{name!r:.60}] is {place!r:.60}; expected {', '.join(map(repr, PLACES))}, or a position "
                f"from 0 to {n_positions - 1}"
            )
    return dict(where)


def checked_mode(mode: Any) -> str:
    """A mode's name; ValueError with the nearest for one that does not exist."""
    if isinstance(mode, str) and mode in MODES:
        return str(mode)
    near = difflib.get_close_matches(str(mode), MODES, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"modes are {', '.join(MODES)}"
    raise ValueError(f"mode={mode!r:.60}: {hint}")


def checked_end_layer(end_layer: Any, n_layers: int) -> int | None:
    """A layer, or None for the last that is set."""
    if end_layer is None:
        return None
    if isinstance(end_layer, bool) or not isinstance(end_layer, int) or not 0 <= end_layer < n_layers:
        raise ValueError(f"end_layer={end_layer!r:.60}: expected a layer from 0 to {n_layers - 1}, or None")
    return end_layer


def checked_setting(setting: Any, n_positions: int) -> dict[str, Any]:
    """What sliders hold besides factors, as a `Session` keeps it; ValueError for other names and for nonsense."""
    known = ("values", "where", "mode", "end_layer", "freeze_attention")
    if not isinstance(setting, Mapping):
        raise ValueError(f"setting={setting!r:.60}: expected a mapping of {', '.join(known)}")
    for name in setting:
        if name not in known:
            near = difflib.get_close_matches(str(name), known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}"
            raise ValueError(f"setting has no {name!r:.60}; {hint}")
    checked_amounts("values", setting.get("values", {}))
    checked_where(setting.get("where", {}), n_positions)
    checked_mode(setting.get("mode", "propagating"))
    end_layer, frozen = setting.get("end_layer"), setting.get("freeze_attention", True)
    if end_layer is not None and (isinstance(end_layer, bool) or not isinstance(end_layer, int) or end_layer < 0):
        raise ValueError(f"setting's end_layer is {end_layer!r:.60}; expected a layer from 0 on, or None")
    if not isinstance(frozen, bool):
        raise ValueError(f"setting's freeze_attention is {frozen!r:.60}; expected True or False")
    return dict(setting)
