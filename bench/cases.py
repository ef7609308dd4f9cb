"""The models, transcoders and prompts that both programs are measured on, as folders that both can read.

    plt      8 layers, width 256, 16 tokens, about 7,000 active features; one transcoder per layer
    clt      the same model and prompt with a cross-layer transcoder of the same size
    stories  the pretrained stories260k weights with a CLT (a random one, or a folder given by path)

Each case is a folder: model/ (Hugging Face's layout), transcoder/ (circuit-tracer's layout, see its
config.yaml), case.json (name, folders, token ids). Weights are random but seeded. Thresholds are set from
the model's own activations, so that the wanted number of features fires, and lie in the middle of a gap
between two pre-activations, so that rounding cannot make a feature fire in one program and not in the
other.

Features read `hook_resid_mid` and write `hook_mlp_out`. Both sites are the plain residual stream: neither
depends on whether a program folds norm weights into the matrices behind them, so both programs see the same
numbers.
"""

import json
from functools import partial
from pathlib import Path

import torch
import yaml
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

STORY = "Once upon a time, there was a little girl named Lily. She loved"


def random_cases(root: Path, seed: int = 0) -> list[Path]:
    """The folders of `plt` and `clt` under `root`; they share one random model."""
    model_folder = root / "model"
    model = _random_llama(model_folder, seed)
    generator = torch.Generator().manual_seed(seed + 1)
    tokens = [1, *torch.randint(3, model.config.vocab_size, (15,), generator=generator).tolist()]
    folders = []
    for kind in ("plt", "clt"):
        transcoder = root / kind / "transcoder"
        _random_transcoder(transcoder, kind, model, tokens, n_features=2048, active_per_token=58, seed=seed + 2)
        folders.append(_write_case(root / kind, kind, model_folder, transcoder, tokens))
    return folders


def stories_case(root: Path, model_folder: Path, transcoder: Path | None = None, seed: int = 0) -> Path:
    """The folder of `stories` under `root`: these weights, and this transcoder or a random one."""
    tokens = Tokenizer.from_file(str(model_folder / "tokenizer.json")).encode(STORY, add_special_tokens=False).ids
    tokens = tokens if tokens[0] == 1 else [1, *tokens]
    if transcoder is None:
        transcoder = root / "stories" / "transcoder"
        model = AutoModelForCausalLM.from_pretrained(model_folder, local_files_only=True)
        _random_transcoder(transcoder, "clt", model, tokens, n_features=1024, active_per_token=24, seed=seed)
    return _write_case(root / "stories", "stories", model_folder, transcoder, tokens)


