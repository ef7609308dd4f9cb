"""One prompt's attribution graph: its nodes and edges as tables, and what can be asked of them.

A node is a feature at a position, a token embedding, an error (what the transcoder missed at a layer and
position), an output logit, or a constant (biases and whatever else does not depend on the prompt's nodes).
An edge is the exact linear effect of its source on the pre-activation of its target, so for every target t

    pre_activation_t = Σ_s A_{s→t}            (s over features, tokens, errors and constants)

which `Graph.check()` verifies. From "Circuit Tracing: Revealing Computational Graphs in Language Models"
(2025), https://transformer-circuits.pub/2025/attribution-graphs/methods.html. Differences: the paper's graphs
have no constants; here they are nodes, so that the sum closes, and are left out of influence and scores.

Edges are stored as compressed rows by target (`circuitlab.links`), never as an n×n matrix. Rows are in
topological order: every edge goes from a lower row to a higher one.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from jaxtyping import Bool

from circuitlab.evidence import NEURONS
from circuitlab.links import Links
from circuitlab.notebook import prepare_to_show

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from networkx import DiGraph

    from circuitlab.pruning import Scores
    from circuitlab.replacement import ReplacementModel
    from circuitlab.validation import Validation
    from circuitlab.view import View
    from circuitlab.widgets import AttributionGraph

KINDS = ("constant", "token", "error", "feature", "logit")
"""The kinds of node, in the order of rows."""

NODE_COLUMNS = {
    "id": "string",
    "kind": "string",
    "layer": "Int32",
    "pos": "Int32",
    "feature": "Int32",
    "token_id": "Int64",
    "token": "string",
    "activation": "float64",
    "pre_activation": "float64",
    "probability": "float64",
    "influence": "float64",
    "label": "string",
    "supernode": "string",
}
"""Columns of `Graph.nodes` and their pandas types; what does not apply to a node is missing."""


@dataclass(frozen=True, eq=False, repr=False)
class Graph:
    """An attribution graph. `nodes` has `NODE_COLUMNS`, one row per node, in topological order.

    Missing columns are filled with missing values; `influence`, where it is missing throughout, is computed
    (see `circuitlab.pruning`). `metadata` says where the graph comes from (model, transcoder, n_layers, …)
    and, once pruned, how (`metadata["pruned"]`).
    """

    prompt: str
    tokens: tuple[str, ...]
    nodes: pd.DataFrame
    links: Links
    metadata: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        nodes = _tidy_nodes(self.nodes)
        object.__setattr__(self, "tokens", tuple(self.tokens))
        object.__setattr__(self, "metadata", dict(self.metadata))
        _check_nodes(nodes, len(self.tokens))
        _check_edges(nodes, self.links)
        if len(nodes) and np.isnan(nodes["influence"].to_numpy(float)).all():
            from circuitlab.pruning import node_influence

            nodes["influence"] = node_influence(nodes, self.links)
        object.__setattr__(self, "nodes", nodes)
        prepare_to_show()

    # What is in it

    @cached_property
    def edges(self) -> pd.DataFrame:
        """`source`, `target` (ids, as categories) and `weight`, one row per edge; built on first access."""
        ids = pd.Index(self.nodes["id"].astype(object))
        return pd.DataFrame(
            {
                "source": pd.Categorical.from_codes(self.links.source, categories=ids),
                "target": pd.Categorical.from_codes(self.links.targets(), categories=ids),
                "weight": self.links.weight,
            }
        )

    @property
    def targets(self) -> pd.DataFrame:
        """The rows of `nodes` that the graph explains: its logits, as asked for or by falling probability."""
        return self.nodes.iloc[np.flatnonzero(self.kind_mask("logit"))]

    @property
    def in_neurons(self) -> bool:
        """Whether its features are the model's MLP neurons, for want of a transcoder."""
        return self.metadata.get("basis") == "neurons"

    @property
    def n_layers(self) -> int:
        """Layers of the model: from the metadata, else one more than the highest layer of a node."""
        known = self.metadata.get("n_layers")
        if isinstance(known, int):
            return known
        return int(self.nodes["layer"].fillna(-1).to_numpy(dtype=np.int64).max(initial=-1)) + 1

    @property
    def counts(self) -> tuple[int, int]:
        """How many nodes and edges it has, as figures, pages, the widget and the command line say it: without constants
        and their edges, which no graph shows unless asked."""
        constant = self.kind_mask("constant")
        return int((~constant).sum()), int((~constant[self.links.source]).sum())

    def kind_mask(self, *kinds: str) -> Bool[np.ndarray, " node"]:
        """True at the rows of these kinds."""
        return self.nodes["kind"].isin(kinds).to_numpy(dtype=bool)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """A short name per node: its label, else `L3/55`, the token, `error L3`, the answer, `constant`."""
        columns = self.nodes[["kind", "layer", "feature", "token", "label", "id"]].astype(object)
        return tuple(_name(*row) for row in columns.itertuples(index=False, name=None))

    @cached_property
    def neuronpedia_urls(self) -> pd.Series:
        """Each node's page at Neuronpedia, by id, where the file says which source set its features are from."""
        from circuitlab.neuronpedia import neuronpedia_urls

        return neuronpedia_urls(self)

    def neuronpedia_url(self, node_id: str) -> str | None:
        """The page of a node at Neuronpedia; None for what has none, or where the source set is not known."""
        url = self.neuronpedia_urls.iat[self.row(node_id)]
        return None if pd.isna(url) else str(url)

    def row(self, node_id: str) -> int:
        """The row number of a node; an unknown id is refused with the nearest known ones."""
        if node_id in self._rows:
            return self._rows[node_id]
        near = difflib.get_close_matches(str(node_id), list(self._rows), n=3, cutoff=0.4)
        hint = f"; nearest: {', '.join(near)}" if near else "; see graph.nodes.id"
        raise ValueError(f"no node {node_id!r} among the graph's {len(self.nodes)}{hint}")

    @cached_property
    def _rows(self) -> dict[str, int]:
        return {node_id: row for row, node_id in enumerate(self.nodes["id"])}

    def node(self, node_id: str) -> pd.Series:
        """One row of `nodes`."""
        return self.nodes.iloc[self.row(node_id)]

    def inputs(self, node_id: str, n: int | None = None) -> pd.DataFrame:
        """The edges into a node, strongest first: `id`, `kind`, `name`, `weight`, `share` of Σ |weight|."""
        row = self.row(node_id)
        span = slice(*self.links.indptr[row : row + 2])
        return self._edge_table(self.links.source[span], self.links.weight[span], n)

    def outputs(self, node_id: str, n: int | None = None) -> pd.DataFrame:
        """The edges out of a node, strongest first, in the columns of `inputs`."""
        where = np.flatnonzero(self.links.source == self.row(node_id))
        rows = np.searchsorted(self.links.indptr, where, side="right") - 1
        return self._edge_table(rows, self.links.weight[where], n)

    def _edge_table(self, rows: np.ndarray, weight: np.ndarray, n: int | None) -> pd.DataFrame:
        order = np.argsort(-np.abs(weight), kind="stable")[:n]
        total = float(np.abs(weight).sum(dtype=np.float64)) or 1.0
        table = self.nodes[["id", "kind"]].iloc[rows[order]].reset_index(drop=True)
        table["name"] = [self.names[row] for row in rows[order]]
        table["weight"] = weight[order]
        table["share"] = np.abs(weight[order]) / total
        return table

    # What can be asked of it

    def check(self) -> pd.DataFrame:
        """How far each target's in-edges are from its pre-activation.

        Per feature and logit: `total` = Σ weights, `size` = Σ |weights|, `miss` = total − pre_activation and
        `relative` = |miss| / size (rounding scales with the size of what is added, not with the sum).
        `.attrs["worst"]` is the largest `relative`, `.attrs["worst_of_value"]` the largest
        |miss| / |pre_activation|, and `.attrs["note"]` says why a graph cannot be expected to close, if so.
        """
        rows = np.flatnonzero(self.kind_mask("feature", "logit"))
        table = self.nodes[["id", "kind", "pre_activation"]].iloc[rows].reset_index(drop=True)
        table.insert(2, "total", self.links.row_sums()[rows])
        table["size"] = self.links.row_sums(absolute=True)[rows]
        table["miss"] = table["total"] - table["pre_activation"]
        with np.errstate(divide="ignore", invalid="ignore"):
            scale = np.maximum(table["size"], table["pre_activation"].abs())
            table["relative"] = (table["miss"].abs() / scale).where(table["miss"] != 0, 0.0)
            of_value = table["miss"].abs() / table["pre_activation"].abs()
        table.loc[table["pre_activation"].isna(), "relative"] = np.nan
        table.attrs["worst"] = float(table["relative"].max())
        table.attrs["worst_of_value"] = float(of_value.where(table["miss"] != 0, 0.0).max())
        table.attrs["note"] = self._why_open(table)
        return table

    def _why_open(self, table: pd.DataFrame) -> str:
        unknown = int(np.isnan(table["pre_activation"].to_numpy(float)).sum())
        if unknown:
            return (
                f"{unknown} of {len(table)} targets carry no pre_activation, so the sum of their in-edges "
                "cannot be checked (graph files of other tools do not record it)"
            )
        pruned = self.metadata.get("pruned")
        if pruned and not pruned.get("fold"):
            return "pruned without fold: miss is what the cut edges carried; prune(fold=True) keeps it"
        return ""

    def prune(self, nodes: float | int = 0.8, edges: float | int = 0.98, fold: bool = False) -> Graph:
        """The nodes that make up this share of the influence on the logits, then the edges that do.

        With `fold`, what is cut moves into the error node of its layer and position, so that `check()` still
        closes. See `circuitlab.pruning.prune`.
        """
        from circuitlab.pruning import prune

        return prune(self, nodes, edges, fold)

    def scores(self) -> Scores:
        """Replacement and completeness; see `circuitlab.pruning.scores`."""
        from circuitlab.pruning import scores

        return scores(self)

    def validate(self, model: ReplacementModel, **options: Any) -> Validation:
        """Ablate the most influential features and compare with what the graph says; see `circuitlab.validation`."""
        from circuitlab.validation import validate

        return validate(self, model, **options)

    def paths(
        self, n: int = 10, target: str | None = None, sources: tuple[str, ...] | list[str] = ("token",)
    ) -> pd.DataFrame:
        """The n strongest paths into a logit; see `circuitlab.paths.strongest_paths`."""
        from circuitlab.paths import strongest_paths

        return strongest_paths(self, n, target, tuple(sources))

    def routes(self, n: int = 10, target: str | None = None) -> pd.DataFrame:
        """What the answer runs through: word → label → target; see `circuitlab.routes.routes`."""
        from circuitlab.routes import routes

        return routes(self, n, target)

    def annotate(self, labels: Mapping[str, str] | None = None, supernodes: Mapping[str, str] | None = None) -> Graph:
        """The same graph with these labels and supernodes, each by node id (see `row` for unknown ids)."""
        nodes = self.nodes.copy()
        for column, values in (("label", labels), ("supernode", supernodes)):
            for node_id, text in (values or {}).items():
                nodes.iloc[self.row(node_id), nodes.columns.get_loc(column)] = text
        return replace(self, nodes=nodes)

    def arrange(self, view: View) -> Graph:
        """The same graph with a view in it, which `save` keeps; see `circuitlab.view.View.applied_to`."""
        return view.applied_to(self)

    # Files and figures

    def save(self, path: str | PathLike[str]) -> Path:
        """Write graph JSON (`.json`: other tools read it) or an archive (`.zip`: small, exact, any size).

        What was arranged in the notebook (pins, groups, labels, positions, thresholds) is kept by
        `graph.view().graph.save(path)`; this writes the graph as it was made or opened.
        """
        from circuitlab.formats.graph_files import save_graph

        return save_graph(self, Path(path))

    def to_parquet(self, folder: str | PathLike[str]) -> Path:
        """Write nodes.parquet, edges.parquet and graph.json into a folder; `Graph.open(folder)` reads them."""
        from circuitlab.formats.graph_tables import write_tables

        return write_tables(self, Path(folder), "parquet")

    def to_csv(self, folder: str | PathLike[str]) -> Path:
        """Write nodes.csv, edges.csv and graph.json into a folder; `Graph.open(folder)` reads them."""
        from circuitlab.formats.graph_tables import write_tables

        return write_tables(self, Path(folder), "csv")

    def to_networkx(self) -> DiGraph:
        """The graph for networkx: nodes with what `nodes` says of them (missing values left out), edges with `weight`,
        the prompt, tokens and metadata in `.graph`."""
        from circuitlab.formats.graph_networkx import to_networkx

        return to_networkx(self)

    @staticmethod
    def open(path: str | PathLike[str]) -> Graph:
        """Read a graph that `save`, circuit-tracer or Neuronpedia wrote (`.json`), an archive (`.zip`), a `.pt` of
        circuit-tracer (nothing in it is run), or a folder of tables that `to_parquet` or `to_csv` wrote."""
        from circuitlab.formats.graph_files import open_graph

        return open_graph(Path(path))

    def savefig(self, path: str | PathLike[str], **options: Any) -> Path:
        """Draw the graph, or with `view` its subgraph, into an SVG, PDF, PNG or PGF file.

        Options (`width`, `view`, `theme`, `title`, …) as in `circuitlab.figures.savefig`.
        """
        from circuitlab.figures import savefig

        return savefig(self, path, **options)

    def plot(self, ax: Axes | None = None, view: View | None = None, **options: Any) -> Axes:
        """Draw the graph, or with `view` its subgraph, into matplotlib axes; see `circuitlab.figures.draw`."""
        from circuitlab.figures import draw

        return draw(self, ax=ax, view=view, **options)

    def view(self, **options: Any) -> AttributionGraph:
        """The interactive graph of a notebook, and the handle to what is arranged in it: one per graph, also shown
        by `graph` at the end of a cell. Options are set on it, as in `AttributionGraph(graph, **options)`."""
        from circuitlab.widgets.display import own_view

        return own_view(self, **options)

    def to_html(self, path: str | PathLike[str], **options: Any) -> Path:
        """Write one offline page that stays interactive; options as in `circuitlab.page.page`."""
        from circuitlab.page import write_page

        return write_page(self, path, **options)

    def _repr_mimebundle_(self, **_filters: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        from circuitlab.widgets.display import mimebundle

        return mimebundle(self)

    def __repr__(self) -> str:
        text = self.prompt if len(self.prompt) <= 60 else self.prompt[:59] + "…"
        answer = ""
        if len(self.targets):
            best = self.targets.iloc[0]
            chance = "" if pd.isna(best["probability"]) else f" ({percent(best['probability'])})"
            answer = f" → {self.names[self.row(best['id'])]}{chance}"
        pruned = ", pruned" if "pruned" in self.metadata else ""
        pruned += f", {NEURONS}" if self.in_neurons else ""
        n_nodes, n_edges = self.counts
        return f"<Graph {text!r}{answer}: {n_nodes:,} nodes, {n_edges:,} edges{pruned}>"


def percent(chance: float | int) -> str:
    """A probability as all outputs say it: whole percents in the middle, a decimal at the ends, where it matters."""
    if 0 < chance < 0.0005:
        return "<0.1%"
    if 0.9995 <= chance < 1:
        return ">99.9%"
    return f"{chance:.0%}" if chance in (0, 1) or 0.0995 <= chance < 0.995 else f"{chance:.1%}"


def _name(kind: str, layer: Any, feature: Any, token: Any, label: Any, node_id: str) -> str:
    if isinstance(label, str) and label:
        return label
    if kind == "feature" and not pd.isna(layer) and not pd.isna(feature):
        return f"L{layer}/{feature}"
    if kind in ("token", "logit") and isinstance(token, str):
        return token.strip() or repr(token)
    if kind == "error" and not pd.isna(layer):
        return f"error L{layer}"
    return node_id.replace("_", " ") if kind == "constant" else node_id


def _tidy_nodes(nodes: pd.DataFrame) -> pd.DataFrame:
    if not isinstance(nodes, pd.DataFrame):
        raise ValueError(f"nodes must be a pandas DataFrame with columns {', '.join(NODE_COLUMNS)}; got {type(nodes)}")
    unknown = [str(column) for column in nodes.columns if column not in NODE_COLUMNS]
    if unknown:
        near = difflib.get_close_matches(unknown[0], list(NODE_COLUMNS), n=1)
        hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(NODE_COLUMNS)}"
        raise ValueError(f"nodes have an unknown column {unknown[0]!r}; {hint}")
    for column in ("id", "kind"):
        if column not in nodes.columns:
            raise ValueError(f"nodes lack the column {column!r}; given were {', '.join(map(str, nodes.columns))}")
    tidy = {}
    for column, dtype in NODE_COLUMNS.items():
        values = nodes[column] if column in nodes.columns else pd.Series(pd.NA, index=nodes.index, dtype=object)
        if str(values.dtype) == dtype:
            tidy[column] = values
            continue
        try:
            if dtype == "float64":
                tidy[column] = values.astype("Float64").astype(object).where(values.notna(), np.nan).astype(np.float64)
            else:
                tidy[column] = values.astype(object).astype(dtype)
        except (TypeError, ValueError, OverflowError) as error:
            raise ValueError(f"nodes' column {column!r} must hold {dtype} or missing values: {error}") from error
    return pd.DataFrame({column: values.array for column, values in tidy.items()})


