"""What decides a harvest's numbers: two harvests with equal settings, model, transcoder and corpus are equal."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class HarvestSettings:
    """Settings of a harvest.

    `n_top` texts with the highest peaks are kept per feature, and `n_lower` drawn from each lower range of peaks; of
    each `before` tokens before the peak and `after` behind it. `piece`: the most tokens read at once (at most the
    model's context). `coactivation_positions`: where co-activations are counted. `n_partners` co-active and nearest
    features and `n_tokens` promoted and suppressed tokens are listed. `block_records` consecutive records are the unit
    of work. `records`: read only so many.
    """

    seed: int = 0
    n_top: int = 10
    n_lower: int = 3
    before: int = 32
    after: int = 8
    piece: int = 512
    coactivation_positions: int = 16_384
    n_partners: int = 16
    n_tokens: int = 12
    block_records: int = 64
    records: int | None = None

    def __post_init__(self) -> None:
        least = {"seed": 0, "n_top": 1, "n_lower": 0, "before": 0, "after": 0, "piece": 2, "coactivation_positions": 0}
        least |= {"n_partners": 0, "n_tokens": 0, "block_records": 1, "records": 1}
        for name, low in least.items():
            value = getattr(self, name)
            if value is not None and value < low:
                raise ValueError(f"{name}={value} must be at least {low}")
