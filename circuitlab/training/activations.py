"""Activations for training: captured from the model block by block, shuffled, handed out as batches.

The order is a function of (seed, epoch, block) alone, so a training run resumes from three numbers. An
epoch visits every sequence once. Its sequences are cut into blocks whose activations fit in memory; where
all of them fit, the one block is captured once and only shuffled anew. A block's sequences are dealt out to
`shards` parts and every batch takes equally many positions from each, so that processes, which own shards,
see together the batches that one process would see.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from tqdm.auto import tqdm

from circuitlab.model import Model
from circuitlab.training.config import TrainingConfig
from circuitlab.training.processes import Processes
from circuitlab.training.tokens import TokenData

CAPTURE_TOKENS = 2_048
"""Tokens per forward pass on a CPU, where attention patterns should stay in the cache; a GPU takes 8 times as many."""

STATISTICS_ROWS = 16_384


@dataclass(frozen=True)
class Place:
    """Where in the data a run stands: the batch to come."""

    epoch: int = 0
    block: int = 0
    batch: int = 0


@dataclass(frozen=True)
class Batch:
    """What the encoders read and the decoders are to rebuild, in the model's units, and the place after
    it."""

    x: Float[Tensor, "batch layer d_model"]
    y: Float[Tensor, "batch layer d_model"]
    next: Place


class ActivationSource:
    """Batches of activations of one model on one text, for the shards of this process."""

    def __init__(
        self, model: Model, data: TokenData, config: TrainingConfig, processes: Processes, progress: bool = False
    ) -> None:
        self.model, self.data, self.config, self.progress = model, data, config, progress
        self.shards = config.shards or processes.count
        if self.shards % processes.count or config.batch_size % self.shards:
            raise ValueError(
                f"shards={self.shards} must be a multiple of the {processes.count} processes and divide "
                f"batch_size={config.batch_size}"
            )
        self.own = range(processes.rank, self.shards, processes.count)
        self.dtype = torch.bfloat16 if config.precision == "bfloat16" else model.dtype
        self.block_sequences = self._block_sequences(len(self.own))
        self._held: tuple[tuple[int, int], list[tuple[Tensor, Tensor]]] | None = None

    def _block_sequences(self, own: int) -> int:
        """Sequences per block: as many as this process's share of the memory holds, all shards alike."""
        per_token = 2 * self.model.n_layers * self.model.d_model * self.dtype.itemsize
        tokens = self.config.buffer_gigabytes * 1e9 / per_token * self.shards / own
        sequences = max(int(tokens / self.data.tokens.shape[1]), self.shards)
        n_blocks = -(-len(self.data) // sequences)
        return -(-len(self.data) // n_blocks)

    @property
    def n_blocks(self) -> int:
        return -(-len(self.data) // self.block_sequences)

    def batches(self, place: Place) -> Iterator[Batch]:
        """Endless batches from `place` on."""
        per_shard = self.config.batch_size // self.shards
        empty = 0
        while True:
            sequences = self._sequences(place)
            rows = [int(self.data.include[part].sum()) for part in sequences]
            n_batches = min(rows) // per_shard
            empty = 0 if n_batches else empty + 1
            if empty > 2 * self.n_blocks:
                raise ValueError(
                    f"batch_size={self.config.batch_size} is more than the {sum(rows)} positions of a block: "
                    "choose a smaller one, or give more text or memory"
                )
            if place.batch < n_batches:
                captured = self._captured(place, sequences)
                orders = [self._order(place, shard, rows[shard]) for shard in self.own]
            for number in range(place.batch, n_batches):
                cut = slice(number * per_shard, (number + 1) * per_shard)
                parts = [(x[order[cut]], y[order[cut]]) for (x, y), order in zip(captured, orders, strict=True)]
                x, y = (torch.cat(side) for side in zip(*parts, strict=True))
                yield Batch(x, y, Place(place.epoch, place.block, number + 1))
            last = place.block + 1 >= self.n_blocks
            place = Place(place.epoch + 1) if last else Place(place.epoch, place.block + 1)

    def _sequences(self, place: Place) -> list[Tensor]:
        """Sequence numbers of a block, one tensor per shard."""
        if self.n_blocks == 1:
            order = torch.arange(len(self.data))
        else:
            generator = torch.Generator().manual_seed(_mixed(self.config.seed, place.epoch))
            order = torch.randperm(len(self.data), generator=generator)
        block = order[place.block * self.block_sequences : (place.block + 1) * self.block_sequences]
        return [block[shard :: self.shards] for shard in range(self.shards)]

    def _order(self, place: Place, shard: int, rows: int) -> Tensor:
        seed = _mixed(self.config.seed, place.epoch, place.block, shard)
        return torch.randperm(rows, generator=torch.Generator().manual_seed(seed)).to(self.model.device)

    def _captured(self, place: Place, sequences: list[Tensor]) -> list[tuple[Tensor, Tensor]]:
        """Activations of this process's shards of a block; the last block's are kept."""
        key = (0, 0) if self.n_blocks == 1 else (place.epoch, place.block)
        if self._held is None or self._held[0] != key:
            self._held = None
            parts = [self._capture(sequences[shard]) for shard in self.own]
            self._held = (key, parts)
        return self._held[1]

    def _capture(self, sequences: Tensor) -> tuple[Tensor, Tensor]:
        return capture_positions(self.model, self.data[sequences], self.config, self.dtype, self.progress)

    def statistics(self, processes: Processes) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Mean [layer, d_model] and scale [layer, 1] of inputs and targets over the first block of all
        processes."""
        parts = self._captured(Place(), self._sequences(Place()))
        result = []
        for side in (0, 1):
            count = torch.tensor(float(sum(len(part[side]) for part in parts)), device=self.model.device)
            total = torch.stack([_chunked_sum(part[side], 1) for part in parts]).sum(0)
            squares = torch.stack([_chunked_sum(part[side], 2) for part in parts]).sum(0)
            count, total, squares = processes.add(count, total, squares)
            mean = total / count
            variance = (squares / count - mean.square()).mean(-1, keepdim=True)
            result += [mean, variance.clamp_min(1e-12).sqrt()]
        return result[0], result[1], result[2], result[3]


def capture_positions(
    model: Model, data: TokenData, config: TrainingConfig, dtype: torch.dtype, progress: bool = False
) -> tuple[Float[Tensor, "rows layer d_model"], Float[Tensor, "rows layer d_model"]]:
    """What encoders read and decoders rebuild, at every counted position of some sequences."""
    hooks = (config.input_hook, config.output_hook)
    sites = [[f"blocks.{layer}.{hook}" for layer in range(model.n_layers)] for hook in hooks]
    shape = (data.n_positions, model.n_layers, model.d_model)
    sides = tuple(torch.empty(shape, dtype=dtype, device=model.device) for _ in hooks)
    wide = 1 if model.device.type == "cpu" else 8
    per_pass = max(wide * CAPTURE_TOKENS // data.tokens.shape[1], 1)
    done = 0
    bar = tqdm(total=data.n_positions, desc="activations", unit="position", leave=False, disable=not progress)
    for tokens, include in zip(data.tokens.split(per_pass), data.include.split(per_pass), strict=True):
        _, seen = model.capture(tokens.long().to(model.device), [site for side in sites for site in side])
        keep = include.to(model.device)
        n = int(keep.sum())
        for side, names in zip(sides, sites, strict=True):
            for layer, name in enumerate(names):
                side[done : done + n, layer] = seen[name][keep].to(dtype)
        done += n
        bar.update(n)
    bar.close()
    return sides[0], sides[1]


def _chunked_sum(x: Tensor, power: int) -> Tensor:
    """Σ x^power over rows in float64, without a float64 copy of everything."""
    return torch.stack([chunk.double().pow(power).sum(0) for chunk in x.split(STATISTICS_ROWS)]).sum(0)


def _mixed(*numbers: int) -> int:
    """One seed from several numbers, different for different ones."""
    seed = 0x9E3779B9
    for number in numbers:
        seed = (seed ^ (number + 0x7F4A7C15)) * 0x5851F42D4C957F2D % 2**63
    return seed
