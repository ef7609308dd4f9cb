"""The features of a model's transcoder: `model.features["L3/55"]` is what is known of one of them.

From the weights alone, for feature f of layer l with decoders w_j into layers l + j:

    logit weights      W_U^T gain ⊙ Σ_j w_j, less their mean over the vocabulary (the final norm's scale left out)
    virtual weights    ⟨Σ_{l+j<l'} w_j, e'⟩ to a feature of layer l' > l with encoder e': what one unit adds to its
                       pre-activation through the residual stream at the same position, attention left out

with the gains of the norms that stand between (before encoders that read a normed stream, after MLPs that have one).
From the texts shown (`show_texts`; atlas comes with some hundred): examples, activation histogram, density.

Source: Ameisen et al. 2025, "Circuit Tracing", sections "Feature visualizations" and "Global weights";
https://transformer-circuits.pub/2025/attribution-graphs/methods.html
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from functools import cached_property
from numbers import Integral
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from circuitlab.evidence import (
    Evidence,
    Example,
    Histogram,
    Neighbour,
    TokenActivations,
    TokenWeight,
    in_quantiles,
    parse_name,
)
from circuitlab.model import Model, Norm
from circuitlab.texts import ShownTexts, show, token_activations
from circuitlab.transcoder import Transcoder

if TYPE_CHECKING:
    from circuitlab.replacement import ReplacementModel

N_TOKENS = 12
N_NEIGHBOURS = 14
KEPT = 256


class Features:
    """The features of a replacement model, by layer and index or by name; each is an `Evidence`.

        model.features["L3/55"]           # or model.features[3, 55]
        model.features.live("fact : the capital of Texas is", 3, 55)
        model.features.show_texts(["…"])  # examples from your own texts

    `labels` names features: {"L3/55": "Texas"}.
    """

    def __init__(self, model: ReplacementModel, texts: Sequence[str | Sequence[int]] | None = None) -> None:
        self.model, self.transcoder, self.labels = model.model, model.transcoder, dict(model.labels)
        self._replacement = model
        self._texts = None if texts is None else list(texts)
        self._kept: dict[tuple[int, int], Evidence] = {}
        self._strings: dict[int, str] = {}

    def __repr__(self) -> str:
        config = self.transcoder.config
        texts = "no texts" if self._texts == [] else "texts" if self._texts is None else f"{len(self._texts)} texts"
        return f"Features({config.n_layers} layers x {config.n_features}, {len(self.labels)} labels, {texts})"

    def __len__(self) -> int:
        return self.transcoder.config.n_layers * self.transcoder.config.n_features

    def __iter__(self) -> Iterator[str]:
        """The names of all features."""
        for layer in range(self.transcoder.config.n_layers):
            yield from (f"L{layer}/{index}" for index in range(self.transcoder.config.n_features))

    def __getitem__(self, key: Any) -> Evidence:
        """What is known of a feature, named "L3/55" or [3, 55]. Raises ValueError with the valid range."""
        layer, index = self.locate(key)
        if (layer, index) not in self._kept:
            if len(self._kept) >= KEPT:
                self._kept.pop(next(iter(self._kept)))
            self._kept[layer, index] = self._evidence(layer, index)
        return self._kept[layer, index]

    def locate(self, key: Any) -> tuple[int, int]:
        """Layer and index of a feature; ValueError for what is no feature, with the valid range."""
        config = self.transcoder.config
        valid = f"features are L0/0 to L{config.n_layers - 1}/{config.n_features - 1}"
        place = parse_name(key) if isinstance(key, str) else key
        if isinstance(key, str) and place is None:
            raise ValueError(f"{key!r} names no feature; {self._near(key)}{valid}")
        if not (isinstance(place, tuple) and len(place) == 2 and all(map(_is_integer, place))):
            raise ValueError(f"{key!r} names no feature: write features['L3/55'] or features[3, 55]; {valid}")
        layer, index = map(int, place)
        if not 0 <= layer < config.n_layers:
            raise ValueError(f"there is no layer {layer}: layers are 0 to {config.n_layers - 1}")
        if not 0 <= index < config.n_features:
            raise ValueError(f"layer {layer} has no feature {index}: its features are 0 to {config.n_features - 1}")
        return layer, index

    def _near(self, text: str) -> str:
        close = difflib.get_close_matches(text, self.labels.values(), n=1, cutoff=0.7)
        if not close:
            return ""
        name = next(name for name, label in self.labels.items() if label == close[0])
        return f"{name} is labelled {close[0]!r}; "

    # ---- texts ----

    def show_texts(self, texts: Sequence[str | Sequence[int]]) -> Features:
        """Take examples, histograms and densities from these texts from now on; gives this object back."""
        shown = show(self.model, self.transcoder, texts)
        self._texts = list(texts)
        self.__dict__["shown"] = shown
        self._kept.clear()
        return self

    def with_texts(self, texts: Sequence[str | Sequence[int]]) -> Features:
        """The same features, with examples from these texts."""
        return Features(self._replacement, texts).show_texts(texts)

    @cached_property
    def shown(self) -> ShownTexts | None:
        """All activations on the texts, from one pass over them; None where there are no texts."""
        if self._texts is None:
            self._texts = _bundled_texts(self.model)
        return show(self.model, self.transcoder, self._texts) if self._texts else None

    def live(self, text: str | Sequence[int], layer: int, index: int) -> TokenActivations:
        """A feature's activation at every token of a text, run now. ValueError for a text the model cannot read."""
        layer, index = self.locate((layer, index))
        tokens = self.model.to_tokens(text)
        activations = token_activations(self.model, self.transcoder, tokens, layer, index)
        weights = logit_weights(self.model, self.transcoder, layer, index)[tokens]
        return TokenActivations(
            self._token_strings(tokens.tolist()), tuple(activations.tolist()), tuple(weights.tolist())
        )

    # ---- evidence ----

    def _token_strings(self, ids: Sequence[int]) -> tuple[str, ...]:
        """Display strings, each made once: some tokenizers take long over it."""
        new = [token for token in dict.fromkeys(ids) if token not in self._strings]
        self._strings.update(zip(new, self.model.token_strings(new), strict=True))
        return tuple(self._strings[token] for token in ids)

    def _evidence(self, layer: int, index: int) -> Evidence:
        name = f"L{layer}/{index}"
        weights = logit_weights(self.model, self.transcoder, layer, index)
        parts: dict[str, Any] = {
            "promoted": self._tokens(weights, largest=True),
            "suppressed": self._tokens(weights, largest=False),
            "logit_histogram": Histogram.of(weights.cpu().numpy()),
            "reads_from": self._neighbours(reads_from(self.model, self.transcoder, layer, index), 0),
            "writes_to": self._neighbours(writes_to(self.model, self.transcoder, layer, index), layer + 1),
        }
        missing = {}
        if layer == 0:
            missing["reads_from"] = "A feature of the first layer reads from tokens and attention alone."
        if layer == self.transcoder.config.n_layers - 1:
            missing["writes_to"] = "A feature of the last layer writes to the logits alone."
        sources = {part: "weights" for part, value in parts.items() if value}
        seen, unseen, note = self._from_texts(layer, index, weights)
        sources |= dict.fromkeys(seen.keys() - {"largest"}, "prompt")
        return Evidence(
            layer,
            index,
            self.labels.get(name, ""),
            **parts,
            **seen,
            sources=sources,
            missing=missing | unseen,
            note=note,
        )

    def _from_texts(
        self, layer: int, index: int, weights: Float[Tensor, " vocab"]
    ) -> tuple[dict[str, Any], dict[str, str], str]:
        """The parts that texts give, what they do not, and the sentence that says where they are from."""
        shown = self.shown
        if shown is None:
            sentence = "No evidence harvested yet, and no texts shown: model.features.show_texts([…]) gives examples."
            return {}, dict.fromkeys(("examples", "activation_histogram", "density"), sentence), sentence
        counted = f"{len(shown):,} short text" + ("s" if len(shown) != 1 else "")
        note = f"No evidence harvested yet: examples come from {counted}."
        rows = shown.activations(layer, index)
        hits = shown.layers[layer].of(index).activation
        parts: dict[str, Any] = {"density": len(hits) / max(shown.n_tokens, 1)}
        if not rows:
            sentence = f"Active on none of the {counted} shown."
            return parts, dict.fromkeys(("examples", "activation_histogram"), sentence), note
        examples = []
        for text, activations in rows.items():
            ids = shown.tokens[text]
            strings = self._token_strings(ids)
            along = tuple(weights[ids].tolist())
            examples.append(
                Example(strings, tuple(activations.tolist()), int(activations.argmax()), logit_weights=along)
            )
        parts |= {
            "examples": in_quantiles(examples),
            "activation_histogram": Histogram.of(hits, low=0.0),
            "largest": float(hits.max()),
        }
        return parts, {}, note

    def _tokens(self, weights: Float[Tensor, " vocab"], largest: bool) -> tuple[TokenWeight, ...]:
        top = weights.topk(min(N_TOKENS, len(weights)), largest=largest)
        strings = self._token_strings(top.indices.tolist())
        return tuple(TokenWeight(token, weight) for token, weight in zip(strings, top.values.tolist(), strict=True))

    def _neighbours(self, by_layer: list[Float[Tensor, " feat"]], first: int) -> tuple[Neighbour, ...]:
        """The features with the largest |weight|; `by_layer` begins with layer `first`."""
        if not by_layer:
            return ()
        flat = torch.cat(by_layer)
        top = flat.abs().topk(min(N_NEIGHBOURS, len(flat))).indices.tolist()
        found = []
        for place in top:
            step, index = divmod(place, self.transcoder.config.n_features)
            name = f"L{first + step}/{index}"
            found.append(Neighbour(first + step, index, float(flat[place]), self.labels.get(name, "")))
        return tuple(found)


