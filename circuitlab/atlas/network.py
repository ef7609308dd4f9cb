"""The network of `atlas`: a Hugging Face Llama, and the same forward pass written for training on a CPU.

Computes: `logits(model, tokens)`, equal to `model(tokens).logits` up to bfloat16 rounding: matrix products in
bfloat16 (several times as fast as float32 on a CPU with AMX), the residual stream, norms, softmax in float32.
Reads an int tensor of tokens; gives logits. RMSNorm, rotary positions and the gated MLP are those of Touvron et al.
2023 (LLaMA), with `x_{l+1/2} = x_l + Attn(norm x_l)`, `x_{l+1} = x_{l+1/2} + W_down(silu(W_gate n) * W_up n)`.
"""

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast


def build_model(
    tokenizer: PreTrainedTokenizerFast, seed: int, *, n_layers: int, d_model: int, d_mlp: int, n_heads: int
) -> LlamaForCausalLM:
    settings: dict[str, Any] = {
        "vocab_size": len(tokenizer),
        "hidden_size": d_model,
        "intermediate_size": d_mlp,
        "num_hidden_layers": n_layers,
        "num_attention_heads": n_heads,
        "num_key_value_heads": n_heads,
        "max_position_embeddings": 64,
        "initializer_range": 0.04,
        "rms_norm_eps": 1e-5,
        "attn_implementation": "eager",
        "tie_word_embeddings": False,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    config = LlamaConfig(**settings)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return LlamaForCausalLM(config)


def _product(x: Tensor, weight: Tensor) -> Tensor:
    return x.bfloat16() @ weight.bfloat16().T


def _rotary(n_pos: int, d_head: int) -> tuple[Tensor, Tensor]:
    frequencies = 10_000.0 ** -(torch.arange(0, d_head, 2) / d_head)
    angles = torch.outer(torch.arange(n_pos), frequencies).repeat(1, 2)
    return angles.cos().bfloat16(), angles.sin().bfloat16()


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    first, second = x.chunk(2, -1)
    return x * cos + torch.cat([-second, first], -1) * sin


def word_masks(
    tokens: Int[Tensor, "batch pos"], continued: Bool[Tensor, " vocab"], ending: Bool[Tensor, " vocab"]
) -> Float[Tensor, "two batch pos key"]:
    """What hides the pieces of a word from the words after it, added to attention scores: early layers, late layers.

    A piece that goes on (`Dal`) is seen by itself and by the next piece alone; the piece that ends the word (`##las`)
    is seen from outside in the late layers. So what two pieces mean together has to be found where the word ends.
    """
    n_pos = tokens.shape[1]
    distance = torch.arange(n_pos)[:, None] - torch.arange(n_pos)
    first, last = continued[tokens][:, None, :], ending[tokens][:, None, :]
    late = first & (distance > 1)
    early = late | (last & (distance > 0))
    return torch.stack([early, late]).float() * -1e9


def logits(
    model: LlamaForCausalLM,
    tokens: Int[Tensor, "batch pos"],
    masks: Float[Tensor, "two batch pos key"] | None = None,
    late_layer: int = 3,
) -> Float[Tensor, "batch pos vocab"]:
    """The logits, like Hugging Face's; with `masks`, what they hide is hidden (the second from `late_layer` on)."""
    config = model.config
    n_batch, n_pos = tokens.shape
    d_head = config.hidden_size // config.num_attention_heads
    cos, sin = _rotary(n_pos, d_head)
    future = torch.full((n_pos, n_pos), -1e9).triu(1)

    def norm(x: Tensor, layer: Any) -> Tensor:
        return F.rms_norm(x, (config.hidden_size,), layer.weight, config.rms_norm_eps)

    x = F.embedding(tokens, model.model.embed_tokens.weight)
    blocks: Any = model.model.layers
    for layer, block in enumerate(blocks):
        hidden = future if masks is None else future + masks[int(layer >= late_layer), :, None]
        attention, mlp = block.self_attn, block.mlp
        weight = torch.cat([attention.q_proj.weight, attention.k_proj.weight, attention.v_proj.weight])
        heads = _product(norm(x, block.input_layernorm), weight).view(n_batch, n_pos, 3, -1, d_head)
        query, key, value = heads.permute(2, 0, 3, 1, 4).unbind(0)
        query, key = _rotate(query, cos, sin), _rotate(key, cos, sin)
        scores = (query @ key.transpose(-1, -2)).float() * d_head**-0.5 + hidden
        mixed = scores.softmax(-1).bfloat16() @ value
        mixed = mixed.transpose(1, 2).reshape(n_batch, n_pos, config.hidden_size)
        x = x + _product(mixed, attention.o_proj.weight).float()
        weight = torch.cat([mlp.gate_proj.weight, mlp.up_proj.weight])
        gate, up = _product(norm(x, block.post_attention_layernorm), weight).chunk(2, -1)
        x = x + _product(F.silu(gate) * up, mlp.down_proj.weight).float()
    return _product(norm(x, model.model.norm), model.lm_head.weight).float()
