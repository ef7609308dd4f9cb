"""circuitlab: a Jupyter-native microscope for language models.

    import circuitlab as cl

    model = cl.load()                     # the bundled model and its transcoder
    graph = model.trace("fact : the capital of the state containing Dallas is")
    graph.nodes, graph.edges              # pandas
    small = graph.prune(nodes=0.8, edges=0.98)
    small.savefig("dallas.pdf")

Names are imported when they are first used, so `import circuitlab` is fast and a saved graph opens without torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from circuitlab import cache, models
    from circuitlab.evidence import Evidence
    from circuitlab.features import Features
    from circuitlab.fit import TranscoderMismatchWarning
    from circuitlab.formats.graph_index import list_graphs
    from circuitlab.graph import Graph
    from circuitlab.grouping import Grouped, group
    from circuitlab.interventions import Added, Cancelled, InterventionRun, Onward, Value
    from circuitlab.interventions.contrast import (
        Concept,
        answers,
        contrast,
        intervene_each,
        random_matched,
        swapped,
    )
    from circuitlab.model import Model, load_model
    from circuitlab.operands import operand_kind, operand_plots
    from circuitlab.overlap import shared_features
    from circuitlab.replacement import Agreement, ReplacementModel, load
    from circuitlab.store.store import Store
    from circuitlab.targets import Direction, LogitDifference
    from circuitlab.tracing import trace
    from circuitlab.training import TrainingConfig, train
    from circuitlab.transcoder import Transcoder, TranscoderConfig
    from circuitlab.view import View
    from circuitlab.widgets import AttributionGraph, FeatureDashboard, InterventionSliders, Session

__version__ = "0.1.0"

_HOMES = {
    "Added": "interventions",
    "Agreement": "replacement",
    "AttributionGraph": "widgets",
    "Cancelled": "interventions",
    "Concept": "interventions.contrast",
    "Direction": "targets",
    "Evidence": "evidence",
    "FeatureDashboard": "widgets",
    "Features": "features",
    "Graph": "graph",
    "Grouped": "grouping",
    "InterventionRun": "interventions",
    "InterventionSliders": "widgets",
    "LogitDifference": "targets",
    "Model": "model",
    "Onward": "interventions",
    "ReplacementModel": "replacement",
    "Session": "widgets",
    "Store": "store.store",
    "TrainingConfig": "training",
    "Transcoder": "transcoder",
    "TranscoderConfig": "transcoder",
    "TranscoderMismatchWarning": "fit",
    "Value": "interventions",
    "View": "view",
    "answers": "interventions.contrast",
    "contrast": "interventions.contrast",
    "group": "grouping",
    "intervene_each": "interventions.contrast",
    "list_graphs": "formats.graph_index",
    "load": "replacement",
    "load_model": "model",
    "operand_kind": "operands",
    "operand_plots": "operands",
    "random_matched": "interventions.contrast",
    "shared_features": "overlap",
    "swapped": "interventions.contrast",
    "trace": "tracing",
    "train": "training",
}

__all__ = [
    "Added",
    "Agreement",
    "AttributionGraph",
    "Cancelled",
    "Concept",
    "Direction",
    "Evidence",
    "FeatureDashboard",
    "Features",
    "Graph",
    "Grouped",
    "InterventionRun",
    "InterventionSliders",
    "LogitDifference",
    "Model",
    "Onward",
    "ReplacementModel",
    "Session",
    "Store",
    "TrainingConfig",
    "Transcoder",
    "TranscoderConfig",
    "TranscoderMismatchWarning",
    "Value",
    "View",
    "answers",
    "cache",
    "contrast",
    "group",
    "intervene_each",
    "list_graphs",
    "load",
    "load_model",
    "models",
    "operand_kind",
    "operand_plots",
    "random_matched",
    "shared_features",
    "swapped",
    "trace",
    "train",
]


_MODULES = ("cache", "models")


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(f"circuitlab.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module 'circuitlab' has no attribute {name!r}")
    value = getattr(import_module(f"circuitlab.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
