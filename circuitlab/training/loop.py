"""The training loop: text → activations → steps → a transcoder with its metrics, resumable at every
checkpoint.

1. Take or sample the text; keep some sequences for the metrics.
2. Measure means and scales of what encoders read and decoders rebuild (`Learner.normalise`).
3. For every step: a batch from `ActivationSource`, the loss of `objective`, Adam with a warm-up and a cosine.
4. Fold the scales into the weights, calibrate BatchTopK's thresholds on data, measure, and write the folder.

Everything random hangs on the seed, and a checkpoint holds all that a later step depends on: a run of so
many steps that was stopped and resumed gives, on the CPU, the same weights bit for bit as one that was not.
A run of so many minutes is planned anew every few steps, from the rate of the last ones.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from jaxtyping import Float
from torch import Tensor
from tqdm.auto import tqdm

from circuitlab.formats.transcoders import CONFIG_FILE, write_transcoder
from circuitlab.model import Model
from circuitlab.training import checkpoint
from circuitlab.training.activations import ActivationSource, Place, capture_positions
from circuitlab.training.config import TrainingConfig
from circuitlab.training.learner import Learner, Loss
from circuitlab.training.metrics import Metrics, evaluate
from circuitlab.training.objective import fired_features, learning_rate_at
from circuitlab.training.processes import Processes, has_fast_bfloat16, join_processes
from circuitlab.training.tokens import TokenData, load_tokens
from circuitlab.transcoder import Transcoder

Progress = Callable[[int, int, dict[str, float]], None]
PLAN_STEPS = 50
HELD_OUT_TOKENS = 40_000
CALIBRATION_POSITIONS = 30_000


@dataclass(frozen=True)
class TrainingResult:
    """A trained transcoder, its metrics on held-out text, and what it took."""

    transcoder: Transcoder
    metrics: Metrics
    steps: int
    seconds: float
    folder: Path | None


def train(
    model: Model,
    config: TrainingConfig | None = None,
    tokens: Any = None,
    out: str | os.PathLike[str] | None = None,
    resume: bool = True,
    progress: bool | Progress = True,
) -> TrainingResult:
    """Train a transcoder on a model; write it, its metrics and its checkpoints to the folder `out`, where
    given.

    `tokens` is the text: see `load_tokens`; None lets the model write it. With `resume`, a checkpoint in
    `out` is continued; other settings or another text are refused with a ValueError. `progress` is True for
    a progress bar, or a function of (step, steps, {"loss": …, "l0": …}). Under torchrun all processes call
    this alike, with a folder that all of them see.
    """
    config = config or TrainingConfig()
    joined = dist.is_available() and dist.is_initialized()
    processes = join_processes(model.device)
    try:
        run = _Run(model, config, processes, None if out is None else Path(out))
        return run.all(tokens, resume, progress)
    finally:
        if processes.count > 1 and not joined:
            dist.destroy_process_group()


class _Run:
    """One training run: its model and settings, and the state that a checkpoint keeps."""

    def __init__(self, model: Model, config: TrainingConfig, processes: Processes, folder: Path | None) -> None:
        if config.precision == "auto":
            fast = has_fast_bfloat16(model.device)
            config = dataclasses.replace(config, precision="bfloat16" if fast else "float32")
        self.model, self.config, self.processes, self.folder = model, config, processes, folder
        self.started = time.monotonic()
        self.spent_before = 0.0
        self.learner = Learner(config, model.n_layers, model.d_model, model.name).to(model.device)
        self.parameters = list(self.learner.parameters())
        fused = model.device.type in ("cpu", "cuda")
        self.optimiser = torch.optim.Adam(self.parameters, lr=config.learning_rate, betas=config.betas, fused=fused)
        self.step, self.place = 0, Place()
        self.total: int | None = None if config.minutes else config.steps
        self.text = ""

    @property
    def seconds(self) -> float:
        """Wall time spent on this run, earlier sittings included."""
        return self.spent_before + time.monotonic() - self.started

    def all(self, tokens: Any, resume: bool, progress: bool | Progress) -> TrainingResult:
        resumed = resume and self.folder is not None and (self.folder / checkpoint.STATE).is_file()
        show = progress is True and self.processes.first
        data = self._text(tokens, resumed, show)
        if resumed:
            self._restore()
        train_data, held_out = _split(data, self.config)
        source = ActivationSource(self.model, train_data, self.config, self.processes, show)
        if not resumed:
            self.learner.normalise(*source.statistics(self.processes))
            self._save(data)
        if self.total is None or self.step < self.total:
            self._train(source, progress)
            self._save()
        transcoder = self.learner.export(self._thresholds(train_data))
        metrics = evaluate(self.model, transcoder, held_out)
        seconds = self.seconds
        if self.folder is not None and self.processes.first:
            _write_result(self.folder, transcoder, metrics, self.config, self.step, seconds)
        return TrainingResult(transcoder, metrics, self.step, seconds, self.folder)

    # ---- text and state ----

    def _text(self, tokens: Any, resumed: bool, show: bool) -> TokenData:
        """The text, the same on all processes: an earlier run's where the model wrote it."""
        if tokens is None and resumed:
            assert self.folder is not None
            data = checkpoint.load_saved_tokens(self.folder)
        elif tokens is None and self.processes.count > 1:
            data = self._sampled_once(show)
        else:
            data = load_tokens(self.model, self.config, tokens, show)
        self.text = checkpoint.fingerprint(data)
        return data

    def _sampled_once(self, show: bool) -> TokenData:
        """The first process samples, the others receive."""
        data = load_tokens(self.model, self.config, None, show) if self.processes.first else None
        shape = self.processes.share_object(None if data is None else tuple(data.tokens.shape))
        assert isinstance(shape, tuple)
        device = self.model.device
        if data is None:
            data = TokenData(torch.zeros(shape, dtype=torch.int32), torch.zeros(shape, dtype=torch.bool))
        tokens, include = self.processes.share(data.tokens.to(device), data.include.to(device, torch.uint8))
        return TokenData(tokens.cpu(), include.bool().cpu())

    def _restore(self) -> None:
        assert self.folder is not None
        state = checkpoint.load_state(self.folder, self.config, self.text, self.model.device)
        checkpoint.require_model(self.folder, state, self.model)
        self.learner.load_state_dict(state["learner"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.step, self.total = state["step"], state["total"]
        self.place, self.spent_before = Place(*state["place"]), state["seconds"]

    def _save(self, data: TokenData | None = None) -> None:
        """Write a checkpoint; the first one of a run comes with its text."""
        if self.folder is None or not self.processes.first:
            return
        if data is not None:
            (self.folder / CONFIG_FILE).unlink(missing_ok=True)
            checkpoint.save_tokens(self.folder, data)
        state = {
            "config": checkpoint.settings(self.config),
            "text": self.text,
            "model": checkpoint.model_marks(self.model),
            "learner": self.learner.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "step": self.step,
            "total": self.total,
            "place": [self.place.epoch, self.place.block, self.place.batch],
            "seconds": self.seconds,
        }
        checkpoint.save_state(self.folder, state)

    # ---- steps ----

    def _train(self, source: ActivationSource, progress: bool | Progress) -> None:
        batches = source.batches(self.place)
        bar = tqdm(
            total=self.total,
            initial=self.step,
            unit="step",
            disable=progress is not True or not self.processes.first,
        )
        saved = time.monotonic()
        planned = (self.step, time.monotonic())
        with bar:
            while self.total is None or self.step < self.total:
                batch = next(batches)
                loss = self._step(batch.x.float(), batch.y.float())
                self.place = batch.next
                self.step += 1
                if self.config.minutes and self.step - planned[0] >= PLAN_STEPS:
                    self.total = bar.total = self._steps_that_fit(self.config.minutes, planned)
                    planned = (self.step, time.monotonic())
                if self.step % 20 == 0 or self.step == self.total:
                    error, l0 = self.processes.mean(loss.error, loss.l0)
                    numbers = {"loss": error.item(), "l0": l0.item()}
                    self._require_finite(numbers["loss"])
                    _report(bar, progress, self.step, self.total or 0, numbers)
                if time.monotonic() - saved >= self.config.checkpoint_seconds:
                    self._save()
                    saved = time.monotonic()

    def _step(self, x: Tensor, y: Tensor) -> Loss:
        """One step of Adam on this process's share of a batch."""
        config, processes = self.config, self.processes
        total = self.total or 10**9
        factor = learning_rate_at(self.step, total, config.warmup, config.final_learning_rate)
        for group in self.optimiser.param_groups:
            group["lr"] = config.learning_rate * factor
        self.optimiser.zero_grad()
        loss = self.learner.loss(x, y, self.step / total)
        loss.total.backward()
        processes.average_gradients(self.parameters)
        fired = processes.add(fired_features(loss.activations).int())[0] > 0
        self.optimiser.step()
        self.learner.count_silence(fired, len(x) * processes.count)
        return loss

    def _require_finite(self, loss: float) -> None:
        if not math.isfinite(loss):
            raise ValueError(
                f"training diverged: the loss is {loss} at step {self.step}; "
                f"give a learning_rate below {self.config.learning_rate} and resume=False"
            )

    def _steps_that_fit(self, minutes: float, planned: tuple[int, float]) -> int:
        """Steps that fill `minutes` at the rate since the last plan (step, time), the same for all
        processes."""
        rate = (self.step - planned[0]) / (time.monotonic() - planned[1])
        left = minutes * 60 - self.seconds
        total = self.processes.share_object(self.step + max(int(left * rate), 0))
        assert isinstance(total, int)
        return total

    # ---- thresholds ----

    @torch.no_grad()
    def _thresholds(self, data: TokenData) -> Float[Tensor, " layer"] | None:
        """BatchTopK's threshold of each layer: what k features per position exceed on training text."""
        if self.config.activation != "batchtopk":
            return None
        some = data[: _sequences_with(data, CALIBRATION_POSITIONS)]
        x, _ = capture_positions(self.model, some, self.config, self.model.dtype)
        x = (x.float() - self.learner.x_mean) / self.learner.x_scale
        surplus = len(x) * (self.config.n_features - self.config.k)
        result = []
        for layer in range(x.shape[1]):
            pre = self.learner.transcoder.pre_activations(layer, x[:, layer]).flatten()
            result.append(pre.kthvalue(surplus).values.clamp_min(0.0) if surplus else pre.new_zeros(()))
        return torch.stack(result)


def _split(data: TokenData, config: TrainingConfig) -> tuple[TokenData, TokenData]:
    """Training and held-out sequences; the held-out ones are the last."""
    wanted = min(round(config.held_out * len(data)), HELD_OUT_TOKENS // data.tokens.shape[1])
    held_out = min(max(wanted, 1), len(data) - 1)
    return data[: len(data) - held_out], data[len(data) - held_out :]


def _sequences_with(data: TokenData, positions: int) -> int:
    """How many sequences from the first on hold at least `positions` counted positions."""
    reached = (data.include.sum(1).cumsum(0) >= positions).nonzero()
    return int(reached[0]) + 1 if len(reached) else len(data)


def _report(bar: tqdm, progress: bool | Progress, step: int, total: int, numbers: dict[str, float]) -> None:
    bar.update(step - bar.n)
    bar.set_postfix({name: f"{value:.4g}" for name, value in numbers.items()}, refresh=False)
    if callable(progress):
        progress(step, total, numbers)


def _write_result(
    folder: Path, transcoder: Transcoder, metrics: Metrics, config: TrainingConfig, steps: int, seconds: float
) -> None:
    write_transcoder(transcoder, folder)
    report = {"metrics": metrics.to_dict(), "training": checkpoint.settings(config) | {"steps": steps}}
    report["seconds"] = round(seconds, 1)
    temporary = folder / f"metrics.json.{os.getpid()}.tmp"
    temporary.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    os.replace(temporary, folder / "metrics.json")