def _is_integer(value: Any) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


def _bundled_texts(model: Model) -> list[str]:
    if model.name != "atlas":
        return []
    from circuitlab.atlas.examples import example_texts

    return example_texts()


# ---- from the weights ----


def logit_weights(model: Model, transcoder: Transcoder, layer: int, index: int | slice) -> Float[Tensor, "*feat vocab"]:
    """What a unit of a feature adds to the logits through its decoders alone, less the mean over the vocabulary.

    A slice of features gives one row each.
    """
    written = torch.stack(_written(model, transcoder, layer, index)).sum(0)
    weights = _through(model.final_norm, written) @ model.W_U.to(written.dtype)
    return weights - weights.mean(-1, keepdim=True)


def writes_to(model: Model, transcoder: Transcoder, layer: int, index: int) -> list[Float[Tensor, " feat"]]:
    """The virtual weights to all features of layers `layer + 1`, …; one tensor per layer."""
    written = _written(model, transcoder, layer, index)
    weights = []
    for reader in range(layer + 1, transcoder.config.n_layers):
        stream = torch.stack(written[: reader - layer]).sum(0)
        weights.append(transcoder.W_enc[reader].detach() @ _through(_encoder_norm(model, transcoder, reader), stream))
    return weights


def reads_from(model: Model, transcoder: Transcoder, layer: int, index: int) -> list[Float[Tensor, " feat"]]:
    """The virtual weights from all features of layers 0, …, `layer - 1`, one tensor per layer; reads all decoders."""
    read = _fold(_encoder_norm(model, transcoder, layer), transcoder.W_enc[layer].detach()[index])
    folded = [_fold(_decoder_norm(model, transcoder, target), read) for target in range(layer)]
    weights = []
    for source in range(layer):
        decoders = transcoder.W_dec[source].detach()
        n_outputs = min(transcoder.config.n_outputs(source), layer - source)
        weights.append(
            sum((decoders[:, j] @ folded[source + j] for j in range(1, n_outputs)), decoders[:, 0] @ folded[source])
        )
    return weights


