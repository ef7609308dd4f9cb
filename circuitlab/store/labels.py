"""Labels of features, beside a store, with their history.

`labels.parquet` is only ever added to: one row per label that was given, by whom and when. What counts is the newest
label of the best source (the user before a language model before evidence before what was bundled); an empty label by
the user says that the feature has none. A harvest never touches the file; merging stores joins their histories.

Two processes may write at once: each takes the lock, reads what is there, adds its rows and puts the whole file in
place. Labels are text: markup in them is shown, never interpreted.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from filelock import FileLock, Timeout

from circuitlab.evidence import parse_name
from circuitlab.formats.checks import LONGEST_LABEL
from circuitlab.formats.files import write_atomically
from circuitlab.store.schema import LABELS, LABELS_FILE
from circuitlab.store.tables import check_parquet

SOURCES = ("user", "language model", "evidence", "bundled")
"""Who gives labels, the best first."""
LOCK_FILE = ".labels.lock"
LOCK_SECONDS = 60.0
MOST_LABELS = 50_000_000
NAME = r"^L\d{1,6}/\d{1,12}$"


@dataclass(frozen=True)
class Label:
    """One label that was given. `score` and `confidence` where its source knows them; `created` in ISO 8601, UTC."""

    name: str
    label: str
    source: str = "user"
    score: float | int | None = None
    confidence: float | int | None = None
    created: str = ""
    sequence: int = -1


class Labels:
    """The labels beside one store. Reading sees what other processes have written since."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.path = self.folder / LABELS_FILE
        self._kept: tuple[object, dict[str, str]] = (None, {})

    @property
    def version(self) -> object:
        """Changes when the file does."""
        try:
            found = self.path.stat()
        except FileNotFoundError:
            return None
        return found.st_mtime_ns, found.st_size, found.st_ino

    @property
    def current(self) -> dict[str, str]:
        """Of each feature that was labelled, the label that counts; an empty one says that it has none."""
        version = self.version
        if version != self._kept[0]:
            self._kept = version, counting(read_table(self.path))
        return self._kept[1]

    def table(self, name: str | None = None) -> pd.DataFrame:
        """Every label ever given, or those of one feature, in order: the columns of `Label`."""
        table = read_table(self.path)
        rows = table.to_pandas()
        return rows if name is None else rows[rows["name"] == name].reset_index(drop=True)

    def add(self, labels: Iterable[Label]) -> None:
        """Write labels behind the others, all with the time of now; of two by one source for one name the later stays.

        ValueError for what is no name, no text, too long, or of no known source.
        """
        given = {(label.name, label.source): label for label in map(checked, labels)}
        if not given:
            return
        with self._locked():
            before = read_table(self.path)
            last = before.slice(max(len(before) - 1, 0)).to_pylist()
            now = _after(last[0]["created"]) if last else _time(datetime.now(UTC))
            first = last[0]["sequence"] + 1 if last else 0
            added = [replace(label, created=now, sequence=first + at) for at, label in enumerate(given.values())]
            self._write(pa.concat_tables([before, as_table(added)]))

    def merge(self, others: Sequence[str | Path]) -> None:
        """Take in the histories of the stores in these folders, by time; what both have is kept once."""
        read = [table for folder in others if len(table := read_table(Path(folder) / LABELS_FILE))]
        if not read:
            return
        with self._locked():
            rows = pa.concat_tables([read_table(self.path), *read]).to_pylist()
            self._write(as_table(joined(Label(**row) for row in rows)))

    @contextmanager
    def _locked(self) -> Iterator[None]:
        try:
            with FileLock(self.folder / LOCK_FILE, timeout=LOCK_SECONDS):
                yield
        except Timeout:
            raise TimeoutError(
                f"{self.path}: another process has been writing labels for {LOCK_SECONDS:.0f} s; stop it, or try again"
            ) from None

    def _write(self, table: pa.Table) -> None:
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink, compression="zstd", store_schema=False)
        write_atomically(self.path, [memoryview(sink.getvalue())])


