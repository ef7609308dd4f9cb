"""Where a transcoder's large matrices live: in memory, or in files of which only what is needed is read.

`Held` is a list of parameters. `OnDisk` has the same methods over memory-mapped files: a product with an encoder reads
it in blocks, decoders give the rows of the active features and no others, and nothing stays in memory after a call. So
a transcoder larger than memory traces, and who computes with weights need not know which of the two they are:

    rows(l, i)          W[l][i]             the rows of some features
    read(l, x)          x W[l]ᵀ             what every feature reads
    write(l, j, a)      a W[l][:, j]        what activations write into output j
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

BLOCK = 2**24
"""Numbers of a matrix on disk that are in memory at a time: 64 MiB in float32."""


@runtime_checkable
class Weights(Protocol):
    """One matrix per layer: encoders [feat, d_model], or decoders [feat, out, d_model]."""

    def __getitem__(self, layer: int, /) -> Tensor: ...

    def __iter__(self) -> Iterator[Tensor]: ...

    def __len__(self) -> int: ...

    def rows(self, layer: int, features: Int[Tensor, " n"], output: int | None = None) -> Float[Tensor, n * rest]: ...

    def read(
        self,
        layer: int,
        x: Float[Tensor, "*batch d_model"],
        bias: Float[Tensor, " feat"] | None = None,
        output: int | None = None,
    ) -> Float[Tensor, "*batch feat"]: ...

    def write(
        self, layer: int, output: int, activations: Float[Tensor, "*batch feat"]
    ) -> Float[Tensor, "*batch d_model"]: ...


class Held(nn.ParameterList):
    """Matrices in memory, one parameter per layer."""

    def rows(self, layer: int, features: Int[Tensor, " n"], output: int | None = None) -> Float[Tensor, n * rest]:
        """W[features], of one output where that is given."""
        weight = self[layer] if output is None else self[layer][:, output]
        return weight.index_select(0, features)

    def read(
        self,
        layer: int,
        x: Float[Tensor, "*batch d_model"],
        bias: Float[Tensor, " feat"] | None = None,
        output: int | None = None,
    ) -> Float[Tensor, "*batch feat"]:
        """x Wᵀ + bias; with `output`, the products with the decoders into that output."""
        return nn.functional.linear(x, self[layer] if output is None else self[layer][:, output], bias)

    def write(
        self, layer: int, output: int, activations: Float[Tensor, "*batch feat"]
    ) -> Float[Tensor, "*batch d_model"]:
        """a W[:, output]."""
        return activations @ self[layer][:, output]


@runtime_checkable
class Stored(Protocol):
    """A matrix in a file. `where` names file and key; reading raises ValueError where the file was damaged."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def where(self) -> str: ...

    def rows(self, features: Tensor | slice, output: int | None = None) -> Tensor:
        """Some rows, as a tensor of the file's precision in memory or over the file."""
        ...


class OnDisk(nn.Module):
    """Matrices in files, read when they are used, on the device and in the precision that the module is moved to."""

    like: Tensor

    def __init__(self, layers: Sequence[Stored], device: str | torch.device | None, dtype: torch.dtype) -> None:
        super().__init__()
        self.layers = tuple(layers)
        self.register_buffer("like", torch.empty(0, device=device, dtype=dtype), persistent=False)

    def __len__(self) -> int:
        return len(self.layers)

    def __iter__(self) -> Iterator[Tensor]:
        return (self[layer] for layer in range(len(self)))

    def __getitem__(self, layer: int) -> Tensor:
        """A whole matrix, in memory as long as it is held."""
        return self._placed(layer, slice(None), None)

    def rows(self, layer: int, features: Int[Tensor, " n"], output: int | None = None) -> Float[Tensor, n * rest]:
        return self._placed(layer, features.cpu(), output)

    def read(
        self,
        layer: int,
        x: Float[Tensor, "*batch d_model"],
        bias: Float[Tensor, " feat"] | None = None,
        output: int | None = None,
    ) -> Float[Tensor, "*batch feat"]:
        n_features, d_model = self.layers[layer].shape[0], self.layers[layer].shape[-1]
        result = x.new_empty(*x.shape[:-1], n_features)
        step = max(1, BLOCK // d_model)
        for start in range(0, n_features, step):
            block = slice(start, min(start + step, n_features))
            result[..., block] = x @ self._placed(layer, block, output, check=False).T
        if not bool(torch.isfinite(result).all()) and bool(torch.isfinite(x).all()):
            raise ValueError(f"{self.layers[layer].where} holds NaN or infinite numbers; expected none")
        return result if bias is None else result + bias

    def write(
        self, layer: int, output: int, activations: Float[Tensor, "*batch feat"]
    ) -> Float[Tensor, "*batch d_model"]:
        active = activations.flatten(0, -2).any(0).nonzero()[:, 0]
        return activations[..., active] @ self.rows(layer, active, output)

    def _placed(self, layer: int, features: Tensor | slice, output: int | None, check: bool = True) -> Tensor:
        stored = self.layers[layer]
        found = stored.rows(features, output).to(self.like)
        if check and not bool(torch.isfinite(found).all()):
            raise ValueError(f"{stored.where} holds NaN or infinite numbers; expected none")
        return found
