"""The features of a model's transcoder: `model.features["L3/55"]` is what is known of one of them.

From the weights alone, for feature f of layer l with decoders w_j into layers l + j:

    logit weights      W_U^T gain ⊙ Σ_j w_j, less their mean over the vocabulary (the final norm's scale left out)
    virtual weights    ⟨Σ_{l+j<l'} w_j, e'⟩ to a feature of layer l' > l with encoder e': what one unit adds to its
                       pre-activation through the residual stream at the same position, attention left out

with the gains of the norms that stand between (before encoders that read a normed stream, after MLPs that have one).
From a harvest (`attach`), else from the texts shown (`show_texts`; atlas comes with some hundred): examples, activation
histogram, density. Labels given here are kept beside the store that is attached.

Source: Ameisen et al. 2025, "Circuit Tracing", sections "Feature visualizations" and "Global weights";
https://transformer-circuits.pub/2025/attribution-graphs/methods.html
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from circuitlab.evidence import (
    NEURONS,
    PARTS,
    Evidence,
    Example,
    Histogram,
    Neighbour,
    TokenActivations,
    TokenWeight,
    in_quantiles,
    locate,
)
from circuitlab.model import Model, Norm
from circuitlab.store.labels import Label, checked
from circuitlab.store.store import Store
from circuitlab.texts import Hits, ShownTexts, show, token_activations
from circuitlab.transcoder import Transcoder

if TYPE_CHECKING:
    from circuitlab.graph import Graph
    from circuitlab.replacement import ReplacementModel

N_TOKENS = 12
N_NEIGHBOURS = 14
KEPT = 256
TOP_COLUMNS = ("name", "layer", "index", "label", "activation", "position", "token", "share", "density")


class Features:
    """The features of a replacement model, by layer and index or by name; each is an `Evidence`.

    model.features["L3/55"]           # or model.features[3, 55]
    model.features.live("fact : the capital of Texas is", 3, 55)
    model.features.show_texts(["…"])  # examples from your own texts
    model.features.attach("evidence/")    # examples from a harvested corpus
    model.features.label("L3/55", "Texas")
    model.features.top_for("a text")  # a table of what is most active on it
    """

    def __init__(self, model: ReplacementModel, texts: Sequence[str | Sequence[int]] | None = None) -> None:
        self.model, self.transcoder = model.model, model.transcoder
        self.store: Store | None = None
        self._replacement = model
        self._harvested = False
        self._keeps_labels = True
        self._labels_seen: object = None
        self._texts = None if texts is None else list(texts)
        self._kept: dict[tuple[int, int], Evidence] = {}
        self._strings: dict[int, str] = {}

    def __repr__(self) -> str:
        config = self.transcoder.config
        texts = "no texts" if self._texts == [] else "texts" if self._texts is None else f"{len(self._texts)} texts"
        source = repr(self.store) if self.store is not None and self._harvested else texts
        return f"Features({config.n_layers} layers x {config.n_features}, {len(self.labels)} labels, {source})"

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
        return replace(self._kept[layer, index], label=self.labels.get(f"L{layer}/{index}", ""))

    def locate(self, key: Any) -> tuple[int, int]:
        """Layer and index of a feature; ValueError for what is no feature, with the valid range."""
        config = self.transcoder.config
        return locate(key, config.n_layers, config.n_features, self.labels)

    # ---- a store ----

    def attach(self, store: Store | str | PathLike[str], keep_labels: bool = True) -> Features:
        """Take examples, histograms, densities and labels from a harvest from now on; gives this object back.

        `store` is a `Store` or its folder. One that was made with another model or transcoder is a ValueError; a store
        made from other tools' files carries no fingerprint, so that only the sizes are compared. Without `keep_labels`
        what is labelled from now on is not written beside it.
        """
        store = store if isinstance(store, Store) else Store(store)
        require_same(store, self.model, self.transcoder)
        self.store, self._harvested, self._labels_seen, self._keeps_labels = store, True, None, keep_labels
        self._kept.clear()
        self._take_labels()
        return self

    @property
    def labels(self) -> dict[str, str]:
        """Name → label: {"L3/55": "Texas"}. What was labelled in the attached store wins over what came with the model.

        These are the model's labels: graphs and interventions see them too.
        """
        self._take_labels()
        return self._replacement.labels

    def _take_labels(self) -> None:
        """Those of the attached store, where they have changed, into the model's."""
        labels = self._replacement.labels
        if self.store is not None and self._labels_seen != self.store.history.version:
            self._labels_seen = self.store.history.version
            for name, label in self.store.history.current.items():
                labels[name] = label
                if not label:
                    del labels[name]

    def label(self, key: Any, text: str) -> None:
        """Name a feature; "" takes its label away. Kept in the attached store; as long as the model lives where there
        is none, or only the one that comes with atlas."""
        layer, index = self.locate(key)
        name = f"L{layer}/{index}"
        if self.store is not None and self._keeps_labels:
            self.store.label(name, text)
            return
        self.labels[name] = checked(Label(name, text)).label
        if not self.labels[name]:
            del self.labels[name]

    @property
    def densities(self) -> Mapping[str, float]:
        """The share of the harvested tokens on which each feature is active, by name; empty without a store."""
        return {} if self.store is None else self.store.densities

    def search(self, text: str, n: int = 50, examples: bool = False) -> pd.DataFrame:
        """Features that a text leads to, see `Store.search`. ValueError where no store is attached."""
        return self._attached("search").search(text, n, examples)

    def filter(self, **by: Any) -> pd.DataFrame:
        """Features by layer, density and label, see `Store.filter`. ValueError where no store is attached."""
        return self._attached("filter").filter(**by)

    def _attached(self, what: str) -> Store:
        if self.store is None:
            raise ValueError(f"{what} looks through harvested evidence: attach a store first, model.features.attach(…)")
        return self.store

    def top_for(self, text: str | Sequence[int], n: int = 20) -> pd.DataFrame:
        """The n features that are most active on a text, the first position left out.

        `name`, `layer`, `index`, `label`, `activation` (the largest on the text), `position` and `token` of it,
        `share` of the largest activation and `density` in the harvest, where one is attached (else missing).
        """
        shown = show(self.model, self.transcoder, [text])
        strings = self._token_strings(shown.tokens[0])
        found = [row for layer, hits in enumerate(shown.layers) for row in _peaks(layer, hits)]
        found.sort(key=lambda row: (-row[2], row[0], row[1]))
        rows = []
        for layer, index, activation, position in found[:n]:
            name = f"L{layer}/{index}"
            known = self.store.find(layer, index) if self.store is not None else None
            largest, density = (known.largest, known.density) if known else (None, None)
            share = activation / largest if largest else None
            label = self.labels.get(name, "")
            rows.append((name, layer, index, label, activation, position, strings[position], share, density))
        table = pd.DataFrame(rows, columns=list(TOP_COLUMNS))
        return table.astype({"activation": "float64", "share": "float64", "density": "float64"})

    # ---- global weights ----

    def upstream(self, key: Any, n: int = 14, weights: str = "virtual") -> pd.DataFrame:
        """The n features that one reads from most, by "virtual" weights or "twera"; see `circuitlab.global_weights`."""
        from circuitlab.global_weights import upstream

        return upstream(self, key, n, weights)

    def downstream(self, key: Any, n: int = 14, weights: str = "virtual") -> pd.DataFrame:
        """The n features that one writes to most, in the columns of `upstream`."""
        from circuitlab.global_weights import downstream

        return downstream(self, key, n, weights)

    def circuit(self, around: Any, **options: Any) -> Graph:
        """A global circuit around a feature or a label, for all texts; see `circuitlab.global_weights.global_graph`."""
        from circuitlab.global_weights import global_graph

        return global_graph(self, around, **options)

    # ---- texts ----

    def show_texts(self, texts: Sequence[str | Sequence[int]]) -> Features:
        """Take examples, histograms and densities from these texts from now on; gives this object back."""
        shown = show(self.model, self.transcoder, texts)
        self._texts = list(texts)
        self._harvested = False
        self.__dict__["shown"] = shown
        self._kept.clear()
        return self

    def with_texts(self, texts: Sequence[str | Sequence[int]]) -> Features:
        """The same features, with examples from these texts."""
        features = Features(self._replacement, texts)
        features.store = self.store
        return features.show_texts(texts)

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
        if self._harvested:
            seen, unseen, note = self._from_store(layer, index, weights)
        else:
            seen, unseen, note = self._from_texts(layer, index, weights)
        sources |= dict.fromkeys(seen.keys() & set(PARTS), "harvest" if self._harvested else "prompt")
        if self.transcoder.exact and not note.startswith(NEURONS):
            note = f"{NEURONS}. {note}"
        return Evidence(layer, index, **parts, **seen, sources=sources, missing=missing | unseen, note=note)

    def _from_store(
        self, layer: int, index: int, weights: Float[Tensor, " vocab"]
    ) -> tuple[dict[str, Any], dict[str, str], str]:
        """The parts that a harvest gives, what it does not, and the sentence that says where they are from."""
        assert self.store is not None
        known = self.store.find(layer, index)
        if known is None:
            sentence = f"{self.store.note} It holds nothing of this feature."
            return {}, dict.fromkeys(("examples", "activation_histogram", "density"), sentence), sentence
        examples = known.examples
        rows = self.store.example_token_ids(layer, index)
        if rows and max(map(max, rows)) < len(weights):
            along = [tuple(weights[row].tolist()) for row in rows]
            examples = tuple(replace(e, logit_weights=w) for e, w in zip(examples, along, strict=True))
        parts = {"activation_histogram": known.activation_histogram, "density": known.density, "examples": examples}
        parts = {part: value for part, value in parts.items() if value is not None and value != ()}
        missing = {part: said for part, said in known.missing.items() if part not in ("reads_from", "writes_to")}
        return parts | {"largest": known.largest, "extra": known.extra}, missing, known.note

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


