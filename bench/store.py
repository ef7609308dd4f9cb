"""A store of 100,000 labelled features: how long opening, looking up, searching and labelling take.

    python -m bench.store                             10 layers of 10,000 features, made up; medians in milliseconds
    python -m bench.store --folder evidence/          a store that is there
    python -m bench.store --layers 1                  other sizes

First calls (which build what later ones use) are given beside the medians, and the processor's time, all threads, which
a busy machine lengthens less.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import pyarrow as pa

import circuitlab as cl
from circuitlab.store.schema import EXAMPLES, FEATURES, Manifest
from circuitlab.store.writer import LayerTables, write_store

ROUNDS = 31
EXAMPLES_EACH = 16
TOKENS_EACH = 32
N_TOKENS = 32_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, help="an existing store; the default makes one")
    parser.add_argument("--layers", type=int, default=10)
    parser.add_argument("--features", type=int, default=100_000, help="in all layers together")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or make_store(Path(temporary), options.layers, options.features // options.layers)
        measure(folder, label=options.folder is None)


def measure(folder: Path, label: bool) -> None:
    """Print what one process sees; labels are written only into a store made here."""
    rng = np.random.default_rng(0)
    store = cl.Store(folder)
    names = list(store)
    texts = words(rng, 20_000)
    print(f"{store!r}\n{'':<48}{'first':>10}{'median':>10}{'CPU':>10}", flush=True)
    report("open", lambda: cl.Store(folder))
    if label:
        pool = np.array(texts)
        chosen = [" ".join(pool[rng.integers(len(pool), size=size)]) for size in rng.integers(1, 5, len(names))]
        for at in rng.choice(len(names), 50, replace=False):
            chosen[at] += " rabbit"
        labels = dict(zip(names, chosen, strict=True))
        report(f"label {len(names):,} features at once", lambda: store.label_all(labels), rounds=1)
    report("look up one feature", lambda: store[names[rng.integers(len(names))]])
    report('search "rabbit"', lambda: store.search("rabbit"))
    report("search a word of the labels", lambda: store.search(texts[rng.integers(len(texts))]))
    report('search "rabit" (similar words)', lambda: store.search("rabit"), rounds=11)
    report('search "rabbit", in examples too', lambda: store.search("rabbit", examples=True))
    report("filter by layer, density, label", lambda: store.filter(0, (0.0, 0.01), "a"))
    report("all densities (kept after the first)", lambda: store.densities)
    if label:
        report("label one feature", lambda: store.label(names[0], "Texas"), rounds=5)
        report("search after a new label", lambda: (store.label(names[1], "x"), store.search("rabbit")), rounds=5)


def report(what: str, run: Callable[[], object], rounds: int = ROUNDS) -> None:
    taken, busy = [], []
    for _ in range(rounds):
        start, cpu = time.perf_counter(), time.process_time()
        run()
        taken.append(1000 * (time.perf_counter() - start))
        busy.append(1000 * (time.process_time() - cpu))
    print(f"{what:<48}{taken[0]:>8.1f}ms{median(taken):>8.2f}ms{median(busy):>8.2f}ms", flush=True)


def words(rng: np.random.Generator, n: int) -> list[str]:
    letters = np.array(list("abcdefghijklmnop"))
    return ["".join(rng.choice(letters, size)) for size in rng.integers(3, 10, n)]


def make_store(folder: Path, n_layers: int, n_features: int) -> Path:
    """Rows as wide as a harvest's, with random numbers."""
    rng = np.random.default_rng(1)
    sizes = {"n_layers": n_layers, "n_features": n_features}
    manifest = Manifest(
        model={"name": "made up", "fingerprint": ""},
        transcoder={"name": "made up", "fingerprint": "", "kind": "clt", **sizes},
        corpus="random numbers",
        seed=1,
        context={"before": 24, "after": 7, "piece": 256},
        n_records=1000,
        n_tokens=10_000_000,
    )
    layers = (
        LayerTables(layer, feature_rows(rng, layer, n_features), example_rows(rng, layer, n_features))
        for layer in range(n_layers)
    )
    tokens = [" " + word for word in words(rng, N_TOKENS - 2)] + [" rabbit", " rabbits"]
    return write_store(folder, manifest, layers, tokens)


def feature_rows(rng: np.random.Generator, layer: int, n: int) -> pa.Table:
    active = rng.integers(1, 100_000, n)
    pair = {"token_id": rng.integers(0, N_TOKENS, 24 * n), "weight": rng.normal(size=24 * n)}
    other = {"layer": np.full(20 * n, layer), "index": rng.integers(0, n, 20 * n)}
    columns = {
        "layer": np.full(n, layer),
        "index": np.arange(n),
        "n_active": active,
        "density": active / 10_000_000,
        "largest": 1 + rng.random(n),
        "sum": rng.random(n) * active,
        "sum_squares": rng.random(n) * active,
        "histogram": lists(rng.integers(0, 10_000, 40 * n), 40),
        "histogram_edges": lists(np.tile(np.linspace(0, 2, 41), n), 41),
        "promoted": lists(structs({name: column[: 12 * n] for name, column in pair.items()}), 12),
        "suppressed": lists(structs({name: column[12 * n :] for name, column in pair.items()}), 12),
        "logit_histogram": lists(rng.integers(0, 1000, 40 * n), 40),
        "logit_histogram_edges": lists(np.tile(np.linspace(-1, 1, 41), n), 41),
        "coactive": lists(structs({**other, "count": rng.integers(1, 99, 20 * n), "product": rng.random(20 * n)}), 20),
        "nearest": lists(structs({**other, "cosine": rng.random(20 * n)}), 20),
    }
    return pa.table([_array(columns[field.name], field.type) for field in FEATURES], schema=FEATURES)


def example_rows(rng: np.random.Generator, layer: int, n: int) -> pa.Table:
    m = n * EXAMPLES_EACH
    place = np.tile(np.arange(EXAMPLES_EACH), n)
    columns = {
        "layer": np.full(m, layer),
        "index": np.repeat(np.arange(n), EXAMPLES_EACH),
        "quantile": place // 8,
        "quantile_name": pa.array(np.where(place < 8, "Top", "50% to 100% of the largest")),
        "rank": place % 8,
        "token_ids": lists(rng.integers(0, N_TOKENS, m * TOKENS_EACH), TOKENS_EACH),
        "activations": lists(np.maximum(rng.normal(size=m * TOKENS_EACH), 0), TOKENS_EACH),
        "peak": rng.integers(0, TOKENS_EACH, m),
        "copies": np.ones(m),
        "record": rng.integers(0, 1000, m),
        "position": rng.integers(0, 200, m),
    }
    return pa.table([_array(columns[field.name], field.type) for field in EXAMPLES], schema=EXAMPLES)


def lists(values: np.ndarray | pa.Array, size: int) -> pa.ListArray:
    """Lists of `size` values each."""
    flat = values if isinstance(values, pa.Array) else pa.array(values)
    return pa.ListArray.from_arrays(pa.array(np.arange(0, len(flat) + 1, size, dtype=np.int32)), flat)


def structs(columns: dict[str, np.ndarray]) -> pa.StructArray:
    return pa.StructArray.from_arrays([pa.array(column) for column in columns.values()], list(columns))


def _array(column: np.ndarray | pa.Array, kind: pa.DataType) -> pa.Array:
    return (column if isinstance(column, pa.Array) else pa.array(column)).cast(kind)


if __name__ == "__main__":
    main()