def as_table(labels: Iterable[Label]) -> pa.Table:
    return pa.Table.from_pylist([vars(label) for label in labels], schema=LABELS)


def checked(label: Label) -> Label:
    """The label with its name in the usual form and no blanks around its text."""
    place = parse_name(label.name)
    if place is None:
        raise ValueError(f"{label.name[:60]!r} names no feature: write L3/55")
    text = label.label.strip()
    if len(text) > LONGEST_LABEL:
        raise ValueError(f"the label for {label.name} has {len(text):,} characters; expected at most {LONGEST_LABEL:,}")
    if any("\ud800" <= letter <= "\udfff" for letter in text):
        raise ValueError(f"the label for {label.name} holds half a character ({text[:40]!r}); expected text")
    if label.source not in SOURCES:
        raise ValueError(f"a label comes from {', '.join(SOURCES)}, not from {label.source!r}")
    return replace(label, name=f"L{place[0]}/{place[1]}", label=text)


def read_table(path: Path) -> pa.Table:
    """All labels of a file in order; none where there is no file. ValueError names the file and the row at fault."""
    if not path.is_file():
        return LABELS.empty_table()
    check_parquet(path, LABELS, MOST_LABELS)
    try:
        table = pq.ParquetFile(path).read().cast(LABELS)
        table.validate(full=True)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise ValueError(f"{path} is damaged: {error}") from error
    good = [
        _rows("match_substring_regex", table["name"], pc.MatchSubstringOptions(NAME)),
        _rows("utf8_length", table["label"]) <= LONGEST_LABEL,
        *(
            _rows("is_valid", table[column]).astype(bool)
            for column in ("name", "label", "source", "created", "sequence")
        ),
    ]
    bad = np.flatnonzero(~np.logical_and.reduce(good))
    if len(bad):
        raise ValueError(
            f"{path}: row {bad[0]} is no label of a feature: {str(table.slice(bad[0], 1).to_pylist())[:120]}"
        )
    return table.sort_by("sequence")


def _rows(function: str, column: pa.ChunkedArray, options: pc.FunctionOptions | None = None) -> np.ndarray:
    """What an Arrow function gives for each row, 0 where the row is missing."""
    found = pc.call_function(function, [column], options)
    return np.array([0 if value is None else value for value in found.to_pylist()])


def _time(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="microseconds")


def _after(last: str) -> str:
    """The time now; where the clock has gone back, just after the last label, so that times give the order."""
    now = datetime.now(UTC)
    try:
        return _time(max(now, datetime.fromisoformat(last) + timedelta(microseconds=1)))
    except (ValueError, TypeError, OverflowError):
        return _time(now)


def counting(table: pa.Table) -> dict[str, str]:
    """Of each feature the newest label of the best source; the rows of `table` come in order.

    A source that has taken its label back leaves the word to the next; the user's word holds, empty too.
    """
    rows = table.select(["name", "label", "source"]).to_pandas().drop_duplicates(["name", "source"], keep="last")
    best_last = rows["source"].map({source: -at for at, source in enumerate(SOURCES)}).fillna(-len(SOURCES))
    taken_back = [
        not label and source != SOURCES[0] for label, source in zip(rows["label"], rows["source"], strict=True)
    ]
    order = best_last.to_numpy(np.int64) - 2 * len(SOURCES) * np.array(taken_back, np.int64)
    rows = rows.iloc[np.argsort(order, kind="stable")].drop_duplicates("name", keep="last")
    return dict(zip(rows["name"].tolist(), rows["label"].tolist(), strict=True))


def joined(labels: Iterable[Label]) -> list[Label]:
    """Histories as one, the same in whichever order they come: by time, equal rows once, numbered anew."""
    unlike = {replace(label, sequence=0) for label in labels}
    rows = sorted(unlike, key=lambda label: (label.created, *map(str, astuple(label))))
    return [replace(label, sequence=at) for at, label in enumerate(rows)]