def _written(
    model: Model, transcoder: Transcoder, layer: int, index: int | slice
) -> list[Float[Tensor, "*feat d_model"]]:
    """What a unit of a feature (or of each of a slice) adds to the residual stream at each layer it writes to."""
    rows = transcoder.W_dec[layer].detach()[index].unbind(-2)
    return [_through(_decoder_norm(model, transcoder, layer + j), row) for j, row in enumerate(rows)]


def _encoder_norm(model: Model, transcoder: Transcoder, layer: int) -> Norm | None:
    """The norm between the residual stream and an encoder, without the gain where the hook stands before it."""
    hook = transcoder.config.input_hook
    if hook == "hook_resid_mid":
        return None
    norm = model.block_weights(layer).ln2
    return norm if hook == "mlp.hook_in" else Norm(torch.ones_like(norm.gain), None, norm.centred)


def _decoder_norm(model: Model, transcoder: Transcoder, layer: int) -> Norm | None:
    """The norm between a decoder's output and the residual stream, in the families that have one."""
    return None if transcoder.config.output_hook == "hook_mlp_out" else model.block_weights(layer).ln2_post


def _through(norm: Norm | None, x: Float[Tensor, "*feat d_model"]) -> Float[Tensor, "*feat d_model"]:
    if norm is None:
        return x
    return (x - x.mean(-1, keepdim=True) if norm.centred else x) * norm.gain.to(x.dtype)


def _fold(norm: Norm | None, weight: Float[Tensor, " d_model"]) -> Float[Tensor, " d_model"]:
    """The vector w' with w'·x = w·through(x)."""
    if norm is None:
        return weight
    scaled = weight * norm.gain.to(weight.dtype)
    return scaled - scaled.mean() if norm.centred else scaled
