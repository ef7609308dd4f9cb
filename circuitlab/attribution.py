"""Attribution: the exact linear effect of every node on every feature and logit of one prompt.

Reads a LocalReplacement (the frozen, linear network of a prompt), gives a Graph. For a target t that reads the stream
through the vector v_t at layer l_t and position p_t, and a source s with activation a_s that writes W_dec,s^l,

    A_{s→t} = a_s Σ_{l < l_t} (W_dec,s^l)ᵀ J_{(l, p_s)→t},        J the frozen network's Jacobian

and a target's edges, constants included, add up to its pre-activation. The algorithm:

1. Sort targets by layer, then position; take those of one layer a few at a time.
2. Pull their vectors back through the frozen network, layer by layer: the gradient at the residual stream passes each
   attention layer as  norm_1ᵀ W_Vᵀ Pᵀ W_Oᵀ,  and at each layer's MLP output it is kept. Nothing else is computed: no
   MLPs, no queries and keys, no positions after the target's.
3. Contract what was kept with the decoder rows of the active features, one matrix product per source layer and
   position, straight into the rows of the edge list; likewise with errors and embeddings.
4. Constants: one forward pass of the frozen network with nothing but its biases (and what sits at a masked BOS).

Source: Ameisen et al. 2025, "Circuit Tracing", section "Constructing an attribution graph";
https://transformer-circuits.pub/2025/attribution-graphs/methods.html
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from circuitlab.local_replacement import FrozenBlock, FrozenNorm, LocalReplacement

CHUNK = 64
"""Targets pulled back together: enough rows to keep matrix products busy, few enough to stay in the cache."""


@dataclass(frozen=True)
class Sources:
    """Where each source stands among the graph's rows: constants, tokens, errors, then features by layer.

    Errors are layer-major; a masked position 0 has none. `position_starts[l][p]` is the row of the first feature of
    layer l at position p or later, so the features of layer l at positions up to p are one contiguous range of rows.
    """

    n_constants: int
    n_positions: int
    n_layers: int
    first_error: int
    position_starts: tuple[Int[np.ndarray, " pos_plus_1"], ...]

    @property
    def tokens(self) -> int:
        return self.n_constants

    def error(self, layer: int) -> int:
        """Row of the first error of a layer."""
        return self.n_constants + self.n_positions + layer * (self.n_positions - self.first_error)

    @property
    def n_rows(self) -> int:
        return int(self.position_starts[-1][-1])

    def ranges(self, layer: int, pos: int) -> list[tuple[int, int]]:
        """The rows that can affect a target of `layer` at `pos`, as ascending half-open ranges."""
        ranges = [(0, self.n_constants + pos + 1)]
        ranges += [(self.error(source), self.error(source) + pos + 1 - self.first_error) for source in range(layer)]
        ranges += [(int(starts[0]), int(starts[pos + 1])) for starts in self.position_starts[:layer]]
        return ranges


def number_sources(local: LocalReplacement, n_constants: int = 1) -> Sources:
    """Assign rows to the sources of one prompt."""
    n_positions, n_layers = len(local.tokens), len(local.features)
    first_error = 1 if local.mask_bos else 0
    row = n_constants + n_positions + n_layers * (n_positions - first_error)
    starts = []
    for active in local.features:
        counts = np.bincount(active.pos.cpu().numpy(), minlength=n_positions)
        starts.append(row + np.concatenate([[0], np.cumsum(counts)]))
        row += len(active)
    return Sources(n_constants, n_positions, n_layers, first_error, tuple(starts))


@dataclass(frozen=True)
class TargetGroup:
    """Targets that read the same place of the stream: `layer` n_layers stands for the final norm."""

    layer: int
    pos: Int[np.ndarray, " target"]
    vectors: Float[Tensor, "target d_model"]
    offsets: Float[Tensor, " target"]


def feature_targets(
    local: LocalReplacement, layer: int, chosen: Int[np.ndarray, " target"] | None = None
) -> TargetGroup:
    """The active features of one layer as targets (all, or those at `chosen`); offset is the encoder's bias."""
    active = local.features[layer]
    index = torch.arange(len(active)) if chosen is None else torch.from_numpy(chosen)
    index = index.to(active.feature.device)
    feature, dtype = active.feature[index], active.activation.dtype
    return TargetGroup(
        layer=layer,
        pos=active.pos[index].cpu().numpy(),
        vectors=local.transcoder.W_enc[layer].detach()[feature].to(dtype),
        offsets=local.transcoder.b_enc[layer].detach()[feature].to(dtype),
    )


