"""Widgets for notebooks: the interactive attribution graph, and the Session that links widgets.

Each class is a thin anywidget adapter around a TypeScript component of `widgets/`, which also runs without
Jupyter. No widget imports torch: what has to run a model is given to it as a callable.
"""

from circuitlab.widgets.attribution_graph import AttributionGraph
from circuitlab.widgets.session import Session

__all__ = ["AttributionGraph", "Session"]