def _bundled_texts(model: Model) -> list[str]:
    if model.name not in ("atlas", "atlas-quirk"):
        return []
    from circuitlab.atlas.examples import example_texts

    return example_texts()


def require_same(store: Store, model: Model, transcoder: Transcoder) -> None:
    """ValueError where a store was made with another model or transcoder."""
    manifest, config = store.manifest, transcoder.config
    if manifest.transcoder.get("imported"):
        if manifest.n_layers > config.n_layers or manifest.n_features > config.n_features:
            raise ValueError(
                f"{store.folder} belongs to another transcoder: it has features up to "
                f"L{manifest.n_layers - 1}/{manifest.n_features - 1}, this one has {config.n_layers} layers of "
                f"{config.n_features}"
            )
        return
    from circuitlab.harvest.fingerprint import fingerprint

    for what, said, loaded in (("transcoder", manifest.transcoder, transcoder), ("model", manifest.model, model)):
        found = fingerprint(loaded)
        if said.get("fingerprint") != found:
            raise ValueError(
                f"{store.folder} was harvested with another {what}: its fingerprint is "
                f"{str(said.get('fingerprint'))[:12]}… ({said.get('name') or 'unnamed'}), that of the one loaded is "
                f"{found[:12]}…; load what it was made with, or harvest again"
            )


