"""Who does the work: this process, block by block."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from circuitlab.harvest.activity import active_features
from circuitlab.harvest.blocks import Block, batches, read_block
from circuitlab.harvest.fingerprint import fingerprint
from circuitlab.harvest.tally import Tally
from circuitlab.replacement import ReplacementModel

TOKENS_ON_CPU, TOKENS_ON_GPU = 2_048, 16_384
"""Tokens per forward pass."""


Fingerprints = Mapping[str, str]
"""Of "model" and "transcoder"."""

Engine = Callable[[Tally, Iterable[Block], Fingerprints], Iterator[Block]]
"""Adds blocks to a tally; yields a block when the tally holds it and all before it, and nothing else. Who loads a model
of its own refuses one with other fingerprints: `require_fingerprints`."""


class Local:
    """The blocks one after the other, in this process."""

    def __init__(self, model: ReplacementModel) -> None:
        self.model = model

    def __call__(self, tally: Tally, blocks: Iterable[Block], expected: Fingerprints) -> Iterator[Block]:
        for block in blocks:
            add_block(tally, self.model, block)
            yield block


def add_block(tally: Tally, model: ReplacementModel, block: Block) -> None:
    """Count one block."""
    pieces = read_block(model.model, block, min(tally.settings.piece, model.model.n_ctx))
    tally.count_records(pieces)
    per_batch = TOKENS_ON_CPU if model.model.device.type == "cpu" else TOKENS_ON_GPU
    for batch in batches(pieces, per_batch):
        tally.add(batch, active_features(model.model, model.transcoder, batch))


def require_fingerprints(model: ReplacementModel, expected: Fingerprints) -> None:
    """ValueError where a worker has loaded another model or transcoder than the harvest was begun with."""
    for what, loaded in (("model", model.model), ("transcoder", model.transcoder)):
        found = fingerprint(loaded)
        if found != expected[what]:
            raise ValueError(
                f"a worker has loaded another {what} ({model.model.name}, fingerprint {found[:12]}) than this harvest "
                f"has (fingerprint {expected[what][:12]}): give all workers the same files and the same load()"
            )
