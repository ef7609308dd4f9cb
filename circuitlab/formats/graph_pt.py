"""Reads circuit-tracer's `.pt` graphs, versions 0.1 and later, without circuit-tracer, without torch, running nothing.

The file's matrix has a row per target and a column per source, in the order: selected features; errors, layer-major;
tokens; logits. Constants are not in it, so `Graph.check()` stays open. Token texts are not in it either (a tokenizer
would be needed): tokens show as their ids, answers as the file names them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from circuitlab.formats.torch_pickle import Record, read_torch_file
from circuitlab.graph import Graph
from circuitlab.links import Links

CLASSES = (
    "circuit_tracer.utils.tl_nnsight_mapping.UnifiedConfig",
    "circuit_tracer.attribution.targets.LogitTarget",
    "transformer_lens.HookedTransformerConfig.HookedTransformerConfig",
    "transformer_lens.config.HookedTransformerConfig.HookedTransformerConfig",
    "transformer_lens.config.hooked_transformer_config.HookedTransformerConfig",
    "transformer_lens.HookedTransformerConfig",
)
NEEDED = ("input_string", "adjacency_matrix", "active_features", "selected_features", "activation_values")
MOST_NODES = 2**17


def read_graph_pt(path: Path) -> Graph:
    """Read a graph; ValueError names the file, the entry, what was found and what was expected."""
    path = Path(path)
    data = read_torch_file(path, CLASSES)
    try:
        return _graph(data)
    except (ValueError, TypeError, OverflowError) as error:
        raise ValueError(f"{path}: {str(error)[:400]}") from error


def _graph(data: Any) -> Graph:
    if not isinstance(data, dict):
        raise ValueError(f"holds a {type(data).__name__}; expected a graph's dictionary")
    missing = [key for key in (*NEEDED, "input_tokens", "logit_probabilities") if key not in data]
    if missing:
        raise ValueError(f"{missing[0]} is missing; found {', '.join(map(str, list(data)[:12]))}")
    prompt = _prompt(data["input_string"])
    tokens = _whole(data, "input_tokens", 1)
    active = _whole(data, "active_features", 2)
    selected = _whole(data, "selected_features", 1)
    if active.shape[1] != 3:
        raise ValueError(f"active_features has the shape {list(active.shape)}; expected [features, 3]")
    if len(selected) and not 0 <= int(selected.min()) <= int(selected.max()) < len(active):
        raise ValueError(f"selected_features must be indices into the {len(active):,} active_features")
    answers = _answers(data)
    matrix = _array(data, "adjacency_matrix", 2)
    n, n_pos = len(matrix), len(tokens)
    n_errors = n - len(selected) - n_pos - len(answers)
    if matrix.shape[1] != n or n_pos < 1 or n_errors < 0 or n_errors % n_pos:
        raise ValueError(
            f"adjacency_matrix has the shape {list(matrix.shape)}; expected a square for {len(selected)} features, "
            f"errors of {n_pos} positions and some layers, {n_pos} tokens and {len(answers)} logits"
        )
    if n > MOST_NODES:
        raise ValueError(f"adjacency_matrix has {n:,} rows; expected at most {MOST_NODES:,}")
    n_layers = n_errors // n_pos
    features = active[selected]
    rank = np.lexsort((features[:, 2], features[:, 1], features[:, 0]))
    nodes = pd.DataFrame(
        [
            *_token_rows(tokens),
            *_error_rows(n_layers, n_pos),
            *_feature_rows(features[rank], _activations(data, len(active), selected)[rank]),
            *_logit_rows(answers, _array(data, "logit_probabilities", 1), n_layers, n_pos, data.get("vocab_size")),
        ]
    )
    links = _links(matrix, rank, n_errors, n_pos)
    sizes = {"n_layers": n_layers, "token_ids": tokens.tolist(), "active_features": len(active)}
    metadata = {**_source(data), **sizes, "from": "circuit-tracer .pt"}
    return Graph(prompt, tuple(f"<{token}>" for token in tokens.tolist()), nodes, links, metadata)


def _prompt(said: Any) -> str:
    if isinstance(said, list):
        said = "".join(part for part in said if isinstance(part, str))
    if not isinstance(said, str):
        raise ValueError(f"input_string is a {type(said).__name__}; expected text")
    return said


def _source(data: dict) -> dict[str, str]:
    """Model and transcoder, as far as the file names them."""
    config, scan = data.get("cfg"), data.get("scan_name", data.get("scan"))
    name = config.get("model_name") if isinstance(config, Record) else None
    scan = scan if isinstance(scan, str) else None
    model = name if isinstance(name, str) else scan or "unknown"
    return {"model": model, **({"transcoder": scan, "scan": scan} if scan else {})}


def _array(data: dict, key: str, ndim: int) -> np.ndarray:
    value = data[key]
    if isinstance(value, list) and all(type(item) in (int, float) for item in value):
        value = np.array(value, dtype=np.float64 if any(type(item) is float for item in value) else np.int64)
    if not isinstance(value, np.ndarray):
        raise ValueError(f"{key} is a {type(value).__name__}; expected a tensor")
    if value.ndim == 2 and ndim == 1 and value.shape[0] == 1:
        value = value[0]
    if value.ndim != ndim:
        raise ValueError(f"{key} has the shape {list(value.shape)}; expected {ndim} dimensions")
    if value.dtype.kind == "f" and not np.isfinite(value).all():
        raise ValueError(f"{key} holds NaN or infinite numbers; expected finite ones")
    return value


def _whole(data: dict, key: str, ndim: int) -> np.ndarray:
    value = _array(data, key, ndim)
    if value.dtype.kind == "f" and not len(value):
        value = value.astype(np.int64)
    if value.dtype.kind not in "iu":
        raise ValueError(f"{key} holds {value.dtype}; expected whole numbers")
    if value.size and not -(2**31) <= int(value.min()) <= int(value.max()) < 2**31:
        raise ValueError(f"{key} holds numbers from {value.min()} to {value.max()}; expected at most 2^31")
    return value.astype(np.int64)


def _answers(data: dict) -> list[tuple[str | None, int]]:
    """Text (where the file has it) and vocabulary index of each logit; version 0.1 has `logit_tokens`."""
    found = data.get("logit_targets", data.get("logit_tokens"))
    if isinstance(found, np.ndarray):
        return [(None, int(index)) for index in _whole({"logit_tokens": found}, "logit_tokens", 1)]
    if not isinstance(found, list):
        raise ValueError("logit_targets is missing (version 0.1: logit_tokens); expected a list or a tensor")
    answers = []
    for i, target in enumerate(found):
        if isinstance(target, Record):
            text, index = target.get("token_str", 0), target.get("vocab_idx", 1)
        elif isinstance(target, (tuple, list)) and len(target) == 2:
            text, index = target
        else:
            text, index = None, target
        if type(index) is not int or not -1 <= index < 2**31 or not isinstance(text, (str, type(None))):
            raise ValueError(f"logit_targets[{i}] must have a text and a vocabulary index")
        answers.append((text or None, index))
    return answers


def _activations(data: dict, n_active: int, selected: np.ndarray) -> np.ndarray:
    """Of the selected features: the file holds them for these, or for all active ones."""
    values = _array(data, "activation_values", 1).astype(np.float64)
    if len(values) == n_active:
        return values[selected]
    if len(values) == len(selected):
        return values
    raise ValueError(f"activation_values has {len(values):,} numbers for {n_active:,} active_features")


def _token_rows(tokens: np.ndarray) -> list[dict[str, Any]]:
    return [
        {"id": f"E_{token}_{pos}", "kind": "token", "pos": pos, "token_id": token, "token": f"<{token}>"}
        for pos, token in enumerate(tokens.tolist())
    ]


def _error_rows(n_layers: int, n_pos: int) -> list[dict[str, Any]]:
    return [
        {"id": f"{layer}_-1_{pos}", "kind": "error", "layer": layer, "pos": pos}
        for layer in range(n_layers)
        for pos in range(n_pos)
    ]


def _feature_rows(features: np.ndarray, activations: np.ndarray) -> list[dict[str, Any]]:
    return [
        {
            "id": f"{layer}_{feature}_{pos}",
            "kind": "feature",
            "layer": layer,
            "pos": pos,
            "feature": feature,
            "activation": activation,
        }
        for (layer, pos, feature), activation in zip(features.tolist(), activations.tolist(), strict=True)
    ]


def _logit_rows(
    answers: list[tuple[str | None, int]], chances: np.ndarray, n_layers: int, n_pos: int, vocab: Any
) -> list[dict[str, Any]]:
    """An index outside the vocabulary stands for a direction of the user's own."""
    if len(chances) != len(answers):
        raise ValueError(f"logit_probabilities has {len(chances)} numbers for {len(answers)} logits")
    size = vocab if type(vocab) is int and vocab > 0 else 2**31
    rows = []
    for i, ((text, index), chance) in enumerate(zip(answers, chances.tolist(), strict=True)):
        known = 0 <= index < size
        rows.append(
            {
                "id": f"{n_layers + 1}_{index if known else f'd{i}'}_{n_pos - 1}",
                "kind": "logit",
                "pos": n_pos - 1,
                "token_id": index if known else None,
                "token": text or f"<{index}>",
                "probability": min(max(chance, 0.0), 1.0),
            }
        )
    return rows


def _links(matrix: np.ndarray, features: np.ndarray, n_errors: int, n_pos: int) -> Links:
    """The entries that are not zero, in our order of rows: tokens, errors, features, logits."""
    n, n_features = len(matrix), len(features)
    errors = n_features + np.arange(n_errors)
    tokens = n_features + n_errors + np.arange(n_pos)
    order = np.concatenate([tokens, errors, features, np.arange(n_features + n_errors + n_pos, n)])
    place = np.empty(n, dtype=np.int64)
    place[order] = np.arange(n)
    target, source = np.nonzero(matrix)
    weight = matrix[target, source]
    if weight.dtype not in (np.float32, np.float64):
        weight = weight.astype(np.float32)
    return Links.from_pairs(place[target], place[source], weight, n)
