"""circuitlab's side of the comparison: load a case from local folders, trace, write times, memory and graph.

Runs in circuitlab's own environment with the command line of peer_circuit_tracer.py. The graph is written
as it is stored, sparse: `indptr`, `source`, `weight` (compressed rows by target) and the columns that name
each node.
"""

import json
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from measure import arguments, measure, write

import circuitlab as cl

NAMES = ("layer", "pos", "feature", "token_id")
NUMBERS = ("activation", "pre_activation", "probability", "influence")


def save_graph(graph: cl.Graph, path: Path) -> None:
    """The links, the node columns (missing whole numbers as -1) and the scores."""
    nodes, links = graph.nodes, graph.links
    columns = {name: nodes[name].fillna(-1).to_numpy(dtype=np.int64) for name in NAMES}
    columns |= {name: nodes[name].to_numpy(dtype=np.float64) for name in NUMBERS}
    kind, scores = nodes["kind"].to_numpy(dtype="U8"), graph.scores()
    np.savez(
        path, kind=kind, **columns, indptr=links.indptr, source=links.source, weight=links.weight,
        scores=np.array([scores.replacement, scores.completeness]),
        tokens=np.array(graph.metadata["token_ids"]),
    )  # fmt: skip


def main() -> None:
    options = arguments(__doc__)
    torch.set_num_threads(options.threads)
    case = json.loads((options.case / "case.json").read_text())
    model = cl.load(case["model"], case["transcoder"])

    def trace(_batch_size: int, tokens: list[int]) -> cl.Graph:
        return model.trace(tokens, max_features=None, mask_bos=True, progress=False)

    record, graph = measure(trace, case["tokens"], options)
    if options.graph:
        record["nodes"], record["edges"] = len(graph.nodes), len(graph.links.weight)
        record["active_features"] = int((graph.nodes["kind"] == "feature").sum())
        record["worst_miss"] = graph.check().attrs["worst"]
        save_graph(graph, options.graph)
    packages = ("circuitlab", "transformer-lens", "transformers", "torch")
    record["versions"] = {name: version(name) for name in packages} | {"python": sys.version.split()[0]}
    write(record, options)


if __name__ == "__main__":
    main()
