"""Attribution: the exact linear effect of every node on every feature and logit of one prompt.

Reads a LocalReplacement (the frozen, linear network of a prompt), gives rows of edges. For a target t that reads the
stream through the vector v_t at layer l_t and position p_t, and a source s with activation a_s that writes W_dec,s^l,

    A_{s→t} = a_s Σ_{l < l_t} (W_dec,s^l)ᵀ J_{(l, p_s)→t},        J the frozen network's Jacobian

and a target's edges, constants included, add up to its pre-activation. The algorithm:

1. Take the targets of one position, highest layer first, some hundred at a time.
2. Sweep down the layers once. At each layer's MLP output the gradients of all targets above it are contracted with the
   decoder rows of the active features, one matrix product per position; then they pass the attention layer as
   norm_1ᵀ W_Vᵀ Pᵀ W_Oᵀ, and the targets that read this layer join. Nothing else is computed: no MLPs, no queries and
   keys, no positions after the targets', and not position 0 where it is masked.
3. At the bottom, contract with the token embeddings. Bring the columns of every target into the order of its row.
4. Constants, and the token at a masked position 0, go forward instead: one pass of the frozen network for each, with
   nothing else in it, gives what they put before every encoder and the unembedding.

Source: Ameisen et al. 2025, "Circuit Tracing", section "Constructing an attribution graph";
https://transformer-circuits.pub/2025/attribution-graphs/methods.html
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from circuitlab.local_replacement import FrozenBlock, FrozenNorm, LocalReplacement
from circuitlab.sources import ForwardLeaves, number_sources, stack_decoders

CHUNK = 2**19
"""Numbers (targets x positions x d_model) in the gradients pulled back together: they should stay in the cache."""
SMALL = 2**22
"""Work, in the unit of `Job.cost`, below which threads cost more than they give."""


@dataclass(frozen=True)
class Targets:
    """What edges are wanted for: target t reads the stream at `layer[t]`, `pos[t]` through `vectors[t]`.

    Layer n_layers stands for the final norm; `offsets` are constants of the targets themselves (encoder biases).
    """

    layer: Int[np.ndarray, " target"]
    pos: Int[np.ndarray, " target"]
    vectors: Float[Tensor, "target d_model"]
    offsets: Float[Tensor, " target"]

    def __len__(self) -> int:
        return len(self.pos)

    def runs(self) -> Iterator[tuple[int, int, int, int]]:
        """(start, stop, layer, position) of each run of neighbours that read the same place."""
        if not len(self):
            return
        bounds = (np.flatnonzero((np.diff(self.pos) != 0) | (np.diff(self.layer) != 0)) + 1).tolist()
        for start, stop in zip([0, *bounds], [*bounds, len(self)], strict=True):
            yield start, stop, int(self.layer[start]), int(self.pos[start])

    @staticmethod
    def join(parts: Sequence[Targets]) -> Targets:
        return Targets(
            np.concatenate([part.layer for part in parts]),
            np.concatenate([part.pos for part in parts]),
            torch.cat([part.vectors for part in parts]),
            torch.cat([part.offsets for part in parts]),
        )


def feature_targets(local: LocalReplacement, layer: int, chosen: Int[np.ndarray, " target"] | None = None) -> Targets:
    """The active features of one layer as targets (all, or those at `chosen`); see `Transcoder.reading`."""
    active = local.features[layer]
    pos, feature, dtype = active.pos, active.feature, active.activation.dtype
    if chosen is not None:
        index = torch.from_numpy(chosen).to(feature.device)
        pos, feature = pos[index], feature[index]
    vectors, offsets = local.transcoder.reading(layer, feature, local.inputs[layer][pos])
    return Targets(
        layer=np.full(len(pos), layer),
        pos=pos.cpu().numpy(),
        vectors=vectors.to(dtype),
        offsets=offsets.to(dtype),
    )


class Attributor:
    """Computes edges of one prompt for any targets; holds what all of them share."""

    def __init__(self, local: LocalReplacement, leaves: ForwardLeaves, errors: bool = True) -> None:
        self.local = local
        self.leaves = leaves
        self.sources = number_sources(local, len(leaves.constants), errors)
        self.decoders = stack_decoders(local)
        self.attention = [transpose_attention(block) for block in local.network.blocks]
        self.values = local.token_embeddings @ self.attention[0].W_V.T

    def jobs(self, targets: Targets, edges: Sequence[Float[Tensor, "_ _"]]) -> list[Job]:
        """Work that fills `edges`, one matrix per run of targets, its columns in the order of `Sources.ranges`.

        The jobs touch different rows: they may run in any order and side by side.
        """
        by_position: dict[int, list[Piece]] = {}
        for (start, stop, layer, pos), matrix in zip(targets.runs(), edges, strict=True):
            by_position.setdefault(pos, []).append(Piece(layer, start, stop, matrix))
        jobs = []
        for pos, pieces in by_position.items():
            span = max(1, pos + 1 - self.sources.first_error)
            limit = max(8, CHUNK // (span * targets.vectors.shape[1]))
            pieces.sort(key=lambda piece: -piece.layer)
            jobs += [Job(self, targets, pos, chunk) for chunk in _chunks(pieces, limit)]
        return jobs

    def edges_into(self, targets: Targets, pos: int, pieces: Sequence[Piece]) -> None:
        """Sweep down the layers with the targets of some pieces, highest layer first, and write their rows."""
        sources, first, n_layers = self.sources, self.sources.first_error, self.sources.n_layers
        rows = np.concatenate([np.arange(piece.start, piece.stop) for piece in pieces])
        vectors = targets.vectors[torch.from_numpy(rows).to(targets.vectors.device)]
        n, d_model = vectors.shape
        width = sources.n_constants + pos + 1 + self.decoders.width[pos + 1]
        scratch = vectors.new_zeros(n, width)
        self._forward_edges(targets, rows, vectors, pos, scratch)
        if pos >= first:
            gradient = vectors.new_empty(n, pos + 1 - first, d_model)
            layers = targets.layer[rows]
            old = 0
            for layer in range(n_layers, -1, -1):
                new = int((layers >= layer).sum())
                if new:
                    self._sweep(layer, gradient[:new], vectors[old:new], old, pos, scratch[:new])
                old = new
        start = 0
        for piece in pieces:
            stop = start + piece.stop - piece.start
            _take_columns(scratch[start:stop], self._order(piece.layer, pos), piece.edges)
            start = stop

    def _forward_edges(
        self,
        targets: Targets,
        rows: Int[np.ndarray, " target"],
        vectors: Float[Tensor, "target d_model"],
        pos: int,
        scratch: Float[Tensor, "target column"],
    ) -> None:
        """Edges from the constants and from the token at a masked position 0; a target's offset is a constant."""
        layers = torch.from_numpy(targets.layer[rows]).to(vectors.device)
        n_leaves = len(self.leaves.inputs)
        read = self.leaves.inputs[:, :, pos].transpose(0, 1)[layers]
        scratch[:, :n_leaves] = (read @ vectors[:, :, None])[..., 0]
        scratch[:, self.sources.n_constants - 1] += targets.offsets[torch.from_numpy(rows).to(vectors.device)]

    def _sweep(
        self,
        layer: int,
        gradient: Float[Tensor, "target span d_model"],
        joining: Float[Tensor, "joining d_model"],
        old: int,
        pos: int,
        scratch: Float[Tensor, "target column"],
    ) -> None:
        """One layer: `gradient[:old]` stands after the block, and all of it before the block when this returns.

        The last rows are targets that join here. At layer 0, edges from the tokens are written instead of going on.

        In a sequential block the MLP, here its skip connection, reads after the attention has written: gradients pass
        the skip first, and targets that join pass the attention too. In a parallel block both read the block's input:
        the attention takes the gradient as it stands after the block, and targets join below it.
        """
        n_layers, place = self.sources.n_layers, slice(self.sources.first_error, pos + 1)
        network = self.local.network
        if layer == n_layers:
            _join(gradient, network.final_norm, joining, pos)
            return
        block, attention, above = network.blocks[layer], self.attention[layer], gradient[:old]
        kept = above if block.decoder_norm is None else _through_norm(block.decoder_norm, above, place)
        self._contract(layer, kept, scratch[:old], pos)
        through_skip = self._through_skip(layer, block, kept, place)
        reading = gradient[:old] if block.parallel else gradient
        mixed = gradient.new_empty(*reading.shape[:2], attention.W_V.shape[0])
        if block.parallel and old:
            mixed[:old] = attention.mix(above, place)
        if through_skip is not None:
            above += through_skip
        if not block.parallel:
            if old:
                mixed[:old] = attention.mix(above, place)
            if old < len(gradient):
                vectors = _join(gradient[old:], block.encoder_norm, joining, pos)
                mixed[old:] = attention.mix_one(vectors, pos, place)
        if layer > 0:
            reading.flatten(0, 1).addmm_(mixed.flatten(0, 1), attention.W_V)
        if block.parallel:
            _join(gradient[old:], block.encoder_norm, joining, pos)
        if layer == 0:
            self._token_edges(gradient, mixed, place, scratch)

    def _contract(
        self,
        layer: int,
        gradient: Float[Tensor, "target span d_model"],
        scratch: Float[Tensor, "target column"],
        pos: int,
    ) -> None:
        """Add the edges that run through what is written to this layer's MLP output."""
        if not len(gradient):
            return
        first, base = self.sources.first_error, self.sources.n_constants + pos + 1
        columns = self.decoders.columns[layer]
        for at in range(first, pos + 1):
            block = self.decoders.block(layer, at)
            begin = base + columns[at]
            scratch[:, begin : begin + block.shape[1]].addmm_(gradient[:, at - first], block)

    def _through_skip(
        self, layer: int, block: FrozenBlock, gradient: Float[Tensor, "target span d_model"], place: slice
    ) -> Tensor | None:
        if self.local.transcoder.W_skip is None:
            return None
        skipped = gradient @ self.local.transcoder.W_skip[layer].detach().to(gradient.dtype)
        return skipped if block.encoder_norm is None else _through_norm(block.encoder_norm, skipped, place)

    def _token_edges(
        self,
        gradient: Float[Tensor, "target span d_model"],
        mixed: Float[Tensor, "mixed span kv"],
        place: slice,
        scratch: Float[Tensor, "target column"],
    ) -> None:
        """Edges from the embeddings: directly, and through the first attention layer's values of them."""
        begin = self.sources.n_constants
        tokens = scratch[:, begin + place.start : begin + place.stop]
        tokens[:] = torch.einsum("tpd,pd->tp", gradient, self.local.token_embeddings[place])
        tokens[: len(mixed)] += torch.einsum("tpd,pd->tp", mixed, self.values[place])

    def _order(self, layer: int, pos: int) -> Int[np.ndarray, " edge"]:
        """The scratch column of each edge of a row, in the order of `Sources.ranges`."""
        sources, decoders = self.sources, self.decoders
        base = sources.n_constants + pos + 1
        errors = base + decoders.error_column[: layer if sources.errors else 0, sources.first_error : pos + 1]
        features = [
            base + columns[: int(starts[pos + 1] - starts[0])]
            for columns, starts in zip(decoders.feature_column[:layer], sources.position_starts[:layer], strict=True)
        ]
        return np.concatenate([np.arange(base), errors.ravel(), *features])


