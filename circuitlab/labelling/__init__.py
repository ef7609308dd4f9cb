"""Labels for features, with what they are worth.

contexts        places where a feature is active, and look-alikes; some to label by, some to check on, some held out
predicates      what a label claims of a place, so that it can be tested
from_evidence   labels from the evidence alone
detection       scores, and a random dictionary's scores beside them
run             all features of a store
"""

from circuitlab.labelling.detection import Baseline, detection
from circuitlab.labelling.endpoint import Budget, Endpoint
from circuitlab.labelling.from_evidence import Proposal, label_evidence
from circuitlab.labelling.from_model import label_with_model
from circuitlab.labelling.run import Report, label_store, random_scores

__all__ = [
    "Baseline",
    "Budget",
    "Endpoint",
    "Proposal",
    "Report",
    "detection",
    "label_evidence",
    "label_store",
    "label_with_model",
    "random_scores",
]
