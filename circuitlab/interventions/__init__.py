"""Interventions: from a feature to a claim that was tested.

    run = model.intervene(prompt, {"Texas": -1.0, "L3/55": 0, "2_17_10": cl.Value(3.0)})
    run.top_tokens(), run.features, run.remaining(), run.compare(graph), run.verdict()

A request (request.py) becomes edits (edits.py), which a mode (modes.py) sends through the prompt (forward.py) from its
unperturbed run (baseline.py); result.py tells what came of it. contrast.py finds concepts in sets of prompts, and runs
many prompts with one request.

Source: Ameisen et al. 2025, "Circuit Tracing", and Lindsey et al. 2025, "On the Biology of a Large Language Model",
https://transformer-circuits.pub/2025/attribution-graphs/methods.html
"""

from circuitlab.interventions.cancel import Cancelled
from circuitlab.interventions.result import InterventionRun
from circuitlab.interventions.run import experiment, intervene
from circuitlab.interventions.swap import swap
from circuitlab.interventions.sweep import sweep
from circuitlab.interventions.values import Added, Onward, Value

__all__ = ["Added", "Cancelled", "InterventionRun", "Onward", "Value", "experiment", "intervene", "swap", "sweep"]
