"""Continue a text under an intervention, token by token, with a key-value cache.

Each step feeds one token to both rows of a `PairedForward`: the unperturbed row sees the same text, so whatever is
frozen or held has its reference at every new position, and the result is what a run over the whole text gives.
"""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Real
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from circuitlab.interventions.baseline import Baseline
from circuitlab.interventions.cancel import Asked
from circuitlab.interventions.edits import Edits
from circuitlab.interventions.forward import PairedForward
from circuitlab.interventions.modes import Mode
from circuitlab.model import Model
from circuitlab.targets import require_whole

if TYPE_CHECKING:
    from circuitlab.replacement import ReplacementModel


@dataclass(frozen=True)
class Sampling:
    """Greedy at temperature 0; else drawn from softmax(logits / temperature), from a seed."""

    temperature: float | int = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        if not isinstance(self.temperature, Real) or not 0 <= self.temperature < float("inf"):
            raise ValueError(f"temperature={self.temperature!r} must be 0 (greedy) or above")
        require_whole("seed", self.seed)
        if not -(2**63) <= self.seed < 2**63:
            raise ValueError(f"seed={self.seed} must fit into 64 bits")

    def chooser(self) -> Chooser:
        return Chooser(self, torch.Generator().manual_seed(self.seed))


GREEDY = Sampling()


@dataclass
class Chooser:
    """Draws one token after the other."""

    sampling: Sampling
    generator: torch.Generator

    def choose(self, logits: Float[Tensor, " vocab"]) -> int:
        if not bool(torch.isfinite(logits).all()):
            raise ValueError("the intervention overflows: the model's logits are no longer finite; give smaller values")
        if self.sampling.temperature == 0:
            return int(logits.argmax())
        distance = logits.double().cpu() - logits.max().item()  # so that no temperature is too low
        chances = (distance / self.sampling.temperature).softmax(-1)
        return int(torch.multinomial(chances, 1, generator=self.generator))


def room(model: Model, n_prompt: int, n_tokens: int) -> None:
    """ValueError if the continuation is negative or longer than the context."""
    require_whole("n_tokens", n_tokens)
    if n_tokens < 0:
        raise ValueError(f"n_tokens={n_tokens} must be 0 or more")
    if n_prompt + n_tokens > model.n_ctx:
        raise ValueError(
            f"{n_prompt} tokens of prompt and n_tokens={n_tokens} exceed the context of {model.name}, {model.n_ctx}: "
            f"ask for at most {model.n_ctx - n_prompt}"
        )


def end_of_text(model: Model) -> int | None:
    return None if model.tokenizer is None else model.tokenizer.eos_token_id


def start_perturbed(
    replacement: ReplacementModel,
    baseline: Baseline,
    edits: Edits,
    mode: Mode,
    n_tokens: int,
    cancelled: Asked | None = None,
) -> PairedForward:
    """The prompt's pass under the intervention with a cache: its outcome is there, `go_on` continues it."""
    model, transcoder = replacement.model, replacement.transcoder
    room(model, baseline.n_positions, n_tokens)
    cache = model.new_cache()
    paired = PairedForward(model, transcoder, baseline.stack, (edits,), mode, cache=cache, cancelled=cancelled)
    with torch.no_grad():
        return paired.run(baseline.stack.tokens)


def go_on(paired: PairedForward, n_tokens: int, sampling: Sampling) -> tuple[int, ...]:
    """Up to n_tokens token ids after what was run, under the intervention; stops at the end of the text."""
    chooser, generated, end = sampling.chooser(), [], end_of_text(paired.model)
    with torch.no_grad():
        while True:
            assert paired.logits is not None
            generated.append(chooser.choose(paired.logits[1, -1]))
            if len(generated) >= n_tokens or generated[-1] == end:
                return tuple(generated)
            paired.run(torch.tensor([generated[-1:]], device=paired.logits.device))


def generate(model: Model, tokens: Tensor, n_tokens: int, sampling: Sampling) -> tuple[int, ...]:
    """Up to n_tokens token ids after these, by the model as it is."""
    room(model, len(tokens), n_tokens)
    cache, chooser, generated = model.new_cache(), sampling.chooser(), []
    with torch.no_grad():
        while len(generated) < n_tokens:
            logits, _ = model.run(tokens[None], past_key_values=cache, use_cache=True)
            generated.append(chooser.choose(logits[0, -1]))
            if generated[-1] == end_of_text(model):
                break
            tokens = tokens.new_tensor(generated[-1:])
    return tuple(generated)
