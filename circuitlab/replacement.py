"""The replacement model: a language model in which a transcoder's features do the work of the MLPs.

Every MLP output is replaced by the transcoder's ŷ, computed from the replaced stream (`replacement_logits`);
`agreement` says how well it stands in for the model. The local replacement model of one prompt is in
local_replacement.py.

Source: Ameisen et al. 2025, "Circuit Tracing", section "Building an interpretable replacement model";
https://transformer-circuits.pub/2025/attribution-graphs/methods.html
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from circuitlab.fit import Fit, adapted, measure, warn_of_mismatch
from circuitlab.formats.transcoders import read_transcoder
from circuitlab.hub import locate_transcoder
from circuitlab.model import Model, load_model
from circuitlab.transcoder import Transcoder
from circuitlab.weights import OnDisk

if TYPE_CHECKING:
    from circuitlab.features import Features
    from circuitlab.graph import Graph
    from circuitlab.interventions.baseline import Baselines
    from circuitlab.interventions.result import InterventionRun
    from circuitlab.interventions.run import Batch, Prompt
    from circuitlab.interventions.sweep import Sweep
    from circuitlab.interventions.values import Amount, Positions
    from circuitlab.store.store import Store

ATLAS = Path(__file__).parent / "atlas"
BUNDLED = {"atlas": ATLAS, "atlas-quirk": ATLAS / "quirk"}

INPUT_HOOKS = ("hook_resid_mid", "mlp.hook_in", "ln2.hook_normalized")
OUTPUT_HOOKS = ("hook_mlp_out", "mlp.hook_out")


def _no_baselines() -> Baselines:
    from circuitlab.interventions.baseline import Baselines

    return Baselines()


@dataclass(frozen=True)
class ReplacementModel:
    """A language model with its transcoder and the labels of its features; make one with `load`.

    `labels` names features: {"L3/55": "Texas"}; `features.label` and an attached store change them. `baselines`
    remembers the last prompts that were intervened on.
    """

    model: Model
    transcoder: Transcoder
    labels: dict[str, str]
    source: str = field(default="", compare=False, repr=False)
    baselines: Baselines = field(default_factory=_no_baselines, compare=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "labels", dict(self.labels))

    def __repr__(self) -> str:
        return f"ReplacementModel({self.model!r}, {self.transcoder!r}, {len(self.labels)} labels)"

    def trace(
        self,
        prompt: str | Sequence[int] | Tensor,
        targets: Any = None,
        *,
        position: int = -1,
        max_logits: int = 10,
        logit_mass: float = 0.95,
        max_features: int | None = None,
        mask_bos: bool = True,
        constants_by_layer: bool = False,
        labels: Mapping[str, str] | None = None,
        progress: bool = True,
    ) -> Graph:
        """The attribution graph of a prompt: A_{s→t} = a_s Σ_l (W_dec,s^l)ᵀ J W_enc,t, attention and norms held fixed.

            model.trace("fact : the capital of the state containing Dallas is")
            model.trace("calc : 36 + 59 =", cl.LogitDifference("95", "94"), max_features=4000)

        prompt: text or token ids [pos].
        targets: what is explained, read at `position`: a token (text or id), `cl.LogitDifference`, `cl.Direction`, or a
            list of these. Default: the likeliest next tokens, at most `max_logits`, covering `logit_mass` of the
            probability.
        max_features: keep the most influential and fold the others into errors; None keeps all (of MLP neurons the
            most influential 2,000).
        mask_bos: make what position 0's MLPs wrote a constant, as circuit-tracer does.
        constants_by_layer: a constant for every layer in place of one.
        labels: names of features, {"L3/55": "Texas"}, in place of the model's own.

        Raises ValueError for prompts, targets and numbers that make no sense, saying which and why.
        Source: Ameisen et al. 2025, "Circuit Tracing", section "Constructing an attribution graph for a prompt".
        """
        from circuitlab.tracing import trace

        return trace(
            self.model,
            self.transcoder,
            prompt,
            targets,
            position=position,
            max_logits=max_logits,
            logit_mass=logit_mass,
            max_features=max_features,
            mask_bos=mask_bos,
            constants_by_layer=constants_by_layer,
            labels=self.features.labels if labels is None else labels,
            densities=self.features.densities,
            progress=progress,
        )

    def intervene(
        self,
        prompt: Prompt | Batch,
        interventions: Mapping[str, Amount],
        *,
        positions: Positions | Mapping[str, Positions] | None = None,
        mode: str = "propagating",
        end_layer: int | None = None,
        freeze_attention: bool = True,
        freeze_norms: bool = True,
        along: Sequence[str] | None = None,
        graph: Graph | None = None,
        supernodes: Mapping[str, Sequence[str]] | None = None,
        n_tokens: int = 0,
        temperature: float | int = 0.0,
        seed: int = 0,
        cancelled: Callable[[], bool] | None = None,
    ) -> Any:
        """Run a prompt with some of its nodes set to other values; an `InterventionRun`, or a list for several prompts.

            run = model.intervene("fact : the capital of the state containing Dallas is", {"Texas": -1.0})
            run.top_tokens(), run.features, run.compare(graph), run.verdict(), run.continuation

        prompt: text, token ids, or a list of either: those are run together, one forward pass for all of them.
        interventions: name → amount. A name is a supernode, a label ("Texas"), a feature ("L3/55"), a node ("3_55_10"),
            an error ("3_-1_10") or a token ("E_42_4"). An amount is a steering factor M (0 ablates, −1 inhibits, above
            1 amplifies), `cl.Value(v)` or `cl.Added(d)`; errors and tokens, being vectors, take a factor.
        positions: where features and labels are set, for all names or by name: an index (−1 is the last), a slice, a
            token's text, `cl.Onward(start)` for "from here on, generated tokens too", or a list. Default: wherever the
            feature is active. A node acts where it stands; positions that ask for other places are refused.
        mode: what answers to the change Δa_s of the intervened features S. y^l are the MLP outputs of the unperturbed
            run, W_dec,s^l the decoder vectors into layer l, a' the activations in the perturbed run:
            "propagating"  y'^l = y^l + Σ_{s∈S} Δa_s W_dec,s^l + Σ_{t∉S} (a'_t − a_t) W_dec,t^l: later features answer;
            "direct"       y'^l = y^l + Σ_{s∈S} Δa_s W_dec,s^l: all else holds, effects are the graph's edges;
            "constrained"  the same for l ≤ end_layer, y'^l = MLP^l(·) above: the model's own MLPs answer;
            "steering"     y'^l = MLP^l(·) + Σ_{s∈S} Δa_s W_dec,s^l: the model with vectors added.
        end_layer: of mode "constrained"; default: the last layer that is intervened on.
        freeze_attention, freeze_norms: hold attention patterns, and norm denominators, at their unperturbed values.
        along: act along one edge or path only: names of what lies between, in order; "logits" may come last.
        graph: where its supernodes and labels are looked up, and what `run.compare()` compares with.
        supernodes: more groups of node ids, {"mine": ["3_55_10", …]}.
        n_tokens: how far to continue the text under the intervention: the likeliest tokens, or, with a `temperature`
            above 0, drawn from `seed`. What is frozen or held is so at generated tokens too, at what the unperturbed
            model has on the same text.
        cancelled: asked before every layer; once it is true the run ends in `cl.Cancelled`.

        Raises ValueError for names, positions, modes and amounts that make no sense or overflow, saying which and why.
        Source: Ameisen et al. 2025, "Circuit Tracing"; more in `circuitlab.interventions.modes` and `.paths`.
        """
        from circuitlab.interventions import intervene

        return intervene(
            self, prompt, interventions, positions=positions, mode=mode, end_layer=end_layer, along=along,
            freeze_attention=freeze_attention, freeze_norms=freeze_norms, graph=graph, supernodes=supernodes,
            n_tokens=n_tokens, temperature=temperature, seed=seed, cancelled=cancelled,
        )  # fmt: skip

    def swap(
        self,
        prompt: Prompt,
        out: str | Sequence[str],
        into: str | Sequence[str],
        from_prompt: Prompt,
        *,
        strength: float | int = 1.0,
        out_factor: float | int = 0.0,
        positions: Positions | None = None,
        mode: str = "propagating",
        end_layer: int | None = None,
        freeze_attention: bool = True,
        freeze_norms: bool = True,
        graph: Graph | None = None,
        supernodes: Mapping[str, Sequence[str]] | None = None,
        n_tokens: int = 0,
        temperature: float | int = 0.0,
        seed: int = 0,
    ) -> InterventionRun:
        """One concept's features off, another's on, at the values that a second prompt gives them.

            model.swap("fact : the capital of the state containing Dallas is", out="Texas", into="California",
                       from_prompt="fact : the capital of the state containing Oakland is").top_tokens()

        out, into: names as in `intervene`, one or several; `into` is looked up in `from_prompt`.
        strength: the features of `into` are set to so many times their activations there.
        out_factor: the features of `out` are set to so many times their value here.
        positions: of `prompt`; restricts both. Prompts of one length are aligned by position, others by the places
            where the two concepts stand, counted from the last.

        The other options are `intervene`'s. Raises ValueError where one of the two is not active in its prompt.
        """
        from circuitlab.interventions import swap

        return swap(
            self, prompt, out, into, from_prompt, strength=strength, out_factor=out_factor, positions=positions,
            mode=mode, end_layer=end_layer, freeze_attention=freeze_attention, freeze_norms=freeze_norms, graph=graph,
            supernodes=supernodes, n_tokens=n_tokens, temperature=temperature, seed=seed,
        )  # fmt: skip

    def sweep(
        self,
        prompt: Prompt,
        names: str | Sequence[str],
        *,
        factors: Sequence[float | int] | None = None,
        end_layers: Sequence[int] | None = None,
        factor: float | int = 0.0,
        each: bool = False,
        positions: Positions | None = None,
        mode: str = "propagating",
        end_layer: int | None = None,
        freeze_attention: bool = True,
        freeze_norms: bool = True,
        graph: Graph | None = None,
        supernodes: Mapping[str, Sequence[str]] | None = None,
        n_tokens: int = 5,
    ) -> Sweep:
        """One intervention many times: over factors M, over end layers, or one name after the other.

            model.sweep(prompt, "Texas").plot()                               # factors −2 to 4
            model.sweep(prompt, "Texas", end_layers=range(3, 5)).table        # mode "constrained", at `factor`
            model.sweep(prompt, ["Texas", "capital"], each=True).table        # each name alone, at `factor`

        `table` has one row per value and token, the unperturbed probability and logit beside each; it follows the
        tokens that are among the `n_tokens` likeliest in any run. The other options are `intervene`'s. Raises
        ValueError for more than one of `factors`, `end_layers`, `each`.
        """
        from circuitlab.interventions import sweep

        return sweep(
            self, prompt, names, factors=factors, end_layers=end_layers, factor=factor, each=each, positions=positions,
            mode=mode, end_layer=end_layer, freeze_attention=freeze_attention, freeze_norms=freeze_norms, graph=graph,
            supernodes=supernodes, n_tokens=n_tokens,
        )  # fmt: skip

    @cached_property
    def fit(self) -> Fit:
        """How much the transcoder explains of each layer on a short text: see `circuitlab.fit`; measured once."""
        return measure(self.model, self.transcoder)

    @property
    def info(self) -> dict[str, Any]:
        """What was loaded, and whether it fits: plain values."""
        config, fit = self.transcoder.config, self.fit
        return {
            "model": self.model.name,
            "transcoder": repr(self.transcoder) if self.transcoder.exact else self.source or config.model_name,
            **{
                name: getattr(config, name) for name in ("kind", "n_layers", "n_features", "d_model", "activation", "k")
            },
            "input_hook": config.input_hook,
            "output_hook": config.output_hook,
            "skip": config.skip,
            "in_memory": not isinstance(self.transcoder.W_enc, OnDisk),
            "explained_variance": list(fit.explained),
            "matches": fit.matches,
            "fit": str(fit),
        }

    @cached_property
    def features(self) -> Features:
        """What is known of each feature, by name or by layer and index: `model.features["L3/55"]`."""
        from circuitlab.features import Features

        return Features(self)

    def top_tokens(self, prompt: str | Sequence[int] | Tensor, n: int = 10) -> pd.DataFrame:
        """The model's n most likely next tokens: `token_id`, `token`, `probability`, and `replacement`.

        `replacement` is the probability that the replacement model gives the same token.
        """
        tokens = self.model.to_tokens(prompt)[None]
        true = self.model.logits(tokens)[0, -1].double().softmax(-1)
        replaced = replacement_logits(self.model, self.transcoder, tokens)[0, -1].double().softmax(-1)
        top = true.topk(min(n, len(true)))
        return pd.DataFrame(
            {
                "token_id": top.indices.tolist(),
                "token": self.model.token_strings(top.indices),
                "probability": top.values.tolist(),
                "replacement": replaced[top.indices].tolist(),
            }
        )

    def agreement(self, tokens: Int[Tensor, "batch pos"], include: Int[Tensor, "batch pos"] | None = None) -> Agreement:
        """How well the replacement model stands in for the model on these tokens: see `agreement`."""
        return agreement(self.model, self.transcoder, tokens, include)


def load(
    model: str | Path | nn.Module | Model = "atlas",
    transcoder: str | Path | Transcoder | None = None,
    *,
    tokenizer: Any = None,
    device: str | torch.device | None = None,
    dtype: torch.dtype | None = None,
    evidence: str | Path | Store | None = None,
    lazy: bool | None = None,
    check: bool | None = None,
    adapt: bool = False,
) -> ReplacementModel:
    """A model with its transcoder: the bundled one, or any Hugging Face model and a transcoder of any published kind.

    model: "atlas" (bundled: offline, seconds, no GPU) or "atlas-quirk" (with a hidden goal), a folder, a hub id
        (owner/name, owner/name@revision), or a model in memory (which is copied).
    transcoder: a folder, an address on the hub (owner/repo, owner/repo@revision, owner/repo/subfolder), or one in
        memory, which is left as it is. Without one, or with "neurons", the model's MLP neurons are its features (see
        `circuitlab.neurons`).
    lazy: leave encoders and decoders in their files; by default where they would take a quarter of the free memory.
    check: measure on a short text whether the transcoder explains this model, and warn where not
        (`TranscoderMismatchWarning`); by default for those that are read from files.
    adapt: where another reading fits far better (other hooks, centred or scaled inputs), use it.
    evidence: a harvest's folder, see `Features.attach`.

    Raises FileNotFoundError for a folder that is not there, ConnectionError and PermissionError for what the hub does
    not give, and ValueError for a damaged transcoder and one made for another model.
    """
    labels: dict[str, str] = {}
    bundled = BUNDLED.get(model) if isinstance(model, str) else None
    name, own_evidence = str(model), False
    if bundled is not None:
        model = bundled / "model"
        if transcoder is None:
            transcoder = bundled / "clt"
            labels = json.loads((bundled / "labels.json").read_text("utf-8"))
            own_evidence = evidence is None and (bundled / "evidence").is_dir()
    loaded = model if isinstance(model, Model) else load_model(model, tokenizer, device, dtype)
    if bundled is not None:
        loaded.name = name
    if transcoder is None or transcoder == "neurons":
        from circuitlab.neurons import neurons_of

        return _with(evidence, ReplacementModel(loaded, neurons_of(loaded), {}))
    precision = torch.promote_types(loaded.dtype, torch.float32)
    if check is None:
        check = not isinstance(transcoder, Transcoder) and not labels  # the bundled one is known to fit
    if isinstance(transcoder, Transcoder):
        placed = _placed(transcoder, loaded.device, precision)
    else:
        located = locate_transcoder(transcoder)
        placed = read_transcoder(located.folder, loaded.device, precision, lazy, located.fetched).requires_grad_(False)
    check_fit(loaded, placed)
    source = "" if isinstance(transcoder, Transcoder) else str(transcoder)
    result = ReplacementModel(loaded, placed, labels, source)
    if adapt and result.fit.better is not None:
        placed = adapted(placed, result.fit)
        check_fit(loaded, placed)
        result = ReplacementModel(loaded, placed, labels, source)
    if check:
        warn_of_mismatch(result.fit, source or repr(placed))
    result = _with(evidence, result)
    if own_evidence and bundled is not None:
        result.features.attach(bundled / "evidence", keep_labels=False)
    return result


def _with(evidence: str | Path | Store | None, model: ReplacementModel) -> ReplacementModel:
    if evidence is not None:
        model.features.attach(evidence)
    return model


def _placed(transcoder: Transcoder, device: torch.device, dtype: torch.dtype) -> Transcoder:
    """The transcoder on a device in a precision; one in memory stays as it is, what needs no change is shared."""
    placed: dict[int, Tensor] = {
        id(parameter): nn.Parameter(parameter.detach().to(device, dtype), requires_grad=False)
        for parameter in transcoder.parameters()
    }
    placed |= {id(buffer): buffer.to(device, dtype) for buffer in transcoder.buffers()}
    return copy.deepcopy(transcoder, placed)


def check_fit(model: Model, transcoder: Transcoder) -> None:
    """ValueError unless the transcoder's sizes and hook points belong to this model."""
    config = transcoder.config
    for what, found, expected in (
        ("layers", config.n_layers, model.n_layers),
        ("d_model", config.d_model, model.d_model),
    ):
        if found != expected:
            raise ValueError(
                f"this transcoder was made for another model: it has {what} = {found}, "
                f"but {model.name} has {what} = {expected}"
            )
    for what, hook, allowed in (
        ("input", config.input_hook, INPUT_HOOKS),
        ("output", config.output_hook, OUTPUT_HOOKS),
    ):
        if hook not in allowed:
            raise ValueError(f"the transcoder's {what} hook is {hook!r}; circuitlab reads {', '.join(allowed)}")
        if f"blocks.0.{hook}" not in model.sites:
            raise ValueError(f"the transcoder's {what} hook {hook!r} does not exist in {model.name}: it needs another")


