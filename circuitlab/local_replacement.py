"""The local replacement model of one prompt: exact, and linear between its features.

Attention patterns and normalisation denominators are frozen at the prompt's values, and an error vector per layer and
position, e^l = y^l - ŷ^l, carries what the transcoder missed. Between the sparse features everything is then linear:

    resid_mid^l     = resid_pre^l + O^l(P^l V^l(norm_1^l(resid_pre^l)))    P^l and the norms' denominators constant
    resid_pre^{l+1} = resid_mid^l + ŷ^l + e^l
    x^l             = resid_mid^l, or the frozen norm_2^l of it: what the encoder of layer l reads

(GPT-NeoX's blocks are parallel: their MLP reads the norm of resid_pre^l, not of resid_mid^l.)

`FrozenNetwork` holds that linear network, `LocalReplacement` adds the prompt's features, errors and embeddings.

Source: Ameisen et al. 2025, "Circuit Tracing", sections "The local replacement model" and "Constructing an
attribution graph"; https://transformer-circuits.pub/2025/attribution-graphs/methods.html
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from circuitlab.model import AttentionWeights, Model, Norm
from circuitlab.replacement import check_fit
from circuitlab.transcoder import Transcoder


@dataclass(frozen=True)
class FrozenNorm:
    """A normalisation with its denominator held fixed, linear but for the bias.

    x ↦ centre(x) * gain * inverse_scale + bias, `inverse_scale` being one number per position.
    """

    gain: Float[Tensor, " d_model"]
    inverse_scale: Float[Tensor, "*batch pos 1"]
    bias: Float[Tensor, " d_model"] | None
    centred: bool

    def without_bias(self) -> FrozenNorm:
        return replace(self, bias=None)

    def apply(self, x: Float[Tensor, "*batch pos d_model"]) -> Float[Tensor, "*batch pos d_model"]:
        y = (x - x.mean(-1, keepdim=True) if self.centred else x) * (self.gain * self.inverse_scale)
        return y if self.bias is None else y + self.bias

    def fold_into(self, weight: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_model"]:
        """The transposed map, but for its one number per position: w·(y − bias) = (folded w)·x * inverse_scale."""
        scaled = weight * self.gain
        return scaled - scaled.mean(-1, keepdim=True) if self.centred else scaled


@dataclass(frozen=True)
class FrozenBlock:
    """One block with fixed attention pattern and norm denominators.

    `encoder_norm` stands between the stream and the encoder, `decoder_norm` between the decoder and the stream; None
    where the family has no such norm or the hook lies on the stream's side of it.
    """

    ln1: FrozenNorm
    ln1_post: FrozenNorm | None
    encoder_norm: FrozenNorm | None
    decoder_norm: FrozenNorm | None
    pattern: Float[Tensor, "*batch head query key"]
    weights: AttentionWeights
    parallel: bool

    def without_biases(self) -> FrozenBlock:
        return replace(
            self,
            ln1=self.ln1.without_bias(),
            ln1_post=self.ln1_post and self.ln1_post.without_bias(),
            encoder_norm=self.encoder_norm and self.encoder_norm.without_bias(),
            decoder_norm=self.decoder_norm and self.decoder_norm.without_bias(),
            weights=replace(self.weights, b_V=None, b_O=None),
        )

    def attend(self, x: Float[Tensor, "*batch pos d_model"]) -> Float[Tensor, "*batch pos d_model"]:
        """The attention layer's output into the residual stream, biases included."""
        w = self.weights
        group = w.W_O.shape[0] // w.W_V.shape[0]
        value = torch.einsum("...pd,kde->...kpe", self.ln1.apply(x), w.W_V)
        if w.b_V is not None:
            value = value + w.b_V[:, None]
        mixed = self.pattern @ value.repeat_interleave(group, dim=-3)
        output = torch.einsum("...hpe,hed->...pd", mixed, w.W_O)
        if w.b_O is not None:
            output = output + w.b_O
        return output if self.ln1_post is None else self.ln1_post.apply(output)