def _join(
    gradient: Float[Tensor, "joining span d_model"],
    norm: FrozenNorm | None,
    vectors: Float[Tensor, "joining d_model"],
    pos: int,
) -> Float[Tensor, "joining d_model"]:
    """Begin the gradients of targets at `pos`, the last of the span: their vectors, at the stream that they read."""
    if norm is not None:
        vectors = norm.fold_into(vectors) * norm.inverse_scale[pos]
    gradient.zero_()
    gradient[:, -1] = vectors
    return vectors


def _take_columns(
    scratch: Float[Tensor, "target column"], order: Int[np.ndarray, " edge"], edges: Float[Tensor, "target edge"]
) -> None:
    if scratch.device.type == "cpu":  # numpy copies single numbers several times faster
        np.take(scratch.numpy(), order, axis=1, out=edges.numpy(), mode="clip")
    else:
        edges.copy_(scratch.index_select(1, torch.from_numpy(order).to(scratch.device)))


@dataclass(frozen=True)
class Piece:
    """Targets start..stop, which all read at `layer`, and the matrix that their edges go into."""

    layer: int
    start: int
    stop: int
    edges: Float[Tensor, "target edge"]


def _chunks(pieces: Sequence[Piece], limit: int) -> Iterator[list[Piece]]:
    """Cut pieces into chunks of at most `limit` targets, the order kept; a piece may be cut too."""
    chunk, room = [], limit
    for piece in pieces:
        start = piece.start
        while start < piece.stop:
            stop = min(piece.stop, start + room)
            chunk.append(Piece(piece.layer, start, stop, piece.edges[start - piece.start : stop - piece.start]))
            room -= stop - start
            start = stop
            if not room:
                yield chunk
                chunk, room = [], limit
    if chunk:
        yield chunk


