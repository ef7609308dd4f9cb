"""By what a store knows the model and the transcoder it was made with: a hash of their weights."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping

import torch
from torch import Tensor

from circuitlab.model import Model
from circuitlab.transcoder import Transcoder


def fingerprint(of: Model | Transcoder) -> str:
    """sha256 over names, shapes and float32 bytes of all weights; of a transcoder also over its configuration."""
    if isinstance(of, Transcoder):
        configuration = dataclasses.asdict(of.config)
        configuration.pop("model_name")
        return _hash(of.state_dict(), json.dumps(configuration, sort_keys=True))
    return _hash(dict(of.bridge.original_model.named_parameters()), "")


def _hash(weights: Mapping[str, Tensor], start: str) -> str:
    found = hashlib.sha256(start.encode())
    for name in sorted(weights):
        weight = weights[name].detach().to("cpu", torch.float32).contiguous()
        found.update(f"{name} {list(weight.shape)} ".encode())
        found.update(weight.numpy().data)
    return found.hexdigest()