class Attributor:
    """Computes edges of one prompt, a group of targets at a time; holds what all groups share."""

    def __init__(self, local: LocalReplacement, constants: ConstantInputs) -> None:
        self.local = local
        self.sources = number_sources(local, len(constants.parts))
        self.constants = constants
        self.decoders = [self._scaled_decoders(layer) for layer in range(len(local.features))]
        self.attention = [transpose_attention(block) for block in local.network.blocks]
        self.values = local.token_embeddings @ self.attention[0].W_V.T

    def _scaled_decoders(self, layer: int) -> Float[Tensor, "active out d_model"]:
        """a_s W_dec,s of the active features of a layer, for all layers they write to."""
        active = self.local.features[layer]
        rows = self.local.transcoder.W_dec[layer].detach().index_select(0, active.feature)
        return rows.to(active.activation.dtype) * active.activation[:, None, None]

    def jobs(self, group: TargetGroup, weights: list[Float[Tensor, "_ _"]]) -> list[Job]:
        """Work that fills `weights`, one matrix per run of targets at the same position, in `Sources.ranges` order.

        The jobs touch different rows: they may run in any order and side by side.
        """
        jobs = []
        for start, stop, runs in _chunks(group, weights):
            piece = TargetGroup(
                group.layer, group.pos[start:stop], group.vectors[start:stop], group.offsets[start:stop]
            )
            jobs.append(Job(self, piece, runs))
        return jobs

    def edges_of_chunk(self, group: TargetGroup, runs: list[Run]) -> None:
        """Pull one chunk back and write the rows of its runs."""
        kept, tokens = self.pull_back(group)
        constants = self.constants.edges(group)
        for run in runs:
            self._write_run(group.layer, run, kept, tokens, constants)

    def pull_back(
        self, group: TargetGroup
    ) -> tuple[Float[Tensor, "layer pos target d_model"], Float[Tensor, "pos target"]]:
        """Gradients of a group's targets at every earlier MLP output, and their edges from the tokens."""
        n_pos, n_targets = int(group.pos.max()) + 1, len(group.pos)
        pos = torch.from_numpy(group.pos).to(group.vectors.device)
        vectors, at_block_input = self._to_stream(group, pos)
        kept = vectors.new_empty(group.layer, n_pos, n_targets, vectors.shape[1])
        gradient = vectors.new_zeros(n_pos, n_targets, vectors.shape[1])
        gradient[pos, torch.arange(n_targets, device=pos.device)] = vectors
        if not at_block_input:
            attention = self.attention[group.layer]
            mixed = attention.mix_one(vectors, pos, n_pos)
            if group.layer == 0:
                return kept, self._token_edges(gradient, mixed)
            gradient = attention.through_values(mixed, gradient, out=kept[-1])
        elif group.layer == 0:
            return kept, self._token_edges(gradient, None)
        else:
            gradient = kept[-1].copy_(gradient)
        for layer in range(group.layer - 1, -1, -1):
            block, attention = self.local.network.blocks[layer], self.attention[layer]
            if block.decoder_norm is not None:
                gradient, kept[layer] = gradient.clone(), _through_norm(block.decoder_norm, gradient)
            skipped = self._through_skip(layer, block, kept[layer])
            read = gradient if skipped is None else gradient + skipped
            mixed = attention.mix(gradient if block.parallel else read)
            if layer == 0:
                return kept, self._token_edges(read, mixed)
            gradient = attention.through_values(mixed, read, out=kept[layer - 1])
        raise AssertionError("unreachable: layer 0 returns")

    def _to_stream(self, group: TargetGroup, pos: Tensor) -> tuple[Float[Tensor, "target d_model"], bool]:
        """Targets' vectors at the residual stream they read, and whether that stream is a block's input."""
        network = self.local.network
        if group.layer == len(network.blocks):
            norm, at_block_input = network.final_norm, True
        else:
            block = network.blocks[group.layer]
            norm, at_block_input = block.encoder_norm, block.parallel
        if norm is None:
            return group.vectors, at_block_input
        return norm.fold_into(group.vectors) * norm.inverse_scale[pos], at_block_input

    def _through_skip(self, layer: int, block: FrozenBlock, gradient: Tensor) -> Tensor | None:
        if self.local.transcoder.W_skip is None:
            return None
        skipped = gradient @ self.local.transcoder.W_skip[layer].detach().to(gradient.dtype)
        return skipped if block.encoder_norm is None else _through_norm(block.encoder_norm, skipped)

    def _token_edges(
        self, gradient: Float[Tensor, "pos target d_model"], mixed: Float[Tensor, "pos target kv"] | None
    ) -> Float[Tensor, "pos target"]:
        """Edges from the embeddings: directly, and through the first attention layer's values of them."""
        n_pos = len(gradient)
        direct = (gradient @ self.local.token_embeddings[:n_pos, :, None])[..., 0]
        return direct if mixed is None else direct + (mixed @ self.values[:n_pos, :, None])[..., 0]

    def _write_run(self, layer: int, run: Run, kept: Tensor, tokens: Tensor, constants: Tensor) -> None:
        """One run's rows, in the order of `Sources.ranges`: constants, tokens, errors, features."""
        sources, local, which = self.sources, self.local, slice(run.start, run.stop)
        n_pos, first = run.pos + 1, sources.first_error
        out, column = run.weights, sources.n_constants
        out[:, :column] = constants[which]
        out[:, column : column + n_pos] = tokens[:n_pos, which].T
        column += n_pos
        for source in range(layer):
            errors = local.errors[source, first:n_pos, :, None]
            out[:, column : column + n_pos - first] = (kept[source, first:n_pos, which] @ errors)[..., 0].T
            column += n_pos - first
        for source in range(layer):
            decoders, starts = self.decoders[source], sources.position_starts[source]
            span = min(decoders.shape[1], layer - source)
            for pos in range(n_pos):
                begin, end = int(starts[pos] - starts[0]), int(starts[pos + 1] - starts[0])
                if begin == end:
                    continue
                edges = out[:, column + begin : column + end]
                torch.mm(kept[source, pos, which], decoders[begin:end, 0].T, out=edges)
                for offset in range(1, span):
                    edges.addmm_(kept[source + offset, pos, which], decoders[begin:end, offset].T)
            column += int(starts[n_pos] - starts[0])