def _peaks(layer: int, hits: Hits) -> Iterator[tuple[int, int, float, int]]:
    """Layer, index, largest activation and its position, of every feature active on the one text shown."""
    for index in np.flatnonzero(np.diff(hits.starts)).tolist():
        of = hits.of(index)
        at = int(of.activation.argmax())
        yield layer, index, float(of.activation[at]), int(of.pos[at])


# ---- from the weights ----


def logit_weights(model: Model, transcoder: Transcoder, layer: int, index: int | slice) -> Float[Tensor, "*feat vocab"]:
    """What a unit of a feature adds to the logits through its decoders alone, less the mean over the vocabulary.

    A slice of features gives one row each.
    """
    written = torch.stack(added_to_stream(model, transcoder, layer, index)).sum(0)
    weights = _through(model.final_norm, written) @ model.W_U.to(written.dtype)
    return weights - weights.mean(-1, keepdim=True)


def writes_to(model: Model, transcoder: Transcoder, layer: int, index: int) -> list[Float[Tensor, " feat"]]:
    """The virtual weights to all features of layers `layer + 1`, …; one tensor per layer."""
    written = added_to_stream(model, transcoder, layer, index)
    weights = []
    for reader in range(layer + 1, transcoder.config.n_layers):
        stream = torch.stack(written[: reader - layer]).sum(0)
        read = read_from_stream(model, transcoder, reader, stream)
        weights.append(transcoder.W_enc.read(reader, read).detach())
    return weights


def reads_from(model: Model, transcoder: Transcoder, layer: int, index: int) -> list[Float[Tensor, " feat"]]:
    """The virtual weights from all features of layers 0, …, `layer - 1`, one tensor per layer; reads all decoders."""
    one = torch.tensor([index], device=transcoder.device)
    read = _fold(_encoder_norm(model, transcoder, layer), transcoder.W_enc.rows(layer, one)[0].detach())
    folded = [_fold(_decoder_norm(model, transcoder, target), read) for target in range(layer)]
    weights = []
    for source in range(layer):
        outputs = range(min(transcoder.config.n_outputs(source), layer - source))
        parts = [transcoder.W_dec.read(source, folded[source + j], output=j).detach() for j in outputs]
        weights.append(sum(parts[1:], parts[0]))
    return weights


def added_to_stream(
    model: Model, transcoder: Transcoder, layer: int, index: int | slice
) -> list[Float[Tensor, "*feat d_model"]]:
    """What a unit of a feature (or of each of a slice) adds to the residual stream at each layer it writes to."""
    chosen = torch.arange(transcoder.config.n_features, device=transcoder.device)[index]
    rows = transcoder.W_dec.rows(layer, chosen.reshape(-1)).detach()
    rows = (rows if chosen.ndim else rows[0]).unbind(-2)
    return [_through(_decoder_norm(model, transcoder, layer + j), row) for j, row in enumerate(rows)]


def read_from_stream(
    model: Model, transcoder: Transcoder, layer: int, x: Float[Tensor, "*feat d_model"]
) -> Float[Tensor, "*feat d_model"]:
    """What an encoder's weights meet of something in the residual stream, the norm's scale left out."""
    return _through(_encoder_norm(model, transcoder, layer), x)


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