@dataclass(frozen=True)
class FrozenNetwork:
    """The linear network that one prompt leaves when patterns and denominators are frozen."""

    blocks: tuple[FrozenBlock, ...]
    final_norm: FrozenNorm

    def without_biases(self, from_block: int, readout: bool) -> FrozenNetwork:
        """The same network with no biases in the blocks from `from_block` on, nor, unless `readout`, at the end."""
        blocks = [b if i < from_block else b.without_biases() for i, b in enumerate(self.blocks)]
        final = self.final_norm if readout else self.final_norm.without_bias()
        return FrozenNetwork(tuple(blocks), final)

    def encoder_inputs(
        self,
        embedding: Float[Tensor, "*batch pos d_model"],
        mlp_out: Callable[[int, Float[Tensor, "*batch pos d_model"]], Tensor],
    ) -> tuple[list[Tensor], Tensor]:
        """Forward pass: what each layer's encoder reads, and the final normed stream, for given leaves.

        `mlp_out(layer, x)` gives the MLP's stand-in at the decoder's hook from what the encoder reads.
        """
        residual, inputs = embedding, []
        for layer, block in enumerate(self.blocks):
            middle = residual + block.attend(residual)
            read = residual if block.parallel else middle
            inputs.append(read if block.encoder_norm is None else block.encoder_norm.apply(read))
            written = mlp_out(layer, inputs[-1])
            residual = middle + (written if block.decoder_norm is None else block.decoder_norm.apply(written))
        return inputs, self.final_norm.apply(residual)


@dataclass(frozen=True)
class ActiveFeatures:
    """The active features of one layer, sorted by position, then index; a row of the sparse activation matrix."""

    pos: Int[Tensor, " active"]
    feature: Int[Tensor, " active"]
    activation: Float[Tensor, " active"]
    pre_activation: Float[Tensor, " active"]

    def __len__(self) -> int:
        return len(self.pos)


@dataclass(frozen=True)
class LocalReplacement:
    """One prompt's local replacement model: the frozen network and its leaves; `inputs` is what the encoders read.

    `errors[l, p]` and `mlp_constants[l, p]` live at the decoder's hook: the true MLP output is skip(x) + Σ features +
    error + constant. With BOS masked, position 0 has neither features nor error: all it wrote is constant.
    The first stream is `token_embeddings` + `constant_embeddings` (positions, where they are added), the last, normed,
    is `final`; `logits` are the true model's.
    """

    tokens: Int[Tensor, " pos"]
    network: FrozenNetwork
    transcoder: Transcoder
    inputs: tuple[Float[Tensor, "pos d_model"], ...]
    features: tuple[ActiveFeatures, ...]
    token_embeddings: Float[Tensor, "pos d_model"]
    constant_embeddings: Float[Tensor, "pos d_model"]
    errors: Float[Tensor, "layer pos d_model"]
    mlp_constants: Float[Tensor, "layer pos d_model"]
    final: Float[Tensor, "pos d_model"]
    logits: Float[Tensor, "pos vocab"]
    mask_bos: bool


def local_replacement(
    model: Model, transcoder: Transcoder, tokens: Int[Tensor, " pos"], mask_bos: bool = True
) -> LocalReplacement:
    """Build the local replacement model of one prompt from a single forward pass of batch 1.

    Half-precision models are frozen in float32; float32 and float64 ones in their own precision.
    """
    return local_replacements(model, transcoder, [tokens], mask_bos)[0]


def local_replacements(
    model: Model, transcoder: Transcoder, prompts: Sequence[Int[Tensor, " _"]], mask_bos: bool = True
) -> list[LocalReplacement]:
    """The local replacement models of several prompts from one forward pass, padded behind."""
    check_fit(model, transcoder)
    dtype = torch.promote_types(model.dtype, torch.float32)
    logits, seen = model.capture(padded(prompts), _sites(model, transcoder))

    def of_row(site: str, value: Tensor, row: int, n: int) -> Tensor:
        value = value[row if len(value) > 1 else 0]
        return (value[:, :n, :n] if site.endswith("hook_pattern") else value[:n]).to(dtype)

    found = []
    for row, tokens in enumerate(prompts):
        own = {site: of_row(site, value, row, len(tokens)) for site, value in seen.items()}
        found.append(_from_seen(model, transcoder, tokens, own, logits[row, : len(tokens)], mask_bos))
    return found