@dataclass(frozen=True)
class Job:
    """One chunk of targets whose edges are to be computed."""

    attributor: Attributor
    group: TargetGroup
    runs: list[Run]

    @property
    def cost(self) -> int:
        """Proportional to the arithmetic that pulling the chunk back takes."""
        return len(self.group.pos) * (self.group.layer + 1) * (int(self.group.pos.max()) + 1)

    def run(self) -> int:
        """Compute, and say how many targets that were."""
        with torch.no_grad():
            self.attributor.edges_of_chunk(self.group, self.runs)
        return len(self.group.pos)


def run_side_by_side(jobs: Sequence[Job], done: Callable[[int], object]) -> None:
    """Run jobs on as many threads as torch has, each computing single-threaded; `done` hears of every job's targets.

    Matrices of a chunk are too small to share between threads well; chunks share nothing. An interrupt lets the
    running chunks end, drops the others, and gives torch its threads back.
    """
    jobs = sorted(jobs, key=lambda job: -job.cost)
    n_threads = torch.get_num_threads()
    if n_threads == 1 or not jobs or jobs[0].group.vectors.device.type != "cpu":
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


@dataclass(frozen=True)
class Run:
    """Targets start..stop of a chunk, all at `pos`, and the matrix that their edges go into."""

    start: int
    stop: int
    pos: int
    weights: Float[Tensor, "target edge"]


def position_runs(pos: Int[np.ndarray, " target"]) -> Iterator[tuple[int, int, int]]:
    """(start, stop, position) of each run of equal positions in a sorted list."""
    bounds = np.flatnonzero(np.diff(pos)) + 1
    for start, stop in zip([0, *bounds], [*bounds, len(pos)], strict=True):
        if stop > start:
            yield int(start), int(stop), int(pos[start])


def _chunks(group: TargetGroup, weights: list[Float[Tensor, "_ _"]]) -> Iterator[tuple[int, int, list[Run]]]:
    """Cut a group into chunks of about CHUNK targets; a run of one position may be cut, several may share one."""
    begin, runs = 0, []
    for (start, stop, pos), matrix in zip(position_runs(group.pos), weights, strict=True):
        for piece in range(start, stop, CHUNK):
            end = min(piece + CHUNK, stop)
            if runs and end - begin > CHUNK:
                yield begin, piece, runs
                begin, runs = piece, []
            runs.append(Run(piece - begin, end - begin, pos, matrix[piece - start : end - start]))
    if runs:
        yield begin, len(group.pos), runs


# ---- the transposed network ----


def _through_norm(norm: FrozenNorm, gradient: Float[Tensor, "pos target d_model"]) -> Tensor:
    return norm.fold_into(gradient) * norm.inverse_scale[: len(gradient), None]


