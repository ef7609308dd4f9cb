"""A layer's matrix as it lies in files: rows of a memory-mapped tensor, turned, scaled and stacked as the kind needs.

    InFile    turn(tensor)[features] * columns, row i also times row_factors[i]
    Stacked   one InFile for each layer that a decoder writes to; None: zeros, nothing is written there

`turn` gives a view (a transpose, a slice), so that only the rows asked for are read.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from circuitlab.formats.transcoders.tensor_files import Header, view


def as_is(tensor: Tensor) -> Tensor:
    return tensor


@dataclass(frozen=True, eq=False)
class InFile:
    """A tensor of a file, turned into [feat, d_model], [feat, out, d_model], or a vector.

    `columns` [d_model] and `row_factors` [feat] fold a normalisation in; `header` is the file's own shape.
    """

    path: Path
    key: str
    header: Header
    turn: Callable[[Tensor], Tensor] = as_is
    columns: Tensor | None = None
    row_factors: Tensor | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.turn(torch.empty(self.header.shape, dtype=torch.uint8, device="meta")).shape)

    @property
    def dtype(self) -> torch.dtype:
        return self.header.dtype

    @property
    def nbytes(self) -> int:
        return self.header.nbytes

    @property
    def where(self) -> str:
        return f"{self.path}: {self.key}"

    def rows(self, features: Tensor | slice = slice(None), output: int | None = None) -> Tensor:
        """Some rows, of one output where that is given; a view of the file where nothing is to be computed."""
        tensor = view(self.path, self.key)
        if tuple(tensor.shape) != self.header.shape:
            raise ValueError(f"{self.where} has shape {list(tensor.shape)}, had {list(self.header.shape)} before")
        tensor = self.turn(tensor)
        if output is not None:
            tensor = tensor[:, output]
        tensor = tensor[features] if isinstance(features, slice) else tensor.index_select(0, features)
        if self.columns is not None:
            tensor = tensor.to(self.columns.dtype) * self.columns
        if self.row_factors is not None:
            factors = self.row_factors[features]
            tensor = tensor.to(factors.dtype) * factors.view(-1, *[1] * (tensor.ndim - 1))
        return tensor


@dataclass(frozen=True, eq=False)
class Stacked:
    """A decoder whose outputs lie apart: one [feat, d_model] for each layer that it writes to."""

    outputs: tuple[InFile | None, ...]
    like: InFile = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "like", next(output for output in self.outputs if output is not None))

    @property
    def shape(self) -> tuple[int, ...]:
        feat, *rest = self.like.shape
        return (feat, len(self.outputs), *rest)

    @property
    def dtype(self) -> torch.dtype:
        return self.like.dtype

    @property
    def nbytes(self) -> int:
        files = {(output.path, output.key): output.nbytes for output in self.outputs if output is not None}
        return sum(files.values())

    @property
    def where(self) -> str:
        return self.like.where

    def rows(self, features: Tensor | slice = slice(None), output: int | None = None) -> Tensor:
        """Some rows, [n, out, d_model], or [n, d_model] of one output."""
        if output is not None:
            stored = self.outputs[output]
            return torch.zeros_like(self.like.rows(features)) if stored is None else stored.rows(features)
        return torch.stack([self.rows(features, j) for j in range(len(self.outputs))], dim=1)


Stored = InFile | Stacked