def padded(values: Sequence[Tensor], dims: tuple[int, ...] = (0,)) -> Tensor:
    """Tensors of different lengths along `dims` as rows of one batch, zeros behind the shorter ones."""
    if len(values) == 1:
        return values[0][None]
    shape = list(values[0].shape)
    for dim in dims:
        shape[dim] = max(value.shape[dim] for value in values)
    batch = values[0].new_zeros(len(values), *shape)
    for row, value in zip(batch, values, strict=True):
        row[tuple(slice(size) for size in value.shape)] = value
    return batch


def _from_seen(
    model: Model,
    transcoder: Transcoder,
    tokens: Int[Tensor, " pos"],
    seen: dict[str, Tensor],
    logits: Float[Tensor, "pos vocab"],
    mask_bos: bool,
) -> LocalReplacement:
    """The local replacement model of one prompt from what its forward pass showed at `_sites`."""
    config, n, dtype = transcoder.config, model.n_layers, torch.promote_types(model.dtype, torch.float32)
    inputs = [seen[f"blocks.{layer}.{config.input_hook}"] for layer in range(n)]
    outputs = torch.stack([seen[f"blocks.{layer}.{config.output_hook}"] for layer in range(n)])
    features = tuple(_active(transcoder, layer, inputs[layer], mask_bos) for layer in range(n))
    reconstructed = torch.stack([_write_features(transcoder, features, layer, outputs[layer]) for layer in range(n)])
    bias = torch.stack([b.detach().to(outputs) for b in transcoder.b_dec])[:, None].expand_as(outputs)
    skip = torch.stack([skip_output(transcoder, layer, x) for layer, x in enumerate(inputs)])
    errors = outputs - reconstructed - bias - skip
    constants = bias.clone()
    if transcoder.exact:
        _require_rebuilt(model, outputs, errors)
        constants, errors = constants + errors, torch.zeros_like(errors)  # what rounding left
    if mask_bos:
        constants[:, 0] = (outputs - skip)[:, 0]
        errors[:, 0] = 0.0
    embedding = seen["blocks.0.hook_resid_pre"]
    positional = seen["hook_pos_embed"] if "hook_pos_embed" in seen else torch.zeros_like(embedding)
    return LocalReplacement(
        tokens=tokens,
        network=_freeze(model, transcoder, seen, dtype),
        transcoder=transcoder,
        inputs=tuple(inputs),
        features=features,
        token_embeddings=embedding - positional,
        constant_embeddings=positional,
        errors=errors,
        mlp_constants=constants,
        final=seen["ln_final.hook_out"],
        logits=logits,
        mask_bos=mask_bos,
    )


def _require_rebuilt(model: Model, outputs: Tensor, errors: Tensor) -> None:
    """ValueError unless the neurons give what the MLPs wrote, to the model's precision (masked positions aside)."""
    missed = float(errors[:, 1:].norm() / outputs[:, 1:].norm().clamp_min(torch.finfo(outputs.dtype).tiny))
    allowed = torch.finfo(model.dtype).eps ** 0.5
    if missed > allowed:
        raise ValueError(
            f"the MLPs of {model.name} do more than its neurons: rebuilt from them they are off by {missed:.2g} of "
            f"their size (expected at most {allowed:.2g}): give a transcoder, load(model, transcoder)"
        )


def _sites(model: Model, transcoder: Transcoder) -> list[str]:
    """Everything that freezing one prompt needs to see."""
    config = transcoder.config
    per_layer = [
        "attn.hook_pattern",
        "ln1.hook_scale",
        "ln1_post.hook_scale",
        "ln2.hook_scale",
        "ln2_post.hook_scale",
    ]
    per_layer += [config.input_hook, config.output_hook]
    sites = [f"blocks.{layer}.{site}" for layer in range(model.n_layers) for site in per_layer]
    sites += ["blocks.0.hook_resid_pre", "hook_pos_embed", "ln_final.hook_scale", "ln_final.hook_out"]
    return [site for site in sites if site in model.sites]