def replacement_logits(
    model: Model, transcoder: Transcoder, tokens: Int[Tensor, "batch pos"], mask_bos: bool = True
) -> Float[Tensor, "batch pos vocab"]:
    """Logits of the replacement model: all MLP outputs replaced by ŷ, each layer reading the replaced stream.

    With `mask_bos` position 0 keeps its MLP outputs, as everywhere in this field: its activations are an attention
    sink's, which transcoders are not trained on.
    """
    check_fit(model, transcoder)
    inputs: list[Tensor] = []
    activations: list[Tensor] = []

    def read(layer: int) -> Callable[[Tensor], Tensor]:
        def hook(x: Tensor) -> Tensor:
            inputs.append(x.to(transcoder.dtype))
            activations.append(transcoder.encode(layer, inputs[-1]))
            return x

        return hook

    def write(layer: int) -> Callable[[Tensor], Tensor]:
        def hook(mlp_out: Tensor) -> Tensor:
            replaced = transcoder.decode(layer, activations, inputs[layer]).to(mlp_out.dtype)
            return torch.cat([mlp_out[:, :1], replaced[:, 1:]], dim=1) if mask_bos else replaced

        return hook

    config = transcoder.config
    edits = {f"blocks.{layer}.{config.input_hook}": read(layer) for layer in range(config.n_layers)}
    edits |= {f"blocks.{layer}.{config.output_hook}": write(layer) for layer in range(config.n_layers)}
    with torch.no_grad():
        return model.run(tokens, edit=edits)[0]


