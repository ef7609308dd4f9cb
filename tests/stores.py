"""Small stores for tests, written as a harvest writes them."""

from pathlib import Path

import numpy as np
import pyarrow as pa

from circuitlab.store.schema import EXAMPLES, FEATURES, Manifest
from circuitlab.store.writer import LayerTables, write_store

WORDS = [" the", " rabbit", " rabbits", " city", "<b>", "\n", " Texas", " hare", "⏎"]


def manifest(n_layers: int = 2, n_features: int = 5, **changes) -> Manifest:
    return Manifest(
        **{
            "model": {"name": "tiny", "fingerprint": "m"},
            "transcoder": {
                "name": "", "fingerprint": "t", "kind": "clt", "n_layers": n_layers, "n_features": n_features
            },
            "corpus": "some stories",
            "seed": 0,
            "context": {"before": 8, "after": 4, "piece": 64},
            "n_records": 40,
            "n_tokens": 1000,
            **changes,
        }
    )  # fmt: skip


def feature(layer: int, index: int, n_active: int, largest: float, promoted=((1, 0.5), (2, 0.25))) -> dict:
    return {
        "layer": layer,
        "index": index,
        "n_active": n_active,
        "density": n_active / 1000,
        "largest": largest,
        "sum": largest * n_active / 2,
        "sum_squares": largest**2 * n_active / 3,
        "histogram": [n_active - n_active // 4, n_active // 4] if n_active else [],
        "histogram_edges": [0.0, largest / 2, largest] if n_active else [],
        "promoted": [{"token_id": token, "weight": weight} for token, weight in promoted],
        "suppressed": [{"token_id": 0, "weight": -0.1}],
        "logit_histogram": [4, 5],
        "logit_histogram_edges": [-0.1, 0.0, 0.5],
        "coactive": [{"layer": layer, "index": 1, "count": 7, "product": 3.5}],
        "nearest": [{"layer": layer, "index": 2, "cosine": 0.75}],
    }


def example(layer: int, index: int, rank: int = 0, quantile: int = 0, tokens=(0, 1, 3), largest: float = 2.0) -> dict:
    peak = min(1, len(tokens) - 1)
    return {
        "layer": layer,
        "index": index,
        "quantile": quantile,
        "quantile_name": "Top" if not quantile else f"lower {quantile}",
        "rank": rank,
        "token_ids": list(tokens),
        "activations": [largest if at == peak else 0.1 for at in range(len(tokens))],
        "peak": peak,
        "copies": 1 + rank,
        "record": rank,
        "position": peak,
    }


def small_store(folder: Path, n_layers: int = 2, n_features: int = 5, **changes) -> Path:
    """Features 0 (never active), 1, 2, … of each layer; feature i is active on 10 i tokens, at most at i + layer."""
    layers = []
    for layer in range(n_layers):
        rows = [feature(layer, i, 10 * i, float(i + layer) if i else 0.0) for i in range(n_features)]
        examples = [
            example(
                layer, i, rank, quantile, ((0, 3, 4, 6)[2 * quantile + rank], 1, 3), i + layer - quantile / 4 - rank / 8
            )
            for i in range(1, n_features)
            for quantile in (0, 1)
            for rank in (0, 1)
        ]
        layers.append(tables(layer, rows, examples))
    return write_store(folder, manifest(n_layers, n_features, **changes), layers, WORDS)


def tables(layer: int, rows: list[dict], examples: list[dict]) -> LayerTables:
    return LayerTables(
        layer, pa.Table.from_pylist(rows, schema=FEATURES), pa.Table.from_pylist(examples, schema=EXAMPLES)
    )


def random_labels(n: int, seed: int = 0) -> list[str]:
    """Labels of one to four made-up words, a few of which are about rabbits."""
    rng = np.random.default_rng(seed)
    letters = np.array(list("abcdefghij"))
    words = ["".join(rng.choice(letters, size)) for size in rng.integers(3, 9, 5000)]
    labels = [" ".join(rng.choice(words, size)) for size in rng.integers(1, 5, n)]
    for at in rng.choice(n, min(n, 20), replace=False):
        labels[at] += " rabbit"
    return labels
