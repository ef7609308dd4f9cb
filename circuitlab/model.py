"""A language model, wrapped: tokens in, named activations out.

The only module that imports transformer_lens. It loads a Hugging Face causal language model from a hub id, a local
folder or memory, wraps it in TransformerLens 4's TransformerBridge, and offers three things to the rest: tokens and
their display strings, forward passes that capture or edit named hook sites, and the weights of the linear parts
(norm gains, OV maps, unembedding) that attribution needs.

Site names are TransformerLens's, for example `blocks.3.hook_resid_mid`. Nothing a forward pass attaches outlives it.
"""

from __future__ import annotations

import copy
import difflib
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from numbers import Integral
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

SUPPORTED = "Llama, GPT-2, Gemma-2, Gemma-3, Qwen-3 and GPT-NeoX"


@dataclass(frozen=True)
class Norm:
    """A LayerNorm or RMSNorm: y = (x - mean if centred) * gain / scale + bias, `scale` being its hook_scale."""

    gain: Float[Tensor, " d_model"]
    bias: Float[Tensor, " d_model"] | None
    centred: bool


@dataclass(frozen=True)
class AttentionWeights:
    """The value and output maps of one attention layer; query heads share key-value heads in order."""

    W_V: Float[Tensor, "kv_head d_model d_head"]
    b_V: Float[Tensor, "kv_head d_head"] | None
    W_O: Float[Tensor, "head d_head d_model"]
    b_O: Float[Tensor, " d_model"] | None


@dataclass(frozen=True)
class MlpWeights:
    """One MLP: y = h W_out + b_out, h = act(x W_in + b_in), or gated, h = act(x W_gate + b_gate) (x W_in + b_in).

    `act` is the model's own nonlinearity, element by element.
    """

    W_in: Float[Tensor, "d_model d_mlp"]
    b_in: Float[Tensor, " d_mlp"] | None
    W_gate: Float[Tensor, "d_model d_mlp"] | None
    b_gate: Float[Tensor, " d_mlp"] | None
    W_out: Float[Tensor, "d_mlp d_model"]
    b_out: Float[Tensor, " d_model"] | None
    act: Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class BlockWeights:
    """The linear parts of one block. `parallel`: MLP and attention both read the block's input (GPT-NeoX)."""

    ln1: Norm
    ln1_post: Norm | None
    ln2: Norm
    ln2_post: Norm | None
    attention: AttentionWeights
    parallel: bool