def _freeze(model: Model, transcoder: Transcoder, seen: dict[str, Tensor], dtype: torch.dtype) -> FrozenNetwork:
    config = transcoder.config

    def frozen(norm: Norm | None, site: str, affine: bool = True) -> FrozenNorm | None:
        if norm is None:
            return None
        gain = norm.gain.to(dtype) if affine else torch.ones_like(norm.gain, dtype=dtype)
        bias = norm.bias.to(dtype) if affine and norm.bias is not None else None
        return FrozenNorm(gain, 1.0 / seen[f"{site}.hook_scale"], bias, norm.centred)

    blocks = []
    for layer in range(model.n_layers):
        weights, at = model.block_weights(layer), f"blocks.{layer}"
        reads_stream = config.input_hook == "hook_resid_mid"
        writes_stream = config.output_hook == "hook_mlp_out"
        ln1 = frozen(weights.ln1, f"{at}.ln1")
        assert ln1 is not None
        blocks.append(
            FrozenBlock(
                ln1=ln1,
                ln1_post=frozen(weights.ln1_post, f"{at}.ln1_post"),
                encoder_norm=None
                if reads_stream
                else frozen(weights.ln2, f"{at}.ln2", affine=config.input_hook == "mlp.hook_in"),
                decoder_norm=None if writes_stream else frozen(weights.ln2_post, f"{at}.ln2_post"),
                pattern=seen[f"{at}.attn.hook_pattern"],
                weights=_cast(weights.attention, dtype),
                parallel=weights.parallel,
            )
        )
    final = frozen(model.final_norm, "ln_final")
    assert final is not None
    return FrozenNetwork(tuple(blocks), final)


def _cast(weights: AttentionWeights, dtype: torch.dtype) -> AttentionWeights:
    def to(value: Tensor | None) -> Tensor | None:
        return None if value is None else value.to(dtype)

    W_V, W_O = to(weights.W_V), to(weights.W_O)
    assert W_V is not None
    assert W_O is not None
    return AttentionWeights(W_V, to(weights.b_V), W_O, to(weights.b_O))


def _active(transcoder: Transcoder, layer: int, x: Float[Tensor, "pos d_model"], mask_bos: bool) -> ActiveFeatures:
    with torch.no_grad():
        pre_activation = transcoder.pre_activations(layer, x.to(transcoder.dtype))
        activation = transcoder.activate(layer, pre_activation)
    if mask_bos:
        activation = activation.clone()
        activation[0] = 0
    pos, feature = activation.nonzero(as_tuple=True)
    return ActiveFeatures(pos, feature, activation[pos, feature].to(x.dtype), pre_activation[pos, feature].to(x.dtype))


def _write_features(
    transcoder: Transcoder,
    features: tuple[ActiveFeatures, ...],
    layer: int,
    like: Float[Tensor, "pos d_model"],
) -> Float[Tensor, "pos d_model"]:
    """Σ_{k≤layer} a^k W_dec^{k→layer}, reading only the decoder rows of active features."""
    total = torch.zeros_like(like)
    for source in range(layer + 1):
        active = features[source]
        rows = transcoder.decoder_rows(source, layer, active.feature)
        if rows is not None:
            total.index_add_(0, active.pos, rows.detach().to(like.dtype) * active.activation[:, None])
    return total


def skip_output(transcoder: Transcoder, layer: int, x: Float[Tensor, "pos d_model"]) -> Float[Tensor, "pos d_model"]:
    """What the skip connection of a layer writes for these inputs, in their precision; zeros where there is none."""
    skip = transcoder.skip(layer, x.to(transcoder.dtype))
    return skip.detach().to(x.dtype) if isinstance(skip, Tensor) else torch.zeros_like(x)
