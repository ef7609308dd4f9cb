"""Train transcoders: text → activations of a model → a CLT or PLT, with its metrics.

    result = train(model, TrainingConfig(minutes=10), out="my-clt")
    result.transcoder, result.metrics

`tokens` are sampled, read or given; `activations` are captured and shuffled; `learner` and `objective` hold
what is learnt and how; `loop` runs it; `checkpoint` and `processes` keep it going; `metrics` says how good
it became.
"""

from circuitlab.training.config import TrainingConfig
from circuitlab.training.loop import TrainingResult, train
from circuitlab.training.metrics import LayerMetrics, Metrics, evaluate
from circuitlab.training.processes import local_device
from circuitlab.training.tokens import TokenData, load_tokens

__all__ = [
    "LayerMetrics",
    "Metrics",
    "TokenData",
    "TrainingConfig",
    "TrainingResult",
    "evaluate",
    "load_tokens",
    "local_device",
    "train",
]
