"""Models that are often opened, the published transcoders for them, and the memory that a pair needs.

    cl.models.presets()                   # a DataFrame; cl.load(row.model, row.transcoder)

Sizes follow from each model's config by arithmetic (norms and biases left out, below 0.1%): nothing is asked of a
network. `memory_gb` is model and transcoder whole in float32; a transcoder that is larger than a quarter of the free
memory stays in its files, and `memory_gb_lazy` is then what is needed beside the page cache: the model, and the
transcoder's vectors. A missing `transcoder` means that no name is known for sure: train one, or bring your own
(docs/bring_your_own.md). `features` is missing where only the files tell: `circuitlab inspect`.
"""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

GIGABYTE = 1e9
FLOAT = 4


@dataclass(frozen=True)
class Architecture:
    """The numbers of a model's config that its size follows from."""

    name: str
    vocabulary: int
    d_model: int
    layers: int
    heads: int
    kv_heads: int
    d_head: int
    d_mlp: int
    gated: bool = True
    tied: bool = True
    positions: int = 0

    @property
    def parameters(self) -> int:
        attention = 2 * self.d_model * self.d_head * (self.heads + self.kv_heads)
        mlp = (3 if self.gated else 2) * self.d_model * self.d_mlp
        embeddings = self.vocabulary * self.d_model * (1 if self.tied else 2) + self.positions * self.d_model
        return embeddings + self.layers * (attention + mlp)


ARCHITECTURES = {
    model.name: model
    for model in (
        Architecture("gpt2", 50_257, 768, 12, 12, 12, 64, 3072, gated=False, positions=1024),
        Architecture("google/gemma-2-2b", 256_000, 2304, 26, 8, 4, 256, 9216),
        Architecture("google/gemma-3-270m", 262_144, 640, 18, 4, 1, 256, 2048),
        Architecture("google/gemma-3-1b-pt", 262_144, 1152, 26, 4, 1, 256, 6912),
        Architecture("google/gemma-3-4b-pt", 262_208, 2560, 34, 8, 4, 256, 10_240),
        Architecture("meta-llama/Llama-3.2-1B", 128_256, 2048, 16, 32, 8, 64, 8192),
        Architecture("Qwen/Qwen3-0.6B", 151_936, 1024, 28, 16, 8, 128, 3072),
        Architecture("Qwen/Qwen3-1.7B", 151_936, 2048, 28, 16, 8, 128, 6144),
        Architecture("Qwen/Qwen3-4B", 151_936, 2560, 36, 32, 8, 128, 9728),
        Architecture("Qwen/Qwen3-8B", 151_936, 4096, 36, 32, 8, 128, 12_288, tied=False),
    )
}

OWN = "bring your own, or train: circuitlab train"
SCOPE_2 = "GemmaScope 2: the mwhanna sets on the hub"
QWEN = "mwhanna on the hub: siblings of qwen3-0.6b-transcoders-lowl0"

SETS: tuple[tuple[str, str | None, str, str | None, int | None], ...] = (
    ("gpt2", None, OWN, None, None),
    ("google/gemma-2-2b", "mntss/clt-gemma-2-2b-426k", "hub", "clt", 2**14),
    ("google/gemma-2-2b", "mntss/clt-gemma-2-2b-2.5M", "hub", "clt", 3 * 2**15),
    ("google/gemma-2-2b", "mntss/gemma-scope-transcoders", "hub (GemmaScope)", "plt", 2**14),
    ("google/gemma-3-270m", None, SCOPE_2, None, None),
    ("google/gemma-3-1b-pt", None, SCOPE_2, None, None),
    ("google/gemma-3-4b-pt", None, SCOPE_2, None, None),
    ("meta-llama/Llama-3.2-1B", "mntss/clt-llama-3.2-1b-524k", "hub", "clt", 2**15),
    ("meta-llama/Llama-3.2-1B", "mntss/transcoder-Llama-3.2-1B", "hub", "plt", None),
    ("Qwen/Qwen3-0.6B", "mwhanna/qwen3-0.6b-transcoders-lowl0", "hub", "plt", None),
    ("Qwen/Qwen3-1.7B", None, QWEN, "plt", None),
    ("Qwen/Qwen3-4B", None, QWEN, "plt", None),
    ("Qwen/Qwen3-8B", None, QWEN, "plt", None),
)
"""Model, transcoder on the hub where its name is known, where to find it, kind, features per layer."""


def transcoder_parameters(kind: str, layers: int, features: int, d_model: int) -> tuple[int, int]:
    """Numbers in a transcoder's encoders and decoders, and in its vectors (biases and thresholds)."""
    outputs = layers * (layers + 1) // 2 if kind == "clt" else layers
    return features * d_model * (layers + outputs), layers * (2 * features + d_model)


def presets() -> pd.DataFrame:
    """One row per model and published transcoder; see the module's text for the columns."""
    return pd.DataFrame([_row(*known) for known in SETS]).astype(
        {"features": "Int64", "transcoder_parameters": "Int64", "transcoder": "string", "kind": "string"}
    )


def _row(name: str, transcoder: str | None, source: str, kind: str | None, features: int | None) -> dict:
    model = ARCHITECTURES[name]
    sizes = transcoder_parameters(kind, model.layers, features, model.d_model) if kind and features else None
    return {
        "model": name,
        "transcoder": transcoder,
        "source": source,
        "kind": kind,
        "layers": model.layers,
        "d_model": model.d_model,
        "features": features,
        "model_parameters": model.parameters,
        "transcoder_parameters": sum(sizes) if sizes else None,
        "memory_gb": _gigabytes(model.parameters + sum(sizes)) if sizes else float("nan"),
        "memory_gb_lazy": _gigabytes(model.parameters + sizes[1]) if sizes else _gigabytes(model.parameters),
    }


def _gigabytes(numbers: int) -> float:
    return round(FLOAT * numbers / GIGABYTE, 1)