@dataclass(frozen=True)
class Job:
    """Some targets of one position whose edges are to be computed; pieces with the highest layer first."""

    attributor: Attributor
    targets: Targets
    pos: int
    pieces: list[Piece]

    def __len__(self) -> int:
        return sum(piece.stop - piece.start for piece in self.pieces)

    @property
    def cost(self) -> int:
        """Numbers in the gradients of all layers: about proportional to the arithmetic."""
        depth = sum((piece.stop - piece.start) * (piece.layer + 1) for piece in self.pieces)
        return depth * (self.pos + 1) * self.targets.vectors.shape[1]

    def run(self) -> int:
        """Compute, and say how many targets that were."""
        with torch.no_grad():
            self.attributor.edges_into(self.targets, self.pos, self.pieces)
        return len(self)


def run_side_by_side(jobs: Sequence[Job], done: Callable[[int], object]) -> None:
    """Run jobs on as many threads as torch has, each computing single-threaded; `done` hears of every job's targets.

    Matrices of a job are too small to share between threads well; jobs share nothing. An interrupt lets the running
    jobs end, drops the others, and gives torch its threads back.
    """
    jobs = sorted(jobs, key=lambda job: -job.cost)
    n_threads = torch.get_num_threads()
    small = sum(job.cost for job in jobs) < SMALL
    if n_threads == 1 or small or jobs[0].targets.vectors.device.type != "cpu":
        for job in jobs:
            done(job.run())
        return
    pool = ThreadPoolExecutor(n_threads, initializer=torch.set_num_threads, initargs=(1,))
    torch.set_num_threads(1)
    try:
        for finished in as_completed([pool.submit(job.run) for job in jobs]):
            done(finished.result())
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(n_threads)


