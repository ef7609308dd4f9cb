"""Checkpoints of a training run: everything that decides how it goes on, in one file that is whole or not
there.

`checkpoint/state.pt` holds the learner, the optimiser, the place in the data, the settings and the number
of steps; `checkpoint/tokens.safetensors` the text. Read with `weights_only=True`: nothing in them is
executed.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import pickle
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from circuitlab.model import Model
from circuitlab.training.config import TrainingConfig
from circuitlab.training.tokens import TokenData

STATE = Path("checkpoint") / "state.pt"
TOKENS = Path("checkpoint") / "tokens.safetensors"
FREE_TO_CHANGE = ("checkpoint_seconds", "minutes", "steps")


def save_tokens(folder: Path, data: TokenData) -> None:
    """Keep a run's text beside its checkpoint."""
    tensors = {"tokens": data.tokens.contiguous(), "include": data.include.contiguous()}
    _replace(folder / TOKENS, lambda path: save_file(tensors, path))


def load_saved_tokens(folder: Path) -> TokenData:
    """The text of an earlier run."""
    try:
        tensors = load_file(folder / TOKENS)
        return TokenData(tensors["tokens"], tensors["include"])
    except (OSError, SafetensorError, KeyError) as error:
        raise ValueError(
            f"{folder / TOKENS} cannot be read ({error}): train with resume=False to start anew"
        ) from error


def fingerprint(data: TokenData) -> str:
    """A hash by which a resumed run knows its text."""
    text = hashlib.sha256(data.tokens.int().cpu().numpy().tobytes())
    text.update(data.include.cpu().numpy().tobytes())
    return text.hexdigest()[:16]


def save_state(folder: Path, state: dict[str, Any]) -> None:
    """Replace the checkpoint of a run; an interruption leaves the one before."""
    _replace(folder / STATE, lambda path: torch.save(state, path))


def load_state(folder: Path, config: TrainingConfig, text: str | None, device: torch.device) -> dict[str, Any]:
    """The checkpoint of a run with these settings and (where given) this text.

    Raises ValueError where it belongs to other settings, naming them, or cannot be read.
    """
    path = folder / STATE
    try:
        state = torch.load(path, map_location=device, weights_only=True)
        before = state["config"]
    except (OSError, RuntimeError, EOFError, KeyError, pickle.UnpicklingError) as error:
        raise ValueError(f"{path} is no whole checkpoint: train with resume=False to start anew") from error
    now = settings(config)
    changed = [
        f"{name} was {before.get(name)!r}, now {now[name]!r}"
        for name in now
        if name not in FREE_TO_CHANGE and before.get(name) != now[name]
    ]
    if before.get("minutes") is None and now["minutes"] is None and before["steps"] != now["steps"]:
        changed.append(f"steps was {before['steps']}, now {now['steps']}")
    if text is not None and text != state["text"]:
        changed.append("the text to train on is another")
    if changed:
        raise ValueError(
            f"{folder} holds a run with other settings: {'; '.join(changed)}. Give the same settings to "
            "resume it, another folder, or resume=False to start anew"
        )
    return state


def model_marks(model: Model) -> dict[str, Any]:
    """By what a resumed run knows its model: sizes, and a hash of a corner of the unembedding."""
    corner = model.W_U[:64, :64].float().cpu().contiguous().numpy().tobytes()
    sizes = {"layers": model.n_layers, "d_model": model.d_model, "vocabulary": model.d_vocab}
    return {**sizes, "weights": hashlib.sha256(corner).hexdigest()[:16]}


def require_model(folder: Path, state: dict[str, Any], model: Model) -> None:
    """ValueError where a checkpoint was made on another model."""
    now, before = model_marks(model), state.get("model")
    if before is not None and before != now:
        changed = [f"{name} were {before.get(name)}, now {now[name]}" for name in now if before.get(name) != now[name]]
        raise ValueError(
            f"{folder} holds a run on another model than {model.name}: {'; '.join(changed)}. Give the same model to "
            "resume it, another folder, or resume=False to start anew"
        )


def settings(config: TrainingConfig) -> dict[str, Any]:
    """A configuration as plain values."""
    return {key: list(v) if isinstance(v, tuple) else v for key, v in dataclasses.asdict(config).items()}


def _replace(path: Path, write: Any) -> None:
    """Write beside `path`, then move there; a failure leaves what was there and no other file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        write(temporary)
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
