"""Widgets for notebooks: the attribution graph, the intervention sliders, and the Session that links them.

Each class is a thin anywidget adapter around a TypeScript component of `widgets/`, which also runs without
Jupyter. No widget imports torch: what has to run a model is given to it as a callable. Names are imported when they
are first used: a page needs the columns, not Jupyter.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from circuitlab.widgets.attribution_graph import AttributionGraph
    from circuitlab.widgets.feature_dashboard import FeatureDashboard
    from circuitlab.widgets.session import Session
    from circuitlab.widgets.sliders.widget import InterventionSliders

_HOMES = {
    "AttributionGraph": "attribution_graph",
    "FeatureDashboard": "feature_dashboard",
    "InterventionSliders": "sliders.widget",
    "Session": "session",
}

__all__ = ["AttributionGraph", "FeatureDashboard", "InterventionSliders", "Session"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'circuitlab.widgets' has no attribute {name!r}")
    return getattr(import_module(f"circuitlab.widgets.{_HOMES[name]}"), name)
