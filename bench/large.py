"""Large inputs: time and peak memory of opening a 100 MB graph file and of tracing long prompts.

    python -m bench.large json                       # 100 MB, 1,000,000 links: our mark is ten times the file
    python -m bench.large stories --transcoder DIR   # 512 tokens of stories260k with the transcoder in DIR
    python -m bench.large gpt2                       # 1,000 tokens, random GPT-2-small, PLT of 24,576 features
    python -m bench.large gpt2 --max-features 100    # the same memory, a share of the time

The mark for traces is 8 GB with max_features=4,000. Each case runs in this process alone; the peak is of the whole
process (VmHWM), libraries and weights included. The random transcoder is TopK with 32 active features per position and
layer, about what published ones have; its outputs are random, so that its graph says nothing.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
STORIES = ROOT.parent / "shared" / "models" / "stories260k"


def peak() -> float:
    """The most memory that this process has had, in GB (10^9 bytes)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def write_large_graph(path: Path, n_nodes: int, n_links: int) -> None:
    """A graph file as other tools write it: random features of 26 layers, random links upwards."""
    rng = np.random.default_rng(0)
    layer = np.sort(rng.integers(0, 26, n_nodes))
    pos, chance = rng.integers(0, 64, n_nodes), rng.random(n_nodes)
    nodes: list[dict[str, Any]] = []
    for i in range(n_nodes):
        where = {"layer": str(layer[i]), "ctx_idx": int(pos[i]), "feature": int(layer[i]) * 100_000 + i}
        names = {"node_id": f"{layer[i]}_{i}_{pos[i]}", "jsNodeId": f"{layer[i]}_{i}-0", "clerp": ""}
        more = {"feature_type": "cross layer transcoder", "token_prob": 0.0, "is_target_logit": False, "run_idx": 0}
        nodes.append({**names, **where, **more, "influence": chance[i], "activation": 30 * chance[i]})
    answer = {"node_id": "27_5_63", "jsNodeId": "L_5-63", "layer": "27", "ctx_idx": 63, "feature": 5}
    nodes.append({**answer, "feature_type": "logit", "clerp": 'Output " x" (p=0.500)', "token_prob": 0.5})
    first = np.searchsorted(layer, layer)  # how many features lie below each
    low = int(np.searchsorted(first, 1))
    pairs: np.ndarray = np.empty((0, 2), dtype=np.int64)
    while len(pairs) < n_links:
        target = rng.integers(low, n_nodes, n_links)
        fresh = np.stack([target, (rng.random(n_links) * first[target]).astype(np.int64)], axis=1)
        pairs = np.unique(np.concatenate([pairs, fresh]), axis=0)
    pairs = pairs[np.sort(rng.permutation(len(pairs))[:n_links])]
    ids = [node["node_id"] for node in nodes]
    weights = rng.normal(size=n_links).tolist()
    links = [
        {"source": ids[s], "target": ids[t], "weight": w} for (t, s), w in zip(pairs.tolist(), weights, strict=True)
    ]
    links[-1]["target"] = answer["node_id"]
    tokens = [f" t{i}" for i in range(64)]
    metadata = {"slug": "large", "scan": "large", "prompt": "".join(tokens), "prompt_tokens": tokens}
    path.write_text(json.dumps({"metadata": metadata, "qParams": {}, "nodes": nodes, "links": links}))


def open_json(path: Path) -> dict[str, Any]:
    from circuitlab.graph import Graph

    size = path.stat().st_size
    start = time.perf_counter()
    graph = Graph.open(path)
    seconds = time.perf_counter() - start
    return {
        "bytes": size,
        "links": len(graph.links),
        "seconds": seconds,
        "peak_GB": peak(),
        "times_file": peak() * 1e9 / size,
    }


def trace(replacement: Any, tokens: list[int], max_features: int) -> dict[str, Any]:
    """Trace token ids; how long, how much memory, and whether the edges close."""
    before, start = peak(), time.perf_counter()
    graph = replacement.trace(tokens, max_features=max_features)
    seconds = time.perf_counter() - start
    return {
        "tokens": len(tokens),
        "active_features": graph.metadata["active_features"],
        "nodes": len(graph.nodes),
        "edges": len(graph.links),
        "seconds": seconds,
        "peak_GB_before": before,
        "peak_GB": peak(),
        "worst_relative_miss": graph.check().attrs["worst"],
    }


def stories(options: argparse.Namespace) -> dict[str, Any]:
    import circuitlab as cl

    replacement = cl.load(STORIES, options.transcoder)
    text = "Once upon a time, there was a little girl named Lily. She loved to play outside in the park. " * 40
    tokens = replacement.model.to_tokens(text[:600]).tolist()
    while len(tokens) < 512:
        tokens += tokens[1:]
    return trace(replacement, tokens[: min(options.tokens or 512, 512)], options.max_features)


def gpt2(options: argparse.Namespace) -> dict[str, Any]:
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    import circuitlab as cl

    torch.manual_seed(0)
    model = cl.load_model(GPT2LMHeadModel(GPT2Config()))
    config = cl.TranscoderConfig("plt", 12, 24_576, 768, activation="topk", k=32)
    transcoder = cl.Transcoder(config).requires_grad_(False)
    for weights in (*transcoder.W_enc, *transcoder.W_dec):
        weights.normal_(std=0.02)
    tokens = torch.randint(0, 50_000, (options.tokens or 1000,)).tolist()
    return trace(cl.load(model, transcoder), tokens, options.max_features)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("case", choices=["json", "stories", "gpt2"])
    parser.add_argument("--transcoder", help="folder with a transcoder of stories260k")
    parser.add_argument("--tokens", type=int, help="fewer than the case has")
    parser.add_argument("--max-features", type=int, default=4000)
    parser.add_argument("--file", type=Path, help="a graph file to open instead of a made one")
    options = parser.parse_args()
    if options.case == "json":
        with tempfile.TemporaryDirectory() as folder:
            path = options.file or Path(folder) / "large.json"
            if options.file is None:
                write_in_another_process(path)
            found = open_json(path)
    else:
        found = stories(options) if options.case == "stories" else gpt2(options)
    print(json.dumps({"case": options.case, **found}, indent=1))


def write_in_another_process(path: Path) -> None:
    """So that writing the file does not count into the peak of reading it."""
    from multiprocessing import get_context

    worker = get_context("spawn").Process(target=write_large_graph, args=(path, 60_000, 1_000_000))
    worker.start()
    worker.join()


if __name__ == "__main__":
    main()
