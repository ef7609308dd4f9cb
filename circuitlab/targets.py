"""What a graph explains: logits chosen by probability, tokens, logit differences, or any direction.

A target is a vector v and a position p; what is attributed is v · (the final normed residual stream at p) + offset.
For a token that is its demeaned logit, v = W_U[:, token] - mean over the vocabulary: the part of a logit that a
softmax can see, taken before any soft-cap. A logit difference has v = W_U[:, a] - W_U[:, b].

Source: Ameisen et al. 2025, "Circuit Tracing", section "Constructing an attribution graph" (output nodes).
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from circuitlab.model import Model


@dataclass(frozen=True)
class LogitDifference:
    """The logit of `token` minus that of `versus`; tokens as text or ids."""

    token: str | int
    versus: str | int


@dataclass(frozen=True)
class Direction:
    """Any direction [d_model] of the final normed residual stream (TransformerLens `ln_final.hook_out`)."""

    vector: Float[Tensor, " d_model"]
    label: str = "direction"


TargetRequest = str | int | LogitDifference | Direction


@dataclass(frozen=True)
class Target:
    """One resolved target: `pre_activation` is its value in the true model."""

    vector: Float[Tensor, " d_model"]
    offset: float
    pos: int
    label: str
    pre_activation: float
    token_id: int | None = None
    probability: float | None = None


def resolve_targets(
    model: Model,
    requests: TargetRequest | Sequence[TargetRequest] | None,
    position: int,
    final: Float[Tensor, "pos d_model"],
    logits: Float[Tensor, "pos vocab"],
    max_logits: int,
    logit_mass: float,
) -> list[Target]:
    """Targets at one position: as requested, or by falling probability where `requests` is None.

    Automatic: the fewest top tokens that cover `logit_mass` of the probability, at most `max_logits` (the paper: 10
    and 0.95). A negative position counts from the end.
    """
    n = len(final)
    require_whole("position", position)
    if not -n <= position < n:
        raise ValueError(f"position {position} is outside the prompt of {n} tokens: 0 to {n - 1}, or -{n} to -1")
    pos = int(position) % n
    probabilities = logits[pos].double().softmax(-1)
    if requests is None:
        requests = _most_likely(probabilities, max_logits, logit_mass)
    elif isinstance(requests, (str, Integral, LogitDifference, Direction)):
        requests = [requests]
    elif isinstance(requests, Tensor):
        requests = requests.tolist()
    if not isinstance(requests, Iterable):
        raise ValueError(f"targets are tokens, LogitDifference, Direction, or a list of these, not {requests!r}")
    requests = list(requests)
    if not requests:
        raise ValueError("targets is an empty list: name at least one, or leave it out for the most likely tokens")
    W_U = model.W_U.to(final.dtype)
    b_U = None if model.b_U is None else model.b_U.to(final.dtype)
    targets = [_resolve(model, request, pos, final[pos], probabilities, W_U, b_U) for request in requests]
    named = [target.token_id for target in targets if target.token_id is not None]
    twice = {token for token in named if named.count(token) > 1}
    if twice:
        raise ValueError(f"the target {model.token_strings(sorted(twice))[0]!r} is named more than once: name it once")
    return targets


def require_whole(name: str, value: Any) -> None:
    """ValueError unless an option is a whole number."""
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise ValueError(f"{name}={value!r} must be a whole number")


def _most_likely(probabilities: Float[Tensor, " vocab"], max_logits: int, logit_mass: float) -> list[int]:
    require_whole("max_logits", max_logits)
    if max_logits < 1:
        raise ValueError(f"max_logits={max_logits} must be at least 1")
    if not isinstance(logit_mass, Real) or not 0 < logit_mass <= 1:
        raise ValueError(f"logit_mass={logit_mass} must be above 0 and at most 1")
    top = probabilities.topk(min(max_logits, len(probabilities)))
    covered = top.values.cumsum(0)
    count = int((covered < logit_mass).sum()) + 1
    return top.indices[: min(count, len(top.indices))].tolist()


def _resolve(
    model: Model,
    request: TargetRequest,
    pos: int,
    final: Float[Tensor, " d_model"],
    probabilities: Float[Tensor, " vocab"],
    W_U: Float[Tensor, "d_model vocab"],
    b_U: Float[Tensor, " vocab"] | None,
) -> Target:
    token_id, probability, offset = None, None, 0.0
    if isinstance(request, Direction):
        if not isinstance(request.vector, Tensor):
            raise ValueError(
                f"the direction {request.label!r} is a {type(request.vector).__name__}; expected a torch tensor"
            )
        if tuple(request.vector.shape) != (model.d_model,):
            raise ValueError(
                f"the direction {request.label!r} has shape {tuple(request.vector.shape)}; expected ({model.d_model},)"
            )
        if not bool(torch.isfinite(request.vector).all()):
            raise ValueError(f"the direction {request.label!r} holds NaN or infinite numbers; expected finite ones")
        vector, label = request.vector.to(final), request.label
    elif isinstance(request, LogitDifference):
        first, second = _token(model, request.token), _token(model, request.versus)
        vector = W_U[:, first] - W_U[:, second]
        offset = 0.0 if b_U is None else float(b_U[first] - b_U[second])
        label = " − ".join(text.strip() for text in model.token_strings([first, second]))
    else:
        token_id = _token(model, request)
        vector = W_U[:, token_id] - W_U.mean(1)
        offset = 0.0 if b_U is None else float(b_U[token_id] - b_U.mean())
        label, probability = model.token_strings([token_id])[0], float(probabilities[token_id])
    value = float(vector @ final) + offset
    return Target(vector, offset, pos, label, value, token_id, probability)


def _token(model: Model, token: str | int) -> int:
    """The id of a target token given as text or id."""
    if isinstance(token, bool) or not isinstance(token, (str, Integral)):
        raise ValueError(f"a target token is text or an id, not {token!r}")
    if isinstance(token, Integral):
        token = int(token)
        if not 0 <= token < model.d_vocab:
            raise ValueError(f"the target token {token} is outside the vocabulary: 0 to {model.d_vocab - 1}")
        return token
    if model.tokenizer is None:
        raise ValueError(f"{model.name} has no tokenizer: name targets by id, not by the text {token!r}")
    ids = model.tokenizer(token, add_special_tokens=False)["input_ids"]
    if len(ids) != 1 or ids[0] == model.tokenizer.unk_token_id:
        pieces = ", ".join(map(repr, model.token_strings(ids)))
        known = "it does not know that word" if model.tokenizer.unk_token_id in ids else f"it is {len(ids)}: {pieces}"
        vocabulary = sorted({piece.strip("▁Ġ ") for piece in model.tokenizer.get_vocab()})
        near = difflib.get_close_matches(token.strip(), vocabulary, n=3)
        hint = f"did you mean {', '.join(map(repr, near))}? Else give" if near else "give"
        raise ValueError(
            f"the target {token!r} must be one token of {model.name}, but {known}; {hint} one token, or its id (a "
            "leading space matters to some tokenizers)"
        )
    return ids[0]


def stack_vectors(targets: Sequence[Target]) -> Float[Tensor, "target d_model"]:
    """The targets' vectors as rows."""
    return torch.stack([target.vector for target in targets])
