"""The edges of a graph as compressed sparse rows by target: three flat arrays, checked once.

Row t of the matrix A (row = target, column = source) is `source[indptr[t]:indptr[t + 1]]` with the weights beside it.
A graph of 7,000 nodes and 12 million edges takes 96 MB this way; the dense matrix would take twice that in float32 and
hide which edges exist. In a traced graph all targets of a layer and position have the same sources: there they are
kept once for each such run of rows, 48 MB in all, until someone asks for the flat array.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float, Int


@dataclass(frozen=True, eq=False)
class SharedSources:
    """Rows start..stop, each of which has an edge from every one of `sources` (ascending) and from nothing else."""

    start: int
    stop: int
    sources: Int[np.ndarray, " edge"]


class Links:
    """Edges as compressed rows by target: row t's edges are `indptr[t]:indptr[t + 1]`, sources ascending.

    `source` holds row numbers; `weight` the signed contribution to the target's pre-activation. Rows whose
    sources come unsorted are sorted here; a source twice in a row, a number out of range or NaN is refused.
    A traced graph has `runs` of rows with the same sources, from which `source` is written out when it is first used.
    """

    indptr: Int[np.ndarray, " bounds"]
    weight: Float[np.ndarray, " edge"]
    runs: tuple[SharedSources, ...] | None

    def __init__(
        self,
        indptr: Int[np.ndarray, " bounds"],
        source: Int[np.ndarray, " edge"],
        weight: Float[np.ndarray, " edge"],
    ) -> None:
        indptr = np.ascontiguousarray(indptr, dtype=np.int64)
        source = np.ascontiguousarray(source, dtype=np.int32)
        weight = np.asarray(weight)
        if weight.dtype not in (np.float32, np.float64):
            weight = weight.astype(np.float64 if weight.dtype.itemsize > 4 else np.float32)
        _check_compressed_rows(indptr, source, weight)
        source, weight = _sort_within_rows(indptr, source, weight)
        self.indptr, self.weight, self.source = _frozen(indptr), _frozen(weight), _frozen(source)
        self.runs = None

    @classmethod
    def from_runs(cls, runs: Sequence[SharedSources], weight: Float[np.ndarray, " edge"], n_nodes: int) -> Links:
        """Links of rows that share their sources in runs, given in rising order; rows in no run have no edges."""
        counts = np.zeros(n_nodes, dtype=np.int64)
        for run in runs:
            counts[run.start : run.stop] = len(run.sources)
        links = cls.__new__(cls)
        links.indptr = _frozen(np.concatenate([[0], np.cumsum(counts)]))
        if links.indptr[-1] != len(weight):
            raise ValueError(
                f"runs have {links.indptr[-1]} edges but there are {len(weight)} weights: one each expected"
            )
        _check_finite(weight)
        links.weight, links.runs = _frozen(weight), tuple(runs)
        return links

    @cached_property
    def source(self) -> Int[np.ndarray, " edge"]:
        """The source row of every edge."""
        source = np.empty(len(self), dtype=np.int32)
        for run in self.runs or ():
            span = slice(self.indptr[run.start], self.indptr[run.stop])
            source[span].reshape(-1, len(run.sources))[:] = run.sources
        return _frozen(source)

    def last_sources(self) -> Int[np.ndarray, " node"]:
        """The highest source of every row, -1 where a row has no edges."""
        last = np.full(self.n_nodes, -1, dtype=np.int64)
        if self.runs is None:
            filled = np.flatnonzero(self.counts)
            last[filled] = self.source[self.indptr[filled + 1] - 1]
        else:
            for run in self.runs:
                last[run.start : run.stop] = run.sources[-1]
        return last

    @classmethod
    def from_pairs(
        cls,
        target: Int[np.ndarray, " edge"],
        source: Int[np.ndarray, " edge"],
        weight: Float[np.ndarray, " edge"],
        n_nodes: int,
        sum_duplicates: bool = False,
    ) -> Links:
        """Links from three parallel arrays in any order; equal pairs are refused or, on request, added up."""
        target = np.asarray(target, dtype=np.int64)
        if target.size and (target.min() < 0 or target.max() >= n_nodes):
            raise ValueError(
                f"edges have targets {target.min()} to {target.max()}; there are {n_nodes} nodes, so row "
                f"numbers run from 0 to {n_nodes - 1}"
            )
        key = target * max(n_nodes, 1) + source
        if sum_duplicates:
            key, where = np.unique(key, return_inverse=True)
            target, source = np.divmod(key, max(n_nodes, 1))
            weight = np.bincount(where, weights=weight, minlength=len(key)).astype(weight.dtype)
        else:
            order = np.argsort(key, kind="stable")
            target, source, weight = target[order], np.asarray(source)[order], np.asarray(weight)[order]
        indptr = np.concatenate([[0], np.cumsum(np.bincount(target, minlength=n_nodes))])
        return cls(indptr, source.astype(np.int32), weight)

    def __len__(self) -> int:
        return len(self.weight)

    @property
    def n_nodes(self) -> int:
        return len(self.indptr) - 1

    @property
    def counts(self) -> Int[np.ndarray, " node"]:
        """Number of in-edges per row."""
        return np.diff(self.indptr)

    def targets(self) -> Int[np.ndarray, " edge"]:
        """The target row of every edge (as long as the edge list; built anew on each call)."""
        return np.repeat(np.arange(self.n_nodes, dtype=np.int32), self.counts)

    def row_sums(self, absolute: bool = False) -> Float[np.ndarray, " node"]:
        """Sum of each row's weights (or of their absolute values), added in float64."""
        return sum_by_row(self.indptr, np.abs(self.weight) if absolute else self.weight, np.float64)

    def select(self, nodes: Bool[np.ndarray, " node"], edges: Bool[np.ndarray, " edge"] | None = None) -> Links:
        """The links among the chosen nodes, renumbered; of those only the chosen edges."""
        keep = nodes[self.source] & np.repeat(nodes, self.counts)
        if edges is not None:
            keep &= edges
        renumber = np.cumsum(nodes, dtype=np.int64) - 1
        per_row = sum_by_row(self.indptr, keep, np.int64)[nodes]
        return Links(
            np.concatenate([[0], np.cumsum(per_row)]).astype(np.int64),
            renumber[self.source[keep]].astype(np.int32),
            self.weight[keep],
        )