# ---- the transposed network ----


def _through_norm(
    norm: FrozenNorm, gradient: Float[Tensor, "target span d_model"], place: slice
) -> Float[Tensor, "target span d_model"]:
    return norm.fold_into(gradient) * norm.inverse_scale[place]


@dataclass(frozen=True)
class TransposedAttention:
    """One attention layer read backwards, norms folded in: gain and centring in the weights, denominators in `mixing`.

    `mixing[k, p, g, q]` is the pattern from query q to key p of the g-th query head of key-value head k, divided by
    the denominators of the norm before (at p) and, where there is one, of the norm after (at q).
    """

    W_O: Float[Tensor, "d_model head_times_d_head"]
    mixing: Float[Tensor, "kv_head key group query"]
    W_V: Float[Tensor, "kv d_model"]

    def mix(self, gradient: Float[Tensor, "target span d_model"], place: slice) -> Float[Tensor, "target span kv"]:
        """Pᵀ W_Oᵀ: from the attention output's gradient to that of the values, query heads of a group summed.

        `place` says which positions the span holds.
        """
        n, span, _ = gradient.shape
        kv_heads, _, group, _ = self.mixing.shape
        heads = (gradient.flatten(0, 1) @ self.W_O).view(n, span, kv_heads, group, -1)
        heads = heads.permute(2, 3, 1, 0, 4).reshape(kv_heads, group * span, -1)
        values = self.mixing[:, place, :, place].reshape(kv_heads, span, group * span) @ heads
        return values.view(kv_heads, span, n, -1).permute(2, 1, 0, 3).reshape(n, span, -1)

    def mix_one(
        self, vectors: Float[Tensor, "target d_model"], pos: int, place: slice
    ) -> Float[Tensor, "target span kv"]:
        """`mix` of a gradient that is `vectors` at `pos` and zero elsewhere."""
        n, (kv_heads, _, group, _) = len(vectors), self.mixing.shape
        heads = (vectors @ self.W_O).view(n, kv_heads, group, -1).transpose(0, 1)
        values = torch.einsum("kpg,ktge->tpke", self.mixing[:, place, :, pos], heads)
        return values.flatten(2)


def transpose_attention(block: FrozenBlock) -> TransposedAttention:
    """Fold a frozen block's norms and pattern into the three matrices that pulling gradients back needs."""
    weights, n_pos = block.weights, block.pattern.shape[-1]
    kv_heads = weights.W_V.shape[0]
    W_V = block.ln1.fold_into(weights.W_V.transpose(1, 2)).flatten(0, 1)
    W_O, pattern = weights.W_O, block.pattern
    pattern = pattern * block.ln1.inverse_scale[:, 0]
    if block.ln1_post is not None:
        W_O = block.ln1_post.fold_into(W_O)
        pattern = pattern * block.ln1_post.inverse_scale
    mixing = pattern.view(kv_heads, -1, n_pos, n_pos).permute(0, 3, 1, 2)
    return TransposedAttention(W_O.flatten(0, 1).T.contiguous(), mixing, W_V)