def _check_nodes(nodes: pd.DataFrame, n_positions: int) -> None:
    nameless = np.flatnonzero(nodes["id"].isna().to_numpy(bool))
    if nameless.size:
        raise ValueError(f"node {nameless[0]} has no id")
    twice = nodes.loc[nodes["id"].duplicated(), "id"]
    if len(twice):
        raise ValueError(f"node ids must be unique; {twice.iloc[0]!r} occurs more than once")
    wrong = nodes.loc[~nodes["kind"].isin(KINDS)]
    if len(wrong):
        raise ValueError(
            f"node {wrong['id'].iloc[0]!r} is of kind {wrong['kind'].iloc[0]!r}; expected one of {', '.join(KINDS)}"
        )
    away = nodes.loc[((nodes["pos"] < 0) | (nodes["pos"] >= n_positions)).fillna(False).to_numpy(bool)]
    if len(away):
        raise ValueError(
            f"node {away['id'].iloc[0]!r} is at position {away['pos'].iloc[0]}; the prompt has {n_positions} tokens"
        )


def _check_edges(nodes: pd.DataFrame, links: Links) -> None:
    if links.n_nodes != len(nodes):
        raise ValueError(f"links are for {links.n_nodes} nodes (indptr has one more entry); the table has {len(nodes)}")
    if not len(links):
        return
    filled = np.flatnonzero(links.counts)
    highest = links.last_sources()[filled]
    back = np.flatnonzero(highest >= filled)
    if back.size:
        target, source = filled[back[0]], highest[back[0]]
        raise ValueError(
            f"the edge {nodes['id'].iloc[source]} → {nodes['id'].iloc[target]} goes from row {source} back "
            f"to row {target}: rows must be in topological order (constants, tokens, errors, features by layer, "
            "logits), and a graph has no cycles"
        )
    kind = nodes["kind"].iloc[filled]
    rootless = kind.isin(("token", "error", "constant")).to_numpy(bool)
    if rootless.any():
        row = filled[rootless.argmax()]
        raise ValueError(
            f"node {nodes['id'].iloc[row]!r} is a {nodes['kind'].iloc[row]} but has {links.counts[row]} "
            "in-edges; only features and logits are targets"
        )
