"""What a node is set to, and where: the small vocabulary of a request.

A plain number is the papers' steering factor M: the new value is M times the old one (0 ablates, −1 inhibits, above 1
amplifies). `Value(v)` sets it to v, `Added(d)` adds d. All three are v' = scale · v + offset, v being the value in the
unperturbed run, so that they never depend on one another.

Source: Ameisen et al. 2025, "Circuit Tracing", section on interventions ("steering factor").
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any


@dataclass(frozen=True)
class Value:
    """Set to this activation, whatever it was."""

    value: float | int


@dataclass(frozen=True)
class Added:
    """Add this to the activation."""

    value: float | int


@dataclass(frozen=True)
class Onward:
    """From this position on, tokens generated later too; an index, or the text of a token (its first occurrence)."""

    start: int | str = 0


Amount = float | int | Value | Added
Position = int | str | slice | Onward
Positions = Position | Sequence[int | str]


def as_affine(name: str, amount: Any) -> tuple[float, float]:
    """(scale, offset) of v' = scale · v + offset; ValueError for what is no finite number."""
    number = amount.value if isinstance(amount, (Value, Added)) else amount
    if isinstance(number, bool) or not isinstance(number, Real):
        raise ValueError(f"{name!r}: {amount!r} is no number; give a factor M, cl.Value(v) or cl.Added(v)")
    try:
        number = float(number)
    except OverflowError:
        number = float("inf")
    if not abs(number) < float("inf"):
        raise ValueError(f"{name!r}: {amount!r} is not finite; give a number")
    if isinstance(amount, Value):
        return 0.0, number
    if isinstance(amount, Added):
        return 1.0, number
    return number, 0.0
