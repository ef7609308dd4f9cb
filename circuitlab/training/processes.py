"""One process or several: what `torchrun` started, and the few collective operations that training needs."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn


@dataclass(frozen=True)
class Processes:
    """How many processes train together, and which one this is."""

    count: int = 1
    rank: int = 0

    @property
    def first(self) -> bool:
        """Whether this process writes files and shows progress."""
        return self.rank == 0

    def add(self, *tensors: Tensor) -> list[Tensor]:
        """Sums over all processes."""
        if self.count > 1:
            for tensor in tensors:
                dist.all_reduce(tensor)
        return list(tensors)

    def mean(self, *tensors: Tensor) -> list[Tensor]:
        """Means over all processes."""
        return [tensor / self.count for tensor in self.add(*(tensor.clone() for tensor in tensors))]

    def average_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Mean gradients over all processes, in one message."""
        if self.count == 1:
            return
        gradients = [p.grad for p in parameters if p.grad is not None]
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        dist.all_reduce(flat)
        flat /= self.count
        for gradient, part in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
            gradient.copy_(part.view_as(gradient))

    def share(self, *tensors: Tensor) -> list[Tensor]:
        """The first process's tensors, everywhere; shapes must agree."""
        if self.count > 1:
            for tensor in tensors:
                dist.broadcast(tensor, src=0)
        return list(tensors)

    def share_object(self, value: object) -> object:
        """The first process's plain value, everywhere."""
        if self.count == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0)
        return box[0]


def join_processes(device: torch.device) -> Processes:
    """The processes that torchrun started (WORLD_SIZE, RANK), or this one alone."""
    if not dist.is_available():
        return Processes()
    if not dist.is_initialized() and int(os.environ.get("WORLD_SIZE", "1")) > 1:
        if device.type == "cuda":
            torch.cuda.set_device(device)
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    if not dist.is_initialized():
        return Processes()
    return Processes(dist.get_world_size(), dist.get_rank())


def local_device() -> torch.device | None:
    """The GPU that torchrun means for this process; None where there is no GPU or only one process."""
    rank = os.environ.get("LOCAL_RANK")
    return torch.device("cuda", int(rank)) if rank is not None and torch.cuda.is_available() else None


def has_fast_bfloat16(device: torch.device) -> bool:
    """Whether matrix products in bfloat16 run on hardware of their own there."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type == "cpu":
        supported = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
        return bool(supported())
    return False
