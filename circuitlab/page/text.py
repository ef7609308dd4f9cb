"""Numbers and strings as a reader of the page sees them."""

from __future__ import annotations

from html import escape
from importlib.metadata import PackageNotFoundError, version

import numpy as np
import pandas as pd

from circuitlab.graph import percent as one_rule
from circuitlab.layout import clip_text, show_token


def clean(text: str, limit: int = 1000) -> str:
    """A label or token, which may come from a stranger's file, without control and direction characters."""
    return clip_text(show_token(text), limit)


def html(text: str, limit: int = 60) -> str:
    """The same as HTML text."""
    return escape(clean(text, limit))


def percent(share: float | int) -> str:
    return "" if pd.isna(share) else one_rule(float(share)).replace("-", "−")


def score(value: float) -> str:
    return "unknown" if np.isnan(value) else f"{value:.2f}"


def signed(value: float) -> str:
    return f"{value:+.3g}".replace("-", "−")


def circuitlab_version() -> str:
    try:
        return version("circuitlab")
    except PackageNotFoundError:
        return "(not installed)"