class Model:
    """A causal language model behind TransformerLens hooks; make one with `load_model`."""

    def __init__(self, bridge: Any, tokenizer: Any, name: str, words: Sequence[str] = ()) -> None:
        self.bridge = bridge
        self.tokenizer = tokenizer
        self.name = name
        self.words = tuple(words)
        self._running = threading.RLock()
        config = bridge.cfg
        self.n_layers: int = config.n_layers
        self.d_model: int = config.d_model
        self.n_heads: int = config.n_heads
        self.n_ctx: int = config.n_ctx
        self.d_vocab: int = bridge.unembed.original_component.weight.shape[0]

    @property
    def dtype(self) -> torch.dtype:
        return next(self.bridge.parameters()).dtype

    @property
    def device(self) -> torch.device:
        return next(self.bridge.parameters()).device

    def __repr__(self) -> str:
        return (
            f"Model({self.name!r}, {self.n_layers} layers, d_model={self.d_model}, vocabulary {self.d_vocab}, "
            f"{str(self.dtype).removeprefix('torch.')} on {self.device})"
        )

    # ---- tokens ----

    def to_tokens(self, prompt: str | Sequence[int] | Tensor) -> Int[Tensor, " pos"]:
        """Token ids of a prompt, BOS first where the tokenizer has one; ids are taken as given.

        Raises ValueError for an empty prompt, one longer than the context, ids outside the vocabulary, and words that
        the vocabulary lacks.
        """
        ids = self._encode(prompt) if isinstance(prompt, str) else _token_ids(prompt)
        if not ids:
            raise ValueError("the prompt is empty: give at least one word or token id")
        if len(ids) > self.n_ctx:
            raise ValueError(
                f"the prompt has {len(ids)} tokens, but {self.name} reads at most {self.n_ctx}: shorten it"
            )
        outside = [token for token in ids if not 0 <= token < self.d_vocab]
        if outside:
            raise ValueError(
                f"token ids {outside[:5]} are outside the vocabulary of {self.name}: 0 to {self.d_vocab - 1}"
            )
        return torch.tensor(ids, dtype=torch.long, device=self.device)

    def _encode(self, prompt: str) -> list[int]:
        if self.tokenizer is None:
            raise ValueError(
                f"{self.name} has no tokenizer: give token ids instead of text, or load it with tokenizer="
            )
        if not prompt.strip():
            raise ValueError(f"the prompt {prompt!r} is empty: give at least one word or token id")
        if not prompt.isascii() and (broken := [c for c in prompt if "\ud800" <= c <= "\udfff"]):
            raise ValueError(f"the prompt holds {broken[0]!r}, half of a character: it was decoded wrongly; give UTF-8")
        ids = list(self.tokenizer(prompt)["input_ids"])
        bos, eos = self.tokenizer.bos_token_id, self.tokenizer.eos_token_id
        if bos is not None and ids[:1] != [bos]:
            ids = [bos, *ids]
        while bos is not None and ids[1:2] == [bos]:
            ids = ids[1:]
        if eos is not None and eos != bos and ids[-1] == eos and not prompt.rstrip().endswith(self.tokenizer.eos_token):
            ids = ids[:-1]
        if self.tokenizer.unk_token_id in ids[bos is not None :] and self.tokenizer.unk_token not in prompt:
            raise ValueError(self._unknown_words(prompt))
        return ids

    def _unknown_words(self, prompt: str) -> str:
        """What to tell a user whose prompt has words outside the vocabulary: each word and its near misses."""
        unknown = self.tokenizer.unk_token_id
        bare = {token.strip("▁Ġ ") for token in self.tokenizer.get_vocab() if not token.startswith("##")}
        known = sorted(bare | set(self.words))
        complaints = []
        for word in dict.fromkeys(prompt.split()):
            if unknown in self.tokenizer(word, add_special_tokens=False)["input_ids"]:
                close = difflib.get_close_matches(word.strip("\"'.,;:"), known, n=3, cutoff=0.6)
                hint = f" (did you mean {', '.join(map(repr, close))}?)" if close else ""
                complaints.append(f"{word!r}{hint}")
        return (
            f"{self.name} does not know the words {', '.join(complaints) or repr(prompt)}: use words of its vocabulary"
        )

    def token_strings(self, tokens: Iterable[int] | Tensor) -> list[str]:
        """One display string per token, spaces kept: '▁the' and 'Ġthe' give ' the', WordPiece '##las' gives 'las'."""
        ids = [int(token) for token in tokens]
        if self.tokenizer is None:
            return [f"<{token}>" for token in ids]
        pieces = self.tokenizer.convert_ids_to_tokens(ids)
        return [self._display(token, piece) for token, piece in zip(ids, pieces, strict=True)]

    def _display(self, token: int, piece: str | None) -> str:
        if piece is None:
            return f"<{token}>"
        if token in self.tokenizer.all_special_ids:
            return piece
        if self._token_style == "bytes":
            return self.tokenizer.decode([token], clean_up_tokenization_spaces=False)
        if self._token_style == "wordpiece":
            if piece.startswith("##"):
                return piece[2:]
            return f" {piece}"
        if piece.startswith("<0x") and piece.endswith(">"):
            return bytes([int(piece[3:-1], 16)]).decode("utf-8", errors="replace")
        return piece.replace("▁", " ")

    @cached_property
    def _token_style(self) -> str:
        vocabulary = self.tokenizer.get_vocab()
        if any(token.startswith("Ġ") for token in vocabulary):
            return "bytes"
        if any(token.startswith("##") for token in vocabulary):
            return "wordpiece"
        return "sentencepiece"

    # ---- forward passes ----

    def run(
        self,
        tokens: Int[Tensor, "batch pos"],
        capture: Iterable[str] = (),
        edit: Mapping[str, Callable[[Tensor], Tensor]] | None = None,
        **options: Any,
    ) -> tuple[Float[Tensor, "batch pos vocab"], dict[str, Tensor]]:
        """One forward pass: logits and the activations at `capture`, taken after `edit` has had its say.

        `edit` maps a site to a function of its activation that returns the replacement. `options` go to the model:
        `past_key_values=new_cache(), use_cache=True` reads and extends a key-value cache. The hooks are gone when
        this returns or raises, a KeyboardInterrupt included; threads take turns. Gradients are on or off as
        the caller set them.
        """
        captured: dict[str, Tensor] = {}
        hooks: list[tuple[str, Callable]] = []
        for site, function in (edit or {}).items():
            hooks.append((self._site(site), lambda value, hook, function=function: function(value)))
        for site in capture:
            hooks.append((self._site(site), lambda value, hook, site=site: captured.__setitem__(site, value)))
        with self._running, warnings.catch_warnings():
            # TransformerLens warns when a norm's hooks carry edits; the edits are ours and meant.
            warnings.filterwarnings("ignore", message=r"A forward hook edited hook_scale")
            with self.bridge.hooks(fwd_hooks=hooks):
                logits = self.bridge(tokens, **options)
        return logits, captured

    def new_cache(self) -> Any:
        """An empty key-value cache for `run(..., past_key_values=cache, use_cache=True)`."""
        from transformers import DynamicCache

        return DynamicCache(config=self.bridge.original_model.config)

    def unembed(self, final: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch vocab"]:
        """Logits of a final normed stream (`ln_final.hook_out`), soft-capped where the family does so."""
        logits = final @ self.W_U.to(final.dtype)
        if self.b_U is not None:
            logits = logits + self.b_U.to(final.dtype)
        cap = getattr(self.bridge.cfg, "output_logits_soft_cap", None) or 0.0
        return cap * torch.tanh(logits / cap) if cap > 0 else logits

    def _site(self, site: str) -> str:
        if site not in self.sites:
            close = difflib.get_close_matches(site, self.sites, n=3, cutoff=0.4)
            raise ValueError(f"{self.name} has no hook site {site!r}; near it: {', '.join(close)}")
        return site

    @cached_property
    def sites(self) -> frozenset[str]:
        """Names of all hook sites."""
        return frozenset(self.bridge.hook_dict)

    def capture(
        self, tokens: Int[Tensor, "batch pos"], sites: Iterable[str]
    ) -> tuple[Float[Tensor, "batch pos vocab"], dict[str, Tensor]]:
        """Logits and activations of a plain forward pass, without gradients."""
        with torch.no_grad():
            return self.run(tokens, capture=sites)

    def logits(self, tokens: Int[Tensor, "batch pos"]) -> Float[Tensor, "batch pos vocab"]:
        """Logits of a plain forward pass, without gradients."""
        return self.capture(tokens, ())[0]

    # ---- weights of the linear parts ----

    def block_weights(self, layer: int) -> BlockWeights:
        """The frozen-network weights of one block, in the shapes of the dataclasses above."""
        block = self.bridge.blocks[layer]
        return BlockWeights(
            ln1=_norm(block.ln1),
            ln1_post=_norm(block.ln1_post) if hasattr(block, "ln1_post") else None,
            ln2=_norm(block.ln2),
            ln2_post=_norm(block.ln2_post) if hasattr(block, "ln2_post") else None,
            attention=self._attention_weights(block.attn),
            parallel=f"blocks.{layer}.hook_resid_mid" not in self.sites,
        )

    def mlp_weights(self, layer: int) -> MlpWeights:
        """The weights of one MLP; ValueError where it is not one of plain or gated neurons (experts, fused weights)."""
        mlp = self.bridge.blocks[layer].mlp
        own = getattr(mlp, "original_component", mlp)
        act = next((module for name, module in own.named_children() if name in ("act", "act_fn")), None)
        missing = [part for part in ("in", "out") if not hasattr(mlp, part)] + ([] if act else ["activation"])
        if missing or act is None:
            raise ValueError(
                f"{self.name}: the MLP of layer {layer} is a {type(own).__name__} without {' and '.join(missing)}, so "
                "its neurons cannot be traced: give a transcoder, load(model, transcoder)"
            )
        W_in, b_in = _linear(getattr(mlp, "in"))
        W_out, b_out = _linear(mlp.out)
        W_gate, b_gate = _linear(mlp.gate) if hasattr(mlp, "gate") else (None, None)
        return MlpWeights(W_in, b_in, W_gate, b_gate, W_out, b_out, act)

    def _attention_weights(self, attention: Any) -> AttentionWeights:
        value, value_bias = _linear(attention.v)
        output, output_bias = _linear(attention.o)
        d_head = output.shape[0] // self.n_heads
        kv_heads = value.shape[1] // d_head
        return AttentionWeights(
            W_V=value.view(self.d_model, kv_heads, d_head).transpose(0, 1),
            b_V=None if value_bias is None else value_bias.view(kv_heads, d_head),
            W_O=output.view(self.n_heads, d_head, self.d_model),
            b_O=output_bias,
        )

    @property
    def final_norm(self) -> Norm:
        return _norm(self.bridge.ln_final)

    @property
    def W_U(self) -> Float[Tensor, "d_model vocab"]:
        return _linear(self.bridge.unembed)[0]

    @property
    def b_U(self) -> Float[Tensor, " vocab"] | None:
        return _linear(self.bridge.unembed)[1]


def _token_ids(prompt: Any) -> list[int]:
    """Token ids given as numbers: a list, an array or a tensor of one row; anything else is refused."""
    if isinstance(prompt, bytes | bytearray | Mapping) or not isinstance(prompt, Iterable):
        raise ValueError(f"a prompt is text or a list of token ids, not {type(prompt).__name__}")
    if isinstance(prompt, Tensor) and prompt.numel() != prompt.shape[-1:].numel():
        raise ValueError(f"token ids have shape {list(prompt.shape)}; expected one prompt: [positions]")
    values = prompt.flatten().tolist() if isinstance(prompt, Tensor) else list(prompt)
    if any(isinstance(value, bool) or not isinstance(value, Integral) for value in values):
        raise ValueError(f"token ids must be integers, not {values[:5]!r}…")
    return [int(value) for value in values]


def _norm(bridge: Any) -> Norm:
    module = bridge.original_component
    gain = 1.0 + module.weight if bridge.uses_weight_offset else module.weight
    bias = None if bridge.uses_rms_norm else getattr(module, "bias", None)
    return Norm(gain.detach(), None if bias is None else bias.detach(), centred=not bridge.uses_rms_norm)


def _linear(bridge: Any) -> tuple[Float[Tensor, "input output"], Tensor | None]:
    """Weight (input first) and bias of a wrapped nn.Linear or of GPT-2's Conv1D, which keeps its weight transposed."""
    module = bridge.original_component
    weight = module.weight.detach()
    bias = getattr(module, "bias", None)
    return weight.T if isinstance(module, nn.Linear) else weight, None if bias is None else bias.detach()


# ---- loading ----


def load_model(
    source: str | Path | nn.Module,
    tokenizer: Any = None,
    device: str | torch.device | None = None,
    dtype: torch.dtype | None = None,
    revision: str | None = None,
) -> Model:
    """A Model from a local folder (never touching the network), a hub id, or a Hugging Face model in memory.

    A model in memory is copied, since TransformerLens rewires what it wraps. `device` defaults to CUDA, else MPS, else
    the CPU; `dtype` to float32, or to what a model in memory has. Raises FileNotFoundError for a folder that is not
    there, ValueError for an architecture that cannot be traced, weights that are not finite and a device that this
    machine lacks.
    """
    device = _usable(device or best_device())
    if isinstance(source, nn.Module):
        name = getattr(source.config, "name_or_path", "") or type(source).__name__
        hf_model, words = copy.deepcopy(source), []
        hf_model.to(device=device, dtype=dtype)
    else:
        name = str(source)
        if revision is None and "/" in name and not Path(name).expanduser().exists():
            name, _, revision = name.partition("@")
        hf_model, tokenizer, words = _from_pretrained(name, tokenizer, dtype or torch.float32, revision or None)
        hf_model.to(device)
    hf_model.eval().requires_grad_(False)
    _require_finite(hf_model, name)
    bridge = _bridge(hf_model, name)
    if next(hf_model.parameters()).dtype == torch.float64:
        _norms_in_float64(bridge)
    return Model(bridge, tokenizer, name, words)


def best_device() -> str:
    """CUDA, else MPS, else the CPU."""
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def _usable(device: str | torch.device) -> torch.device:
    """The device, or ValueError where this machine cannot compute on it."""
    try:
        found = torch.device(device)
        torch.zeros(1, device=found).item()
    except (RuntimeError, AssertionError) as error:
        reason = str(error).partition("\n")[0]
        raise ValueError(f"device={str(device)!r} cannot be used ({reason}): here {best_device()!r} can") from error
    return found


def _from_pretrained(name: str, tokenizer: Any, dtype: torch.dtype, revision: str | None) -> tuple[Any, Any, list[str]]:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = Path(name).expanduser()
    local = folder.is_dir()
    if not local and (name.count("/") != 1 or name.startswith((".", "/", "~"))) and "/" in name:
        raise FileNotFoundError(
            f"there is no folder {name!r}; give a folder with a config.json, or a hub id owner/name"
        )
    if local and not (folder / "config.json").is_file():
        raise FileNotFoundError(f"the folder {name!r} has no config.json, so it is no Hugging Face model")
    where: dict[str, Any] = {"local_files_only": True} if local else {"revision": revision}
    source = str(folder) if local else name
    try:
        with _without_progress_bar() if local else nullcontext():
            hf_model = AutoModelForCausalLM.from_pretrained(source, dtype=dtype, attn_implementation="eager", **where)
    except OSError as error:
        if local:
            raise
        reason = str(error).strip().partition("\n")[0]
        raise FileNotFoundError(
            f"{name} is no folder and cannot be fetched from the hub ({reason}). "
            f"Without a network: on a machine with one run `hf download {name} --local-dir FOLDER` and copy FOLDER"
        ) from error
    if tokenizer is None:
        try:
            tokenizer = AutoTokenizer.from_pretrained(source, **where)
        except (OSError, ValueError) as error:
            warnings.warn(
                f"{name} has no tokenizer that can be read ({error}): prompts must be token ids", stacklevel=4
            )
    words = (folder / "words.txt").read_text("utf-8").split() if local and (folder / "words.txt").is_file() else []
    return hf_model, tokenizer, words


@contextmanager
def _without_progress_bar() -> Iterator[None]:
    """Reading a folder takes a moment: no bar for it; those of downloads stay."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def _require_finite(hf_model: nn.Module, name: str) -> None:
    for path, parameter in hf_model.named_parameters():
        if not bool(torch.isfinite(parameter).all()):
            raise ValueError(
                f"{name}: the weight {path} holds NaN or infinite numbers; the file is damaged or was saved from a "
                "diverged run: load another copy"
            )


def _norms_in_float64(bridge: Any) -> None:
    """Hugging Face's RMSNorm rounds to float32 inside; TransformerLens's own arithmetic keeps float64 throughout."""
    for module in bridge.modules():
        if hasattr(module, "hook_scale") and hasattr(module, "use_native_layernorm_autograd"):
            module.use_native_layernorm_autograd = False


def _bridge(hf_model: Any, name: str) -> Any:
    """TransformerBridge around a Hugging Face model that nobody else uses; eager attention, so patterns can be seen."""
    from transformer_lens.model_bridge.sources import build_bridge_from_module

    hf_model.set_attn_implementation("eager")
    architecture = type(hf_model).__name__
    try:
        bridge = build_bridge_from_module(hf_model, architecture, hf_config=hf_model.config, model_name=name)
    except (ValueError, KeyError, AttributeError) as error:
        raise ValueError(f"{name} is a {architecture}, which TransformerLens cannot wrap ({error})") from error
    missing = [part for part in ("attn", "ln1", "ln2", "mlp") if not hasattr(bridge.blocks[0], part)]
    missing += [part for part in ("v", "o") if not hasattr(getattr(bridge.blocks[0], "attn", None), part)]
    for option in ("residual_multiplier", "logits_scaling", "logit_scale"):
        if (factor := getattr(hf_model.config, option, None)) not in (None, 1, 1.0):
            raise ValueError(
                f"{name} is a {architecture} with {option} = {factor}, which attribution does not follow: it cannot "
                f"be traced. Families that can: {SUPPORTED}"
            )
    missing += [
        f"weights in {part}"
        for part in ("ln1", "ln2")
        if part not in missing and getattr(getattr(bridge.blocks[0], part).original_component, "weight", None) is None
    ]
    if missing:
        raise ValueError(
            f"{name} is a {architecture}, whose blocks have no {', '.join(missing)}: it cannot be traced. "
            f"Families that can: {SUPPORTED}"
        )
    return bridge