def _write_case(folder: Path, name: str, model: Path, transcoder: Path, tokens: list[int]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    case = {"name": name, "model": str(model), "transcoder": str(transcoder), "tokens": tokens}
    (folder / "case.json").write_text(json.dumps(case, indent=1))
    return folder


def _random_llama(folder: Path, seed: int) -> LlamaForCausalLM:
    """A Llama with grouped queries (8 heads, 4 key-value heads of 32) and norm weights away from 1."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=2048, hidden_size=256, intermediate_size=688, num_hidden_layers=8, num_attention_heads=8,
        num_key_value_heads=4, max_position_embeddings=128, rms_norm_eps=1e-5, initializer_range=0.05,
        bos_token_id=1, eos_token_id=2, pad_token_id=0, tie_word_embeddings=False,
    )  # fmt: skip
    model = LlamaForCausalLM(config).eval()
    for name, weight in model.named_parameters():
        if "norm" in name:
            torch.nn.init.uniform_(weight, 0.5, 1.5)
    model.save_pretrained(folder)
    words = {word: i for i, word in enumerate(["<pad>", "<s>", "</s>", *(f"w{i}" for i in range(3, 2048))])}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<pad>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.add_special_tokens(["<pad>", "<s>", "</s>"])
    tokenizer.save(str(folder / "tokenizer.json"))
    special = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}
    special["tokenizer_class"] = "PreTrainedTokenizerFast"
    (folder / "tokenizer_config.json").write_text(json.dumps(special))
    return model


@torch.no_grad()
def _residuals(model: torch.nn.Module, tokens: list[int]) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """(MLP inputs before the norm, MLP outputs), a [pos, d_model] per layer each, without position 0."""
    inputs, outputs = {}, {}

    def keep(store, layer, _module, seen, result=None):
        store[layer] = (seen[0] if result is None else result)[0, 1:]

    handles = []
    for i, layer in enumerate(model.model.layers):
        handles.append(layer.post_attention_layernorm.register_forward_pre_hook(partial(keep, inputs, i)))
        handles.append(layer.mlp.register_forward_hook(partial(keep, outputs, i)))
    model(torch.tensor([tokens]))
    for handle in handles:
        handle.remove()
    return [inputs[i] for i in sorted(inputs)], [outputs[i] for i in sorted(outputs)]


def _random_transcoder(
    folder: Path,
    kind: str,
    model: torch.nn.Module,
    tokens: list[int],
    n_features: int,
    active_per_token: int,
    seed: int,
) -> None:
    """Write a JumpReLU transcoder whose reconstruction is about as large as the MLP outputs."""
    generator = torch.Generator().manual_seed(seed)
    inputs, outputs = _residuals(model, tokens)
    n_layers, (n_pos, d_model) = len(inputs), inputs[0].shape
    size = torch.stack([output.norm(dim=-1).mean() for output in outputs])
    folder.mkdir(parents=True, exist_ok=True)
    for i, x in enumerate(inputs):
        w_enc = torch.randn(n_features, d_model, generator=generator) / d_model**0.5
        pre = x @ w_enc.T
        b_enc = 0.1 * pre.std() * torch.randn(n_features, generator=generator)
        pre = (pre + b_enc).flatten().sort(descending=True).values
        cut, mean = _gap(pre, active_per_token * n_pos)
        n_out = n_layers - i if kind == "clt" else 1
        w_dec = torch.randn(n_features, n_out, d_model, generator=generator) / d_model**0.5
        sources = 1 + torch.arange(i, i + n_out) if kind == "clt" else torch.ones(1)
        w_dec *= (size[i : i + n_out] / (mean * (active_per_token * sources) ** 0.5))[:, None]
        b_dec = 0.1 * size[i] / d_model**0.5 * torch.randn(d_model, generator=generator)
        _write_layer(folder, kind, i, w_enc, b_enc, w_dec, b_dec, torch.full((n_features,), cut))
    config = {
        "model_name": model.config.model_type,
        "model_kind": {"plt": "transcoder_set", "clt": "cross_layer_transcoder"}[kind],
        "feature_input_hook": "hook_resid_mid",
        "feature_output_hook": "hook_mlp_out",
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config))


def _gap(descending: torch.Tensor, rank: int) -> tuple[float, float]:
    """The middle of the widest gap near `rank` in sorted values, and the mean of the values above it."""
    low = max(1, rank - 20)
    gaps = descending[low - 1 : rank + 20] - descending[low : rank + 21]
    cut = low + int(gaps.argmax())
    return float(descending[cut - 1] + descending[cut]) / 2, float(descending[:cut].mean())


def _write_layer(folder: Path, kind: str, i: int, w_enc, b_enc, w_dec, b_dec, threshold) -> None:
    if kind == "plt":
        tensors = {"W_enc": w_enc, "b_enc": b_enc, "W_dec": w_dec[:, 0].contiguous(), "b_dec": b_dec}
        save_file({**tensors, "activation_function.threshold": threshold}, folder / f"layer_{i}.safetensors")
        return
    tensors = {f"W_enc_{i}": w_enc, f"b_enc_{i}": b_enc, f"b_dec_{i}": b_dec, f"threshold_{i}": threshold}
    save_file(tensors, folder / f"W_enc_{i}.safetensors")
    save_file({f"W_dec_{i}": w_dec}, folder / f"W_dec_{i}.safetensors")
