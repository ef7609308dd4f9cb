"""circuit-tracer's side: load a case from local folders, attribute, write times, memory and graph.

Runs in .venv-peer. circuit-tracer loads models and transcoders by hub name only, so the three steps of its
`from_pretrained_and_transcoders` are done here with local files and the same settings: convert the weights
(no norm folding, no centring), build the replacement model, attach the transcoders. Transcoders are fully
in memory (not lazy), its faster setting; attribution has no feature limit.

The graph's matrix has targets in rows and sources in columns; nodes are features, then errors
(layer-major), tokens and logits. https://transformer-circuits.pub/2025/attribution-graphs/methods.html
"""

import json
import logging
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
import yaml
from circuit_tracer.attribution.attribute import attribute
from circuit_tracer.graph import compute_graph_scores, compute_node_influence
from circuit_tracer.replacement_model.replacement_model_transformerlens import TransformerLensReplacementModel
from circuit_tracer.transcoder.cross_layer_transcoder import load_clt
from circuit_tracer.transcoder.single_layer_transcoder import load_transcoder_set
from measure import arguments, measure, write
from transformer_lens import HookedTransformerConfig
from transformer_lens.pretrained.weight_conversions import convert_llama_weights
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast


def load(model_folder: Path, transcoder_folder: Path) -> TransformerLensReplacementModel:
    """The replacement model of a Llama folder and a transcoder folder, in float32 on the CPU."""
    hf = AutoModelForCausalLM.from_pretrained(model_folder, local_files_only=True, dtype=torch.float32)
    config = hooked_config(hf.config)
    model = TransformerLensReplacementModel(config, load_tokenizer(model_folder))
    weights = convert_llama_weights(hf, config)
    model.load_and_process_state_dict(weights, fold_ln=False, center_writing_weights=False, center_unembed=False)
    model._configure_replacement_model(load_transcoders(transcoder_folder))
    return model


def hooked_config(hf) -> HookedTransformerConfig:
    if hf.model_type != "llama":
        raise ValueError(f"model type is {hf.model_type!r}; the comparison knows Llama models only")
    theta = (getattr(hf, "rope_parameters", None) or {}).get("rope_theta") or hf.rope_theta
    groups = hf.num_key_value_heads if hf.num_key_value_heads != hf.num_attention_heads else None
    return HookedTransformerConfig(
        model_name="bench", original_architecture="LlamaForCausalLM", device="cpu", dtype=torch.float32,
        n_layers=hf.num_hidden_layers, d_model=hf.hidden_size, n_heads=hf.num_attention_heads,
        d_head=hf.hidden_size // hf.num_attention_heads, n_key_value_heads=groups, d_mlp=hf.intermediate_size,
        n_ctx=hf.max_position_embeddings, d_vocab=hf.vocab_size, eps=hf.rms_norm_eps, act_fn=hf.hidden_act,
        normalization_type="RMS", final_rms=True, gated_mlp=True, positional_embedding_type="rotary",
        rotary_adjacent_pairs=False, rotary_dim=hf.hidden_size // hf.num_attention_heads,
        rotary_base=int(theta), init_weights=False,
    )  # fmt: skip


def load_tokenizer(folder: Path) -> PreTrainedTokenizerFast:
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    special = {name: settings[name] for name in ("bos_token", "eos_token", "pad_token") if settings.get(name)}
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"), **special)
    tokenizer.init_kwargs.update(name_or_path=str(folder), add_bos_token=True)  # or TransformerLens reloads it by name
    return tokenizer


def load_transcoders(folder: Path):
    config = yaml.safe_load((folder / "config.yaml").read_text())
    if config.get("activation") == "topk":
        raise ValueError(f"{folder}: circuit-tracer reads TopK transcoders as ReLU; compare a JumpReLU one")
    hooks = {name: config[name] for name in ("feature_input_hook", "feature_output_hook")}
    options = {**hooks, "scan": folder.name, "dtype": torch.float32, "device": torch.device("cpu")}
    if config["model_kind"] == "cross_layer_transcoder":
        return load_clt(str(folder), lazy_decoder=False, lazy_encoder=False, **options)
    n_layers = len(list(folder.glob("layer_*.safetensors")))
    paths = {i: str(folder / f"layer_{i}.safetensors") for i in range(n_layers)}
    return load_transcoder_set(paths, lazy_decoder=False, lazy_encoder=False, **options)


def save_graph(graph, path: Path) -> None:
    """The dense matrix with what names its nodes, its scores, and every node's influence on the logits."""
    matrix = graph.adjacency_matrix
    weights = torch.zeros(matrix.shape[0])
    weights[-len(graph.logit_targets) :] = graph.logit_probabilities
    replacement, completeness = compute_graph_scores(graph)
    np.savez(
        path, matrix=matrix.numpy(), features=graph.active_features.numpy(),
        activations=graph.activation_values.detach().numpy(), tokens=graph.input_tokens.numpy(),
        logits=np.array([target.vocab_idx for target in graph.logit_targets]),
        probabilities=graph.logit_probabilities.detach().numpy(), n_layers=graph.cfg.n_layers,
        scores=np.array([replacement, completeness]),
        influence=compute_node_influence(matrix, weights).numpy(),
    )  # fmt: skip


def main() -> None:
    options = arguments(__doc__)
    torch.set_num_threads(options.threads)
    logging.disable(logging.WARNING)
    case = json.loads((options.case / "case.json").read_text())
    model = load(Path(case["model"]), Path(case["transcoder"]))

    def trace(batch_size: int, tokens: list[int]):
        return attribute(tokens, model, batch_size=batch_size, max_feature_nodes=None)

    record, graph = measure(trace, case["tokens"], options)
    if options.graph:
        record["nodes"] = len(graph.adjacency_matrix)
        record["active_features"] = len(graph.active_features)
        save_graph(graph, options.graph)
    packages = ("circuit-tracer", "transformer-lens", "transformers", "torch")
    record["versions"] = {name: version(name) for name in packages} | {"python": sys.version.split()[0]}
    write(record, options)


if __name__ == "__main__":
    main()
