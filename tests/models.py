"""Small random models of every supported family, random transcoders, and the real weights where they are at hand."""

from pathlib import Path

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    Gemma3TextConfig,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    PreTrainedModel,
    Qwen3Config,
)

from circuitlab.transcoder import Transcoder, TranscoderConfig

STORIES = Path(__file__).resolve().parents[2] / "shared" / "models" / "stories260k"
needs_stories = pytest.mark.skipif(
    not STORIES.is_dir(), reason="the real weights stories260k are not beside this checkout"
)

FAMILIES = ("llama", "gpt2", "gemma2", "gemma3", "qwen3", "neox")
N_LAYERS, D_MODEL, D_VOCAB = 3, 32, 97
PROMPT = [3, 14, 15, 92, 6, 53, 58]
"""Token ids for models that have no tokenizer."""

_COMMON = {
    "vocab_size": D_VOCAB,
    "hidden_size": D_MODEL,
    "intermediate_size": 48,
    "num_hidden_layers": N_LAYERS,
    "num_attention_heads": 4,
    "max_position_embeddings": 32,
}
_GEMMA = {"num_key_value_heads": 2, "head_dim": 8, "sliding_window": 4, "query_pre_attn_scalar": 8}
_CONFIGS = {
    "llama": lambda: LlamaConfig(**_COMMON, num_key_value_heads=2),
    "gpt2": lambda: GPT2Config(
        vocab_size=D_VOCAB,
        n_embd=D_MODEL,
        n_layer=N_LAYERS,
        n_head=4,
        n_positions=32,
        bos_token_id=None,
        eos_token_id=None,
    ),
    "gemma2": lambda: Gemma2Config(**_COMMON, **_GEMMA),
    "gemma3": lambda: Gemma3TextConfig(**_COMMON, **_GEMMA),
    "qwen3": lambda: Qwen3Config(**_COMMON, num_key_value_heads=2, head_dim=8),
    "neox": lambda: GPTNeoXConfig(**_COMMON),
}


def tiny_hf_model(family: str, dtype: torch.dtype = torch.float64, seed: int = 0) -> PreTrainedModel:
    """A random Hugging Face model in which every parameter, biases and norm gains too, is away from its default."""
    torch.manual_seed(seed)
    config = _CONFIGS[family]()
    config._attn_implementation = "eager"
    model = AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return model.to(dtype).eval()


def hooks_of(family: str) -> tuple[str, str]:
    """The usual encoder and decoder hooks; GPT-NeoX has no residual stream between attention and MLP."""
    return ("mlp.hook_in" if family == "neox" else "hook_resid_mid", "hook_mlp_out")


def random_transcoder(
    kind: str = "clt",
    *,
    dtype: torch.dtype = torch.float64,
    seed: int = 1,
    n_layers: int = N_LAYERS,
    d_model: int = D_MODEL,
    n_features: int = 24,
    scale: float = 0.2,
    **options,
) -> Transcoder:
    """A transcoder with random weights and biases; about half of its features are active under ReLU."""
    torch.manual_seed(seed)
    config = TranscoderConfig(kind=kind, n_layers=n_layers, n_features=n_features, d_model=d_model, **options)
    transcoder = Transcoder(config, dtype=dtype)
    with torch.no_grad():
        for parameter in transcoder.parameters():
            parameter.normal_().mul_(scale)
        for threshold in transcoder.threshold or []:
            threshold.abs_()
    return transcoder.requires_grad_(False)