@dataclass(frozen=True)
class Agreement:
    """How the replacement model compares with the model: shares and nats, means over positions."""

    top1: float
    kl: float
    cross_entropy_model: float
    cross_entropy_replacement: float


def agreement(
    model: Model,
    transcoder: Transcoder,
    tokens: Int[Tensor, "batch pos"],
    include: Int[Tensor, "batch pos"] | None = None,
) -> Agreement:
    """Top-token agreement, KL(model ‖ replacement) and next-token cross-entropies of both, position 0 left out.

    `include` (0 or 1 per position) leaves out more, padding for example. Cross-entropies are against the next token.
    """
    true = model.logits(tokens).double().log_softmax(-1)
    replaced = replacement_logits(model, transcoder, tokens).double().log_softmax(-1)
    keep = torch.ones_like(tokens, dtype=torch.bool) if include is None else include.bool()
    keep = keep.clone()
    keep[:, 0] = False
    has_next = keep[:, :-1] & keep[:, 1:]

    def cross_entropy(log_probabilities: Tensor) -> float:
        chosen = log_probabilities[:, :-1].gather(-1, tokens[:, 1:, None])[..., 0]
        return -chosen[has_next].mean().item()

    return Agreement(
        top1=(true.argmax(-1) == replaced.argmax(-1))[keep].double().mean().item(),
        kl=(true.exp() * (true - replaced)).sum(-1)[keep].mean().item(),
        cross_entropy_model=cross_entropy(true),
        cross_entropy_replacement=cross_entropy(replaced),
    )
