"""The strongest paths of a graph: which chain of nodes carries how much into an answer.

Since the frozen network is linear and a feature that is on passes its pre-activation through, what a source s
adds to a logit along one path s → t₁ → … → t_m → logit is exactly

    A_{s→t₁}/p_{t₁} · A_{t₁→t₂}/p_{t₂} · … · A_{t_m→logit}        (p_t the pre-activation of t)

each factor but the last being the share of t's value that comes along that edge. Over all paths from tokens,
errors and constants these add up to the logit's pre-activation. Paths of "Circuit Tracing" (2025),
https://transformer-circuits.pub/2025/attribution-graphs/methods.html; the exact attribution to a path follows
from its definition of edges.

Shares may exceed 1 in size and be negative, so shortest-path methods that stop early (Dijkstra's) go wrong;
here the largest products are found by dynamic programming in topological order, which is exact because sizes
multiply.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float64

from circuitlab.graph import KINDS, Graph


def strongest_paths(
    graph: Graph, n: int = 10, target: str | None = None, sources: tuple[str, ...] = ("token",)
) -> pd.DataFrame:
    """The n paths of largest |contribution| from nodes of the kinds `sources` into `target`, strongest first.

    `target` is the id of a logit or feature, by default the first logit. Columns: `contribution` (to the
    target's pre-activation), `share` (of that pre-activation; missing where it is unknown), `nodes` (ids
    along the path), `names`, and `text`, the path on one line.
    """
    if n < 1:
        raise ValueError(f"n={n}: ask for at least 1 path")
    unknown = [kind for kind in sources if kind not in KINDS or kind == "logit"]
    if unknown or not sources:
        raise ValueError(f"sources={sources!r}: expected some of {', '.join(KINDS[:-1])}")
    end = target_row(graph, target)
    prefixes = _Prefixes(graph, end, graph.kind_mask(*sources))
    found = []
    while len(found) < n and (step := prefixes.get(end, len(found))) is not None:
        found.append(step)
    rows = [prefixes.path(end, rank) for rank in range(len(found))]
    contribution = np.array([product for product, _, _ in found], dtype=np.float64)
    whole = graph.nodes["pre_activation"].iat[end]
    return pd.DataFrame(
        {
            "contribution": contribution,
            "share": contribution / whole if whole else np.nan,
            "nodes": [tuple(graph.nodes["id"].iat[row] for row in path) for path in rows],
            "names": [tuple(graph.names[row] for row in path) for path in rows],
            "text": _texts(graph, rows, contribution.tolist()),
        }
    )


def _texts(graph: Graph, paths: list[list[int]], contributions: list[float]) -> list[str]:
    """One line per path; lines that would read the same get positions."""
    plain = [path_text(graph, rows, 0.0) for rows in paths]
    return [
        path_text(graph, rows, amount, positions=plain.count(text) > 1)
        for rows, amount, text in zip(paths, contributions, plain, strict=True)
    ]


def path_text(graph: Graph, rows: Sequence[int], contribution: float, longest: int = 7, positions: bool = False) -> str:
    """One line: `Dal·las → L1/234 "Texas" → … → Austin  +1.23`; of more than `longest` nodes the middle is cut.

    With `positions` features stand as `L1/234 @6`.
    """
    names = [_path_name(graph, row, positions) for row in rows]
    if len(names) > longest:
        head = longest // 2
        names = [*names[:head], "…", *names[len(names) - (longest - head - 1) :]]
    return f"{' → '.join(names)}  {contribution:+.3g}"


def word_of(tokens: Sequence[str], pos: int) -> str:
    """A token with the pieces of its word before it, dots between: `Dal·las` for `las` after ` Dal`."""
    pieces = [tokens[pos].strip() or repr(tokens[pos])]
    while pos > 0 and len(pieces) < 4 and _is_word(tokens[pos]) and _is_word(tokens[pos - 1].lstrip()):
        pos -= 1
        pieces.insert(0, tokens[pos].strip())
    return "·".join(pieces)


def _is_word(token: str) -> bool:
    """Letters only, of a script that puts spaces between words."""
    return token.isalpha() and all(ord(character) < 0x2E80 for character in token)


def _path_name(graph: Graph, row: int, position: bool = False) -> str:
    columns = (graph.nodes[name] for name in ("kind", "layer", "feature", "pos"))
    kind, layer, feature, pos = (column.iat[row] for column in columns)
    if kind == "token" and not pd.isna(pos):
        return word_of(graph.tokens, int(pos))
    name = graph.names[row]
    if kind == "feature" and not pd.isna(feature) and name != f"L{layer}/{feature}":
        name = f'L{layer}/{feature} "{name}"'
    return f"{name} @{pos}" if position and kind == "feature" and not pd.isna(pos) else name


def target_row(graph: Graph, target: str | None) -> int:
    """The row that paths lead into: of this logit or feature, by default of the first logit."""
    if target is not None:
        row = graph.row(target)
        kind = graph.nodes["kind"].iat[row]
        if kind not in ("logit", "feature"):
            raise ValueError(f"target={target!r} is a {kind}; paths lead into a logit or a feature")
        return row
    logits = np.flatnonzero(graph.kind_mask("logit"))
    if not logits.size:
        raise ValueError("the graph has no logit: name a feature as target=")
    return int(logits[0])


def passing(graph: Graph) -> Float64[np.ndarray, " node"]:
    """1 / p_t for features, 0 for what nothing passes through; where p is unknown the activation serves."""
    nodes = graph.nodes
    value = nodes["pre_activation"].fillna(nodes["activation"]).to_numpy(float)
    on = graph.kind_mask("feature") & (value != 0.0)
    if np.isnan(value[on]).any():
        row = int(np.flatnonzero(on & np.isnan(value))[0])
        raise ValueError(
            f"feature {nodes['id'].iat[row]} has neither pre_activation nor activation, so the share of an "
            "input in it is unknown; paths need one of the two"
        )
    return np.divide(1.0, value, out=np.zeros(len(value)), where=on)


class _Prefixes:
    """The products along the paths from the sources into each row, by falling size, found one by one on demand.

    First one sweep gives every row its largest product. The next one of a row is then the largest among: for
    each in-edge, its share times the next product of the edge's source not yet used; only rows that a wanted
    path visits are ever asked (the recursive enumeration of Jiménez and Marzal, 1999, on products).
    """

    def __init__(self, graph: Graph, end: int, is_source: Bool[np.ndarray, " node"]) -> None:
        self.links, self.end, self.is_source = graph.links, end, is_source
        self.passing = passing(graph)
        self.passing[end] = 1.0
        self.largest = is_source.astype(np.float64)
        for row in np.flatnonzero(self.links.counts[: end + 1] > 0).tolist():
            source, share = self._inputs(row)
            into = np.abs(share * self.largest[source]).max(initial=0.0)
            self.largest[row] = max(into, self.largest[row] if row != end else 0.0)
        self.found: dict[int, list[tuple[float, int, int]]] = {}
        self.waiting: dict[int, list[tuple[float, int, int, float]]] = {}
        self.untouched: dict[int, Iterator[tuple[float, int, float]]] = {}
        self.next_untouched: dict[int, tuple[float, int, float] | None] = {}
        self.last_taken: dict[int, tuple[int, int, float]] = {}

    def _inputs(self, row: int) -> tuple[np.ndarray, np.ndarray]:
        span = slice(self.links.indptr[row], self.links.indptr[row + 1])
        return self.links.source[span], self.links.weight[span] * self.passing[row]

    def get(self, row: int, rank: int) -> tuple[float, int, int] | None:
        """The product of this rank into a row, with the row and rank it continues; None past the last."""
        if row not in self.found:
            self._visit(row)
        found = self.found[row]
        while len(found) <= rank:
            step = self._take_largest(row)
            if step is None:
                return None
            found.append(step)
        return found[rank]

    def _visit(self, row: int) -> None:
        source, share = self._inputs(row)
        size = np.abs(share * self.largest[source])
        order = np.argsort(-size, kind="stable")
        order = order[size[order] > 0.0]
        edges = zip(size[order].tolist(), source[order].tolist(), share[order].tolist(), strict=True)
        self.found[row], self.waiting[row], self.untouched[row] = [], [], edges
        self.next_untouched[row] = next(edges, None)
        if self.is_source[row] and row != self.end:
            self.waiting[row].append((-1.0, -1, 0, 1.0))

    def _take_largest(self, row: int) -> tuple[float, int, int] | None:
        waiting, fresh = self.waiting[row], self.next_untouched[row]
        if row in self.last_taken:
            source, rank, share = self.last_taken.pop(row)
            after = self.get(source, rank + 1)
            if after is not None:
                heapq.heappush(waiting, (-abs(share * after[0]), source, rank + 1, share))
        if fresh is not None and (not waiting or fresh[0] >= -waiting[0][0]):
            self.next_untouched[row] = next(self.untouched[row], None)
            source, rank, share = fresh[1], 0, fresh[2]
        elif waiting:
            _, source, rank, share = heapq.heappop(waiting)
        else:
            return None
        if source < 0:
            return 1.0, -1, 0
        prefix = self.get(source, rank)
        assert prefix is not None
        self.last_taken[row] = source, rank, share
        return share * prefix[0], source, rank

    def path(self, row: int, rank: int) -> list[int]:
        """The rows along the path behind a product, source first."""
        rows = []
        while row >= 0:
            rows.append(row)
            _, row, rank = self.found[row][rank]
        return rows[::-1]