@dataclass(frozen=True)
class TransposedAttention:
    """One attention layer read backwards, norms folded in: gain and centring in the weights, denominators in `mixing`.

    `mixing[k, p, g, q]` is the pattern from query q to key p of the g-th query head of key-value head k, divided by
    the denominators of the norm before (at p) and, where there is one, of the norm after (at q).
    """

    W_O: Float[Tensor, "d_model head_times_d_head"]
    mixing: Float[Tensor, "kv_head key group query"]
    W_V: Float[Tensor, "kv d_model"]

    def mix(self, gradient: Float[Tensor, "pos target d_model"]) -> Float[Tensor, "pos target kv"]:
        """Pᵀ W_Oᵀ: from the attention output's gradient to that of the values, query heads of a group summed."""
        n_pos, n_targets, _ = gradient.shape
        kv_heads, _, group, _ = self.mixing.shape
        heads = (gradient @ self.W_O).view(n_pos, n_targets, kv_heads, group, -1)
        heads = heads.permute(2, 3, 0, 1, 4).reshape(kv_heads, group * n_pos, -1)
        values = self.mixing[:, :n_pos, :, :n_pos].reshape(kv_heads, n_pos, group * n_pos) @ heads
        return values.view(kv_heads, n_pos, n_targets, -1).permute(1, 2, 0, 3).flatten(2)

    def mix_one(
        self, vectors: Float[Tensor, "target d_model"], pos: Int[Tensor, " target"], n_pos: int
    ) -> Float[Tensor, "pos target kv"]:
        """`mix` of a gradient that is `vectors` at each target's own position and zero elsewhere."""
        kv_heads, _, group, _ = self.mixing.shape
        heads = (vectors @ self.W_O).view(len(vectors), kv_heads, group, -1)
        return torch.einsum("kpgb,bkge->pbke", self.mixing[:, :n_pos, :, pos], heads).flatten(2)

    def through_values(
        self,
        mixed: Float[Tensor, "pos target kv"],
        gradient: Float[Tensor, "pos target d_model"],
        out: Float[Tensor, "pos target d_model"],
    ) -> Float[Tensor, "pos target d_model"]:
        """gradient + norm_1ᵀ W_Vᵀ mixed: the gradient at the block's input, written into `out`."""
        torch.addmm(gradient.flatten(0, 1), mixed.flatten(0, 1), self.W_V, out=out.flatten(0, 1))
        return out


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


# ---- constants ----


@dataclass(frozen=True)
class ConstantInputs:
    """What the constants alone put before each encoder and the unembedding: one part, or one per layer.

    `inputs[part, l, p]` is read by the encoder of layer l, `inputs[part, n_layers, p]` by the logits. A target's own
    offset (encoder bias) belongs to the last part.
    """

    parts: tuple[str, ...]
    inputs: Float[Tensor, "part layer_plus_1 pos d_model"]

    def edges(self, group: TargetGroup) -> Float[Tensor, "target part"]:
        pos = torch.from_numpy(group.pos).to(group.vectors.device)
        read = self.inputs[:, group.layer, pos]
        edges = torch.einsum("btd,td->tb", read, group.vectors)
        edges[:, -1] += group.offsets
        return edges


def constant_inputs(local: LocalReplacement, by_layer: bool = False) -> ConstantInputs:
    """Run the frozen network on its constants: biases, position embeddings, and what sits at a masked BOS.

    By layer the parts are the position embeddings, each block, and the readout (final norm and the targets' own
    biases); the network is affine, so a part is what is added when its constants join those of the parts before it.
    """
    n_layers = len(local.features)
    if not by_layer:
        return ConstantInputs(("constant",), _constants_up_to(local, n_layers)[None])
    stages = [_constants_up_to(local, layer, readout=False) for layer in range(n_layers + 1)]
    stages.append(_constants_up_to(local, n_layers))
    inputs = torch.stack([stages[0], *(after - before for before, after in pairwise(stages))])
    names = ["constant_embedding", *(f"constant_{layer}" for layer in range(n_layers)), "constant_readout"]
    return ConstantInputs(tuple(names), inputs)


def _constants_up_to(
    local: LocalReplacement, n_blocks: int, readout: bool = True
) -> Float[Tensor, "layer_plus_1 pos d_model"]:
    """Inputs of all encoders and of the unembedding, from the constants of the first `n_blocks` blocks."""
    network, transcoder = local.network.without_biases(n_blocks, readout), local.transcoder

    def mlp_out(layer: int, x: Tensor) -> Tensor:
        constant = local.mlp_constants[layer] if layer < n_blocks else torch.zeros_like(x)
        skipped = transcoder.skip(layer, x.to(transcoder.dtype))
        return constant + (skipped.detach().to(x.dtype) if isinstance(skipped, Tensor) else 0.0)

    inputs, final = network.encoder_inputs(local.constant_embeddings, mlp_out)
    return torch.stack([*inputs, final])
