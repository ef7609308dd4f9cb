"""What the edges of a graph begin at: the sources of one prompt, their rows, and what they write.

`Sources` numbers constants, tokens, errors and active features as rows of the graph. `Decoders` holds what features and
errors write into the MLP outputs, for contraction with gradients; `ForwardLeaves` what constants and the token at a
masked BOS put before every encoder, from one forward pass of the frozen network each.

Source: Ameisen et al. 2025, "Circuit Tracing", section "Constructing an attribution graph";
https://transformer-circuits.pub/2025/attribution-graphs/methods.html
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from circuitlab.local_replacement import LocalReplacement, skip_output

LARGEST_STACK = 2**29
"""Bytes that decoder rows may take when they are gathered once for all targets."""


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
    errors: bool = True
    """Whether there are errors: in the neuron basis only where neurons are folded into them."""

    def error(self, layer: int) -> int:
        """Row of the first error of a layer."""
        return self.n_constants + self.n_positions + layer * self.errors * (self.n_positions - self.first_error)

    @property
    def n_rows(self) -> int:
        return int(self.position_starts[-1][-1])

    def ranges(self, layer: int, pos: int) -> list[tuple[int, int]]:
        """The rows that can affect a target of `layer` at `pos`, as ascending half-open ranges."""
        ranges = [(0, self.n_constants + pos + 1)]
        if self.errors and pos >= self.first_error:
            ranges += [(self.error(source), self.error(source) + pos + 1 - self.first_error) for source in range(layer)]
        ranges += [(int(starts[0]), int(starts[pos + 1])) for starts in self.position_starts[:layer]]
        return ranges


def number_sources(local: LocalReplacement, n_constants: int = 1, errors: bool = True) -> Sources:
    """Assign rows to the sources of one prompt."""
    n_positions, n_layers = len(local.tokens), len(local.features)
    first_error = 1 if local.mask_bos else 0
    row = n_constants + n_positions + n_layers * errors * (n_positions - first_error)
    starts = []
    for active in local.features:
        counts = np.bincount(active.pos.cpu().numpy(), minlength=n_positions)
        starts.append(row + np.concatenate([[0], np.cumsum(counts)]))
        row += len(active)
    return Sources(n_constants, n_positions, n_layers, first_error, tuple(starts), errors)


@dataclass(frozen=True)
class Decoders:
    """What the active features and the errors write, a_s W_dec,s and e, stacked by the layer they write to.

    `blocks[k][p]` [d_model, source] holds the sources at position p that write to layer k: those of layer k, with a CLT
    all before it too. They are neighbours in a scratch row, whose sources are sorted by position, then layer, the
    features of a layer and position before its error: `columns[k][p]` is where the block begins there,
    `feature_column[l][i]` the place of the i-th active feature of layer l, `error_column[l, p]` that of an error.
    Blocks that would take more than `LARGEST_STACK` are gathered each time they are used: `blocks` is empty.
    """

    local: LocalReplacement
    blocks: list[list[Float[Tensor, "d_model _"]]]
    columns: list[list[int]]
    feature_column: list[Int[np.ndarray, " _"]]
    error_column: Int[np.ndarray, "layer pos"]
    width: list[int]
    """Columns taken by the positions before each, and by all."""

    def block(self, layer: int, pos: int) -> Float[Tensor, "d_model source"]:
        """What the sources at a position write to a layer."""
        return self.blocks[layer][pos] if self.blocks else _gather(self.local, layer, pos)


def _gather(local: LocalReplacement, layer: int, pos: int) -> Float[Tensor, "d_model source"]:
    """One block of `Decoders`, from the decoder rows of the features at that position."""
    own, rows = local.errors[layer, pos], []
    for source in range(_first_writer(local, layer), layer + 1):
        active = local.features[source]
        bounds = torch.tensor([pos, pos + 1], device=active.pos.device)
        start, stop = torch.searchsorted(active.pos, bounds).tolist()
        written = local.transcoder.decoder_rows(source, layer, active.feature[start:stop])
        assert written is not None, "a source in this range writes to the layer"
        rows.append(written.detach().to(own.dtype) * active.activation[start:stop, None])
        if pos >= local.mask_bos:
            rows.append((own if source == layer else torch.zeros_like(own))[None])
    return torch.cat(rows).T


def _first_writer(local: LocalReplacement, layer: int) -> int:
    return 0 if local.transcoder.config.kind == "clt" else layer


def stack_decoders(local: LocalReplacement) -> Decoders:
    """Gather the decoder rows of active features, each scaled by its activation: no other row is read."""
    n_layers, n_pos = len(local.features), len(local.tokens)
    at = [active.pos.cpu().numpy() for active in local.features]
    features = np.stack([np.bincount(pos, minlength=n_pos) for pos in at])  # [layer, pos], as the next two
    counts = features + (np.arange(n_pos) >= local.mask_bos)  # features and the error
    within = np.cumsum(counts, 0) - counts  # where a layer begins among the sources of its position
    width = np.concatenate([[0], np.cumsum(counts.sum(0))])  # [pos + 1]
    # how many features of the same layer and position come before each
    nth = [np.arange(len(pos)) - (np.cumsum(row) - row)[pos] for pos, row in zip(at, features, strict=True)]
    written = sum(int(counts[_first_writer(local, layer) : layer + 1].sum()) for layer in range(n_layers))
    stacked_size = written * local.errors.shape[-1] * local.errors.element_size()
    blocks, columns = [], []
    for layer in range(n_layers):
        first = _first_writer(local, layer)
        columns.append((width[:-1] + within[first]).tolist())
        if stacked_size > LARGEST_STACK:
            continue
        # The rows of `stacked` are the sources that write here, by position: position p has starts[p] to starts[p + 1].
        starts = np.concatenate([[0], np.cumsum(counts[first : layer + 1].sum(0))])
        offset = starts[:-1] - within[first]  # from a place among the sources of a position to a row
        stacked = local.errors.new_zeros(int(starts[-1]), local.errors.shape[-1])
        for source in range(first, layer + 1):
            active = local.features[source]
            rows = local.transcoder.decoder_rows(source, layer, active.feature)
            assert rows is not None, "a source in this range writes to the layer"
            place = offset[at[source]] + within[source, at[source]] + nth[source]
            scaled = rows.detach().to(stacked.dtype) * active.activation[:, None]
            stacked[torch.from_numpy(place).to(stacked.device)] = scaled
        place = (offset + within[layer] + features[layer])[int(local.mask_bos) :]
        stacked[torch.from_numpy(place).to(stacked.device)] = local.errors[layer, int(local.mask_bos) :]
        blocks.append([stacked[a:b].T for a, b in pairwise(starts.tolist())])
    return Decoders(
        local,
        blocks,
        columns,
        feature_column=[width[pos] + within[layer, pos] + nth[layer] for layer, pos in enumerate(at)],
        error_column=width[:-1] + within + features,
        width=width.tolist(),
    )


@dataclass(frozen=True)
class ForwardLeaves:
    """What single leaves put before each encoder and the unembedding: the constants, then a masked BOS's embedding.

    `inputs[leaf, l, p]` is read by the encoder of layer l, `inputs[leaf, n_layers, p]` by the logits. The constants are
    one part, or one per layer; a target's own offset (encoder bias) belongs to the last of them.
    """

    constants: tuple[str, ...]
    inputs: Float[Tensor, "leaf layer_plus_1 pos d_model"]


def forward_leaves(local: LocalReplacement, by_layer: bool = False) -> ForwardLeaves:
    """Run the frozen network on its constants: biases, position embeddings, and what sits at a masked BOS.

    By layer the parts are the position embeddings, each block, and the readout (final norm and the targets' own
    biases); the network is affine, so a part is what is added when its constants join those of the parts before it.
    """
    n_layers = len(local.features)
    if by_layer:
        stages = [_constants_up_to(local, layer, readout=False) for layer in range(n_layers + 1)]
        stages.append(_constants_up_to(local, n_layers))
        inputs = [stages[0], *(after - before for before, after in pairwise(stages))]
        names = ["constant_embedding", *(f"constant_{layer}" for layer in range(n_layers)), "constant_readout"]
    else:
        inputs, names = [_constants_up_to(local, n_layers)], ["constant"]
    if local.mask_bos:
        embedding = torch.zeros_like(local.token_embeddings)
        embedding[0] = local.token_embeddings[0]
        inputs.append(_push(local, embedding, 0, readout=False))
    return ForwardLeaves(tuple(names), torch.stack(inputs))


def _constants_up_to(
    local: LocalReplacement, n_blocks: int, readout: bool = True
) -> Float[Tensor, "layer_plus_1 pos d_model"]:
    """Inputs of all encoders and of the unembedding, from the constants of the first `n_blocks` blocks."""
    return _push(local, local.constant_embeddings, n_blocks, readout)


def _push(
    local: LocalReplacement, embedding: Float[Tensor, "pos d_model"], n_blocks: int, readout: bool
) -> Float[Tensor, "layer_plus_1 pos d_model"]:
    """Run the frozen network on an embedding and the constants of its first `n_blocks` blocks, without features."""
    network, transcoder = local.network.without_biases(n_blocks, readout), local.transcoder

    def mlp_out(layer: int, x: Tensor) -> Tensor:
        constant = local.mlp_constants[layer] if layer < n_blocks else torch.zeros_like(x)
        return constant + skip_output(transcoder, layer, x)

    inputs, final = network.encoder_inputs(embedding, mlp_out)
    return torch.stack([*inputs, final])
