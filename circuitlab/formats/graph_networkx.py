"""A graph as a networkx DiGraph."""

from __future__ import annotations

import networkx as nx
import pandas as pd

from circuitlab.graph import Graph


def to_networkx(graph: Graph) -> nx.DiGraph:
    """Nodes by id with the columns that apply to them, edges with `weight`, from source to target, in our order."""
    made = nx.DiGraph(prompt=graph.prompt, tokens=list(graph.tokens), metadata=graph.metadata)
    for record in graph.nodes.to_dict("records"):
        known = {str(column): value for column, value in record.items() if column != "id" and not pd.isna(value)}
        made.add_node(record["id"], **known)
    ids = graph.nodes["id"].tolist()
    triples = zip(graph.links.source.tolist(), graph.links.targets().tolist(), graph.links.weight.tolist(), strict=True)
    made.add_weighted_edges_from((ids[source], ids[target], weight) for source, target, weight in triples)
    return made
