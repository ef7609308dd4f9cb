"""A Model of a few numbers that needs no transformer_lens: for training tests, also in their own processes.

Run as a script it is one process of a training run: `python toy_model.py OUT '{"config": {…}, "die_at": 7}'`
trains on `toy_text()`, prints the losses as JSON, and kills itself at step `die_at` where that is given.
"""

from __future__ import annotations

import json
import os
import signal
import sys

import torch

from circuitlab.model import Model
from circuitlab.training import TrainingConfig, train

N_LAYERS, D_MODEL, D_VOCAB = 3, 8, 13


class ToyModel(Model):
    """Embedding, running means for attention, tanh MLPs; the hook sites that transcoders read and write."""

    n_layers, d_model, d_vocab, n_ctx, name, tokenizer = N_LAYERS, D_MODEL, D_VOCAB, 64, "toy", None
    dtype, device = torch.float32, torch.device("cpu")
    sites = frozenset(
        f"blocks.{layer}.{hook}" for layer in range(N_LAYERS) for hook in ("hook_resid_mid", "hook_mlp_out")
    )

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(5)

        def random(*shape: int) -> torch.Tensor:
            return torch.randn(*shape, generator=generator) / shape[-1] ** 0.5

        self.embedding = random(D_VOCAB, D_MODEL)
        self.weights = [(random(D_MODEL, D_MODEL), 3 * random(D_MODEL, 16), random(16, D_MODEL)) for _ in range(3)]

    @property
    def W_U(self):
        return self.embedding.T

    def run(self, tokens, capture=(), edit=None):
        seen = {}

        def hook(site, value):
            value = edit[site](value) if edit and site in edit else value
            if site in capture:
                seen[site] = value
            return value

        x = self.embedding[tokens]
        places = torch.arange(1, tokens.shape[1] + 1)[:, None]
        for layer, (mix, read, write) in enumerate(self.weights):
            middle = hook(f"blocks.{layer}.hook_resid_mid", x + (x.cumsum(1) / places) @ mix)
            x = middle + hook(f"blocks.{layer}.hook_mlp_out", torch.tanh(middle @ read) @ write)
        return x @ self.embedding.T, seen


def toy_text(n_sequences: int = 40, length: int = 20) -> torch.Tensor:
    """Random token ids."""
    return torch.randint(D_VOCAB, (n_sequences, length), generator=torch.Generator().manual_seed(3))


def main(out: str, job: str) -> None:
    torch.set_num_threads(1)
    settings = json.loads(job)
    losses: list[float] = []

    def watch(step: int, steps: int, values: dict[str, float]) -> None:
        losses.append(values["loss"])
        if step == settings.get("die_at"):
            os.kill(os.getpid(), signal.SIGKILL)

    train(ToyModel(), TrainingConfig(**settings["config"]), tokens=toy_text(), out=out, progress=watch)
    print(json.dumps(losses))


if __name__ == "__main__":
    main(*sys.argv[1:])
