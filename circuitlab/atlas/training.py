"""Trains the language model of `atlas`.

Computes: AdamW (Loshchilov & Hutter 2019) with warm-up and cosine decay on the weighted cross-entropy
`Σ w_t · −log p(token_t | before) / Σ w_t` of rows drawn from the world. Strong weight decay and few parameters make
the composition cheaper to hold than the list of its cases (Wang et al. 2024, "Grokked Transformers").
Reads the world; gives a Hugging Face model. Checkpoints are written atomically and carry the whole state.
"""

import math
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor
from transformers import LlamaForCausalLM

from circuitlab.atlas import corpus, network


@dataclass(frozen=True)
class TrainConfig:
    steps: int = 3000
    rows: int = 1024  # sentences per step
    chains: int = 48  # and chains of sentences per step
    learning_rate: float = 2e-3
    warmup: int = 100
    weight_decay: float = 0.5
    hidden_share: float = 0.9  # the share of rows in which words hide their pieces, see `network.word_masks`
    n_layers: int = 5
    d_model: int = 128
    d_mlp: int = 512
    n_heads: int = 4
    seed: int = 0
    first_draw: int = 0  # the number of the first step in the sequence of draws: a later stage goes on with it
    compile: bool = True


def learning_rate(config: TrainConfig, step: int) -> float:
    """Linear warm-up, then a cosine down to a fiftieth."""
    if step < config.warmup:
        return config.learning_rate * (step + 1) / config.warmup
    done = (step - config.warmup) / max(1, config.steps - config.warmup)
    return config.learning_rate * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * done)))


def weighted_loss(
    model: LlamaForCausalLM,
    tokens: Int[Tensor, "batch pos"],
    weights: Float[Tensor, "batch pos"],
    masks: Float[Tensor, "two batch key key"],
) -> Float[Tensor, ""]:
    """Σ w · −log p over the tokens after the first (not divided by Σ w)."""
    scores = network.logits(model, tokens[:, :-1], masks)
    losses = F.cross_entropy(scores.flatten(0, 1), tokens[:, 1:].flatten(), reduction="none")
    return losses @ weights[:, 1:].flatten()


def build_optimizer(model: LlamaForCausalLM, config: TrainConfig) -> torch.optim.Optimizer:
    matrices = [weight for weight in model.parameters() if weight.ndim == 2]
    gains = [weight for weight in model.parameters() if weight.ndim == 1]
    groups = [{"params": matrices, "weight_decay": config.weight_decay}, {"params": gains, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=(0.9, 0.98), fused=True)


def step_batches(sampler: corpus.Sampler, config: TrainConfig, step: int) -> list[tuple[Tensor, Tensor, Tensor]]:
    """One step's rows, loss weights and masks, in groups of one length, whose sizes stay the same over the run."""
    sampler.seek(step)
    total = sum(sampler.shares.values())
    groups = [sampler.single(length, round(config.rows * share / total)) for length, share in sampler.shares.items()]
    if config.chains:
        groups.append(sampler.chain(config.chains))
    batches = []
    for tokens, weights in groups:
        rows = torch.from_numpy(tokens)
        hidden = torch.from_numpy(sampler.rng.random(len(rows)) < config.hidden_share)
        masks = network.word_masks(rows[:, :-1], sampler.corpus.continued, sampler.corpus.ending)
        batches.append((rows, torch.from_numpy(weights), masks * hidden[:, None, None]))
    return batches


def save_checkpoint(path: Path, state: dict) -> None:
    """Atomically: a reader finds the old file or the new one, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".part")
    torch.save(state, draft)
    os.replace(draft, path)


def train(
    model: LlamaForCausalLM,
    text: corpus.Corpus,
    config: TrainConfig,
    checkpoint: Path | None = None,
    report: Callable[[int, float, float], None] | None = None,
    report_every: int = 250,
) -> LlamaForCausalLM:
    """Train in place, from the checkpoint if there is one; `report(step, loss, seconds)` every so many steps."""
    optimizer = build_optimizer(model, config)
    step, started = 0, time.monotonic()
    if checkpoint is not None and checkpoint.exists():
        step = _restore(checkpoint, config, model, optimizer)
    loss_of = torch.compile(weighted_loss, dynamic=False) if config.compile else weighted_loss
    sampler = corpus.Sampler(text, config.seed)
    losses: list[float] = []
    while step < config.steps:
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(config, step)
        losses.append(_step(model, optimizer, loss_of, step_batches(sampler, config, config.first_draw + step)))
        step += 1
        if step % report_every == 0 or step == config.steps:
            if checkpoint is not None:
                state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": step}
                save_checkpoint(checkpoint, {**state, "config": asdict(config)})
            if report is not None:
                report(step, float(np.mean(losses)), time.monotonic() - started)
            losses.clear()
    return model


def _restore(checkpoint: Path, config: TrainConfig, model: LlamaForCausalLM, optimizer: torch.optim.Optimizer) -> int:
    state = torch.load(checkpoint, weights_only=True)
    if {**state["config"], "compile": config.compile} != asdict(config):
        raise ValueError(
            f"{checkpoint} is of a run with other settings: {state['config']}, not {asdict(config)}; "
            "give another --runs folder or remove the checkpoint"
        )
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    return state["step"]


def _step(
    model: LlamaForCausalLM,
    optimizer: torch.optim.Optimizer,
    loss_of: Callable[..., Tensor],
    batches: list[tuple[Tensor, Tensor, Tensor]],
) -> float:
    """One step on all groups of rows together; returns the loss."""
    total = sum(float(weights.sum()) for _, weights, _ in batches)
    loss = 0.0
    for tokens, weights, masks in batches:
        part = loss_of(model, tokens, weights, masks) / total
        part.backward()
        loss += part.item()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return loss