def sum_by_row(indptr: Int[np.ndarray, " bounds"], values: np.ndarray, dtype: type) -> np.ndarray:
    """Sums of `values` over the spans of `indptr`, one per row, added in `dtype`; 0 for an empty row."""
    filled = np.flatnonzero(np.diff(indptr))
    sums = np.zeros(len(indptr) - 1, dtype=dtype)
    if filled.size:
        sums[filled] = np.add.reduceat(values, indptr[filled], dtype=dtype)
    return sums


def _check_compressed_rows(indptr: np.ndarray, source: np.ndarray, weight: np.ndarray) -> None:
    if indptr.ndim != 1 or source.ndim != 1 or weight.ndim != 1 or len(indptr) < 1:
        raise ValueError(
            f"links are three flat arrays; got indptr {indptr.shape}, source {source.shape}, weight {weight.shape}"
        )
    if len(source) != len(weight):
        raise ValueError(f"links have {len(source)} sources but {len(weight)} weights: one of each per edge expected")
    if indptr[0] != 0 or indptr[-1] != len(source) or (np.diff(indptr) < 0).any():
        raise ValueError(
            f"indptr must rise from 0 to the number of edges, {len(source)}; it runs from {indptr[0]} to "
            f"{indptr[-1]}" + (" and falls in between" if (np.diff(indptr) < 0).any() else "")
        )
    if len(source) and (source.min() < 0 or source.max() >= len(indptr) - 1):
        raise ValueError(
            f"edges have sources {source.min()} to {source.max()}; there are {len(indptr) - 1} nodes, so row "
            f"numbers run from 0 to {len(indptr) - 2}"
        )
    _check_finite(weight)


def _check_finite(weight: np.ndarray) -> None:
    if np.isfinite(weight.sum(dtype=np.float64)) or np.isfinite(weight).all():
        return
    bad = int(np.flatnonzero(~np.isfinite(weight))[0])
    raise ValueError(f"edge weights must be finite; edge {bad} weighs {weight[bad]}: look for NaN in the weights")


def _frozen(array: np.ndarray) -> np.ndarray:
    view = array.view()
    view.flags.writeable = False
    return view


def _sort_within_rows(indptr: np.ndarray, source: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if len(source) < 2:
        return source, weight
    rises = np.diff(source) > 0
    starts = indptr[1:-1]
    rises[starts[(starts > 0) & (starts < len(source))] - 1] = True
    if rises.all():
        return source, weight
    row = np.repeat(np.arange(len(indptr) - 1), np.diff(indptr))
    order = np.lexsort((source, row))
    source, weight = source[order], weight[order]
    twice = np.flatnonzero((np.diff(source) == 0) & (np.diff(row) == 0))
    if twice.size:
        raise ValueError(
            f"the edge from row {source[twice[0]]} to row {row[twice[0]]} is given twice: add them up first"
        )
    return source, weight
