"""From a run to what the sliders show of it: tokens before and after, what is left of groups and of nodes.

Reads a run's tables only (`top_tokens`, `features`), so that any object with them will do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from circuitlab.layout import clip_text, show_token

NOTICED = 0.02
"""Share of its own value by which an activation must change to be shown at a node."""
BADGES = 400


@dataclass(frozen=True)
class Group:
    """Nodes of which is shown what is left; `is_set` if the intervention itself sets them."""

    name: str
    title: str
    members: Sequence[str]
    is_set: bool


def numbers(run: Any, groups: Sequence[Group], n_tokens: int = 8) -> dict[str, Any]:
    """Plain data for the browser: `tokens` and `groups`, each a list of dictionaries with `before` and `after`."""
    tokens = run.top_tokens(n_tokens)
    columns = zip(tokens["token"], tokens["before"], tokens["after"], strict=True)
    features = run.features
    left = [(group, *remaining(features, group.members)) for group in groups]
    return {
        "tokens": [
            {"token": visible(token), "before": rounded(before), "after": rounded(after)}
            for token, before, after in columns
        ],
        "groups": [
            {"name": visible(group.title), "before": rounded(before), "after": rounded(after), "set": group.is_set}
            for group, before, after in left
        ],
    }


def tables(result: dict[str, Any], n_groups: int = 8) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """What `numbers` gave, as `circuitlab.figures.plot_intervention` takes it: what is set first, then what changed
    most."""
    rows = []
    for at, group in enumerate(result.get("groups", [])):
        before, after = group["before"] or 0.0, group["after"] or 0.0
        share = after / before if before else np.nan
        factor = share if before else np.copysign(np.inf, after)
        row = {"name": f"{at} {group['name']}", "label": group["name"], "remaining": share}
        if (group["set"] and (before or after)) or abs(after - before) > NOTICED * max(abs(before), abs(after)):
            rows.append({**row, "factor": factor if group["set"] else np.nan, "change": abs(after - before)})
    rows.sort(key=lambda row: (np.isnan(row["factor"]), -row["change"]))
    remaining = pd.DataFrame(rows[:n_groups], columns=["name", "label", "remaining", "factor", "change"])
    return pd.DataFrame(result["tokens"]), remaining, pd.DataFrame({"source": [], "target": [], "weight": []})


def changed(run: Any, groups: Sequence[Group], ids: Sequence[str]) -> dict[str, float]:
    """Share of its activation left, of every node and group that changed noticeably; `ids` by falling importance."""
    features = run.features
    known = [node_id for node_id in ids if node_id in features.index]
    before, after = features.loc[known, ["before", "after"]].to_numpy(np.float64).T
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.where(before > 0, after / before, np.nan)
    moved = np.abs(share - 1.0) > NOTICED
    found = {known[i]: round(float(share[i]), 3) + 0.0 for i in np.flatnonzero(moved)[:BADGES]}
    for group in groups:
        start, end = remaining(features, group.members)
        if start > 0 and abs(end / start - 1.0) > NOTICED:
            found[group.name] = round(end / start, 3) + 0.0
    return found


def remaining(features: pd.DataFrame, ids: Sequence[str]) -> tuple[float, float]:
    """Summed activation of these nodes, before and after."""
    known = [node_id for node_id in ids if node_id in features.index]
    before, after = features.loc[known, ["before", "after"]].to_numpy(np.float64).sum(0).tolist()
    return before, after


def visible(text: str) -> str:
    """A token or a continuation with spaces kept, and without what is no text."""
    lead = " " if text.startswith(" ") else ""
    return lead + show_token(clip_text(str(text)[:2000], 400))


def rounded(value: Any) -> float | None:
    """Six significant digits; None for what is no number, which JSON cannot say."""
    return float(f"{float(value):.6g}") if np.isfinite(value) else None
