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
from dataclasses import astuple, dataclass, fields, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pyarrow as pa
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
        self._kept: tuple[object, dict[str, Label]] = (None, {})

    @property
    def version(self) -> object:
        """Changes when the file does."""
        try:
            found = self.path.stat()
        except FileNotFoundError:
            return None
        return found.st_mtime_ns, found.st_size, found.st_ino

    @property
    def current(self) -> dict[str, Label]:
        """Of each feature that was labelled, the label that counts; an empty one says that it has none."""
        version = self.version
        if version != self._kept[0]:
            self._kept = version, counting(read_labels(self.path))
        return self._kept[1]

    def history(self, name: str | None = None) -> pd.DataFrame:
        """Every label ever given, or those of one feature, in order: the columns of `Label`."""
        rows = [label for label in read_labels(self.path) if name is None or label.name == name]
        return pd.DataFrame([astuple(row) for row in rows], columns=[field.name for field in fields(Label)])

    def add(self, labels: Iterable[Label]) -> None:
        """Write labels behind the others, all with the time of now; of two by one source for one name the later stays.

        ValueError for what is no name, no text, too long, or of no known source.
        """
        given = {(label.name, label.source): label for label in map(checked, labels)}
        if not given:
            return
        with self._locked():
            before = read_labels(self.path)
            now = _after(before[-1].created) if before else _time(datetime.now(UTC))
            first = before[-1].sequence + 1 if before else 0
            added = [replace(label, created=now, sequence=first + at) for at, label in enumerate(given.values())]
            self._write(before + added)

    def merge(self, others: Sequence[str | Path]) -> None:
        """Take in the histories of the stores in these folders, by time; what both have is kept once."""
        read = [label for folder in others for label in read_labels(Path(folder) / LABELS_FILE)]
        if not read:
            return
        with self._locked():
            self._write(joined([*read_labels(self.path), *read]))

    @contextmanager
    def _locked(self) -> Iterator[None]:
        try:
            with FileLock(self.folder / LOCK_FILE, timeout=LOCK_SECONDS):
                yield
        except Timeout:
            raise TimeoutError(
                f"{self.path}: another process has been writing labels for {LOCK_SECONDS:.0f} s; stop it, or try again"
            ) from None

    def _write(self, labels: list[Label]) -> None:
        columns = list(zip(*(astuple(label) for label in labels), strict=True))
        arrays = [pa.array(column, field.type) for column, field in zip(columns, LABELS, strict=True)]
        sink = pa.BufferOutputStream()
        pq.write_table(pa.table(arrays, schema=LABELS), sink, compression="zstd", store_schema=False)
        write_atomically(self.path, [memoryview(sink.getvalue())])


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


def read_labels(path: Path) -> list[Label]:
    """All rows of a labels file in order; none where there is no file. ValueError names the file and the row."""
    if not path.is_file():
        return []
    check_parquet(path, LABELS, MOST_LABELS)
    try:
        columns = pq.ParquetFile(path).read().to_pydict()
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is damaged: {error}") from error
    found = []
    for row, values in enumerate(zip(*(columns[name] for name in LABELS.names), strict=True)):
        label = Label(*values) if _whole(values) else None
        if label is None or len(label.label) > LONGEST_LABEL or parse_name(label.name) is None:
            raise ValueError(f"{path}: row {row} is no label of a feature: {str(values)[:120]}")
        found.append(label)
    return sorted(found, key=lambda label: label.sequence)


def _whole(values: tuple) -> bool:
    name, text, source, _, _, created, sequence = values
    return all(isinstance(value, str) for value in (name, text, source, created)) and isinstance(sequence, int)


def _time(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="microseconds")


def _after(last: str) -> str:
    """The time now; where the clock has gone back, just after the last label, so that times give the order."""
    now = datetime.now(UTC)
    try:
        return _time(max(now, datetime.fromisoformat(last) + timedelta(microseconds=1)))
    except (ValueError, TypeError, OverflowError):
        return _time(now)


def counting(labels: Iterable[Label]) -> dict[str, Label]:
    """Of each feature the newest label of the best source; `labels` come in order."""
    rank = {source: at for at, source in enumerate(SOURCES)}
    best: dict[str, Label] = {}
    for label in labels:
        before = best.get(label.name)
        if before is None or rank.get(label.source, 99) <= rank.get(before.source, 99):
            best[label.name] = label
    return best


def joined(labels: Iterable[Label]) -> list[Label]:
    """Histories as one, the same in whichever order they come: by time, equal rows once, numbered anew."""
    unlike = {replace(label, sequence=0) for label in labels}
    rows = sorted(unlike, key=lambda label: (label.created, *map(str, astuple(label))))
    return [replace(label, sequence=at) for at, label in enumerate(rows)]
