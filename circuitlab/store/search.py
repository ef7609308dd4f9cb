"""Finding features by a word: in their labels, in the tokens they promote, in the tokens their examples peak at.

Ranked: a label that is the text, begins with it, holds it; then tokens that are the text or begin with it; and where no
label holds the text, labels whose words differ from it by a letter or two. The index is made in memory on the first
search and the part with labels again when labels have changed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pandas as pd
import pyarrow as pa

from circuitlab.evidence import parse_name

if TYPE_CHECKING:
    from circuitlab.store.store import Store

LONGEST_QUERY = 1_000
COLUMNS = ("name", "layer", "index", "label", "found_in", "match", "text", "density")
_MATCHES = ("exact", "prefix", "substring")
_IN_LABELS = """
    SELECT layer, index, label AS text,
        CASE WHEN lower = $text THEN 0 WHEN starts_with(lower, $text) THEN 1 ELSE 2 END AS match
    FROM labels WHERE contains(lower, $text)
    ORDER BY match, length(label), layer, index LIMIT $n"""
_TOKENS = """
    SELECT token_id, token, CASE WHEN lower = $text THEN 0 ELSE 1 END AS match FROM tokens
    WHERE lower = $text OR (length($text) > 1 AND starts_with(lower, $text))"""
_BY_TOKENS = """
    SELECT layer, index, arg_min(token, (match, -weight)) AS text, min(match) AS match FROM {table}
    JOIN ({tokens}) USING (token_id)
    GROUP BY layer, index ORDER BY match, max(weight) DESC, layer, index LIMIT $n"""
_SIMILAR_WORDS = """
    SELECT layer, index, word, distance FROM words JOIN (
        SELECT word, damerau_levenshtein(word, $text) AS distance FROM vocabulary
        WHERE abs(length(word) - length($text)) <= $most
    ) USING (word) WHERE distance <= $most"""


class SearchIndex:
    """Looks texts up in one store."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._labels: Mapping[str, str] | None = None
        self._words: Mapping[str, str] | None = None
        self._made: set[str] = set()

    def search(self, text: str, n: int = 50, examples: bool = False) -> pd.DataFrame:
        """See `Store.search`."""
        asked = text.strip()
        if not asked or len(asked) > LONGEST_QUERY:
            raise ValueError(f"search for 1 to {LONGEST_QUERY:,} characters; got {len(asked):,}")
        lower = asked.lower()
        found = [(row, "label", _MATCHES[row[3]]) for row in self._in_labels(lower, n)]
        similar = [] if found else [(row, "label", "similar") for row in self._similar(lower, n)]
        found += [(row, "promoted", _MATCHES[row[3]]) for row in self._by_tokens("promoted", lower, n)]
        if examples:
            found += [(row, "examples", _MATCHES[row[3]]) for row in self._by_tokens("peaks", lower, n)]
        return self._table(found + similar, n)

    def _table(self, found: list[tuple[tuple[Any, ...], str, str]], n: int) -> pd.DataFrame:
        """One row per feature, where it was found first."""
        labels, densities = self.store.labels, self.store.densities
        rows: dict[str, tuple[Any, ...]] = {}
        for (layer, index, text, _), place, match in found:
            name = f"L{layer}/{index}"
            rows.setdefault(name, (name, layer, index, labels.get(name, ""), place, match, text, densities.get(name)))
        return pd.DataFrame(list(rows.values())[:n], columns=list(COLUMNS)).astype({"density": "float64"})

    # ---- labels ----

    def _in_labels(self, text: str, n: int) -> list[tuple[Any, ...]]:
        labels = self.store.labels
        if labels is not self._labels:
            places = [parse_name(name) or (0, 0) for name in labels]
            table = pa.table(
                {
                    "layer": pa.array([layer for layer, _ in places], pa.int32()),
                    "index": pa.array([index for _, index in places], pa.int32()),
                    "label": pa.array(labels.values(), pa.string()),
                    "lower": pa.array([label.lower() for label in labels.values()], pa.string()),
                }
            )
            self.store.tables.put("labels", table)
            self._labels = labels
        return self.store.tables.run(self.store.folder, _IN_LABELS, {"text": text, "n": n})

    def _similar(self, text: str, n: int) -> list[tuple[Any, ...]]:
        """Labels with a word near each word of the text."""
        if self._words is not self._labels:
            split = "SELECT DISTINCT layer, index, unnest(string_split_regex(lower, '\\W+')) AS word FROM labels"
            self.store.tables.run(self.store.folder, f"CREATE OR REPLACE TABLE words AS {split}")
            self.store.tables.run(
                self.store.folder, "CREATE OR REPLACE TABLE vocabulary AS SELECT DISTINCT word FROM words"
            )
            self._words = self._labels
        distances: dict[tuple[int, int], int] | None = None
        for word in re.findall(r"\w+", text)[:8]:
            most = 0 if len(word) < 3 else 1 if len(word) < 6 else 2
            rows = self.store.tables.run(self.store.folder, _SIMILAR_WORDS, {"text": word, "most": most})
            near: dict[tuple[int, int], int] = {}
            for layer, index, _, distance in rows:
                near[layer, index] = min(distance, near.get((layer, index), distance))
            distances = (
                near
                if distances is None
                else {place: distances[place] + distance for place, distance in near.items() if place in distances}
            )
        labels = self.store.labels
        ranked = sorted((distance, place) for place, distance in (distances or {}).items())
        return [(*place, labels.get(f"L{place[0]}/{place[1]}", ""), 3) for _, place in ranked[:n]]

    # ---- tokens ----

    def _by_tokens(self, table: str, text: str, n: int) -> list[tuple[Any, ...]]:
        if "tokens" not in self._made:
            tokens = self.store.tokens
            lower = [token.strip(" ▁Ġ").lower() for token in tokens]
            self.store.tables.put("tokens", pa.table({"token_id": range(len(tokens)), "token": tokens, "lower": lower}))
            self._made.add("tokens")
        if table not in self._made:
            {"promoted": self.store.index_promoted, "peaks": self.store.index_peaks}[table]()
            self._made.add(table)
        sql = _BY_TOKENS.format(table=table, tokens=_TOKENS)
        return self.store.tables.run(self.store.folder, sql, {"text": text, "n": n})
