"""One harvest: corpus → tally → store, with checkpoints on the way.

    1. marks: what decides the numbers; a folder whose state or store has other marks is refused
    2. blocks of the corpus, those of this shard, from where the last checkpoint stands
    3. an engine adds them to the tally; every `checkpoint_seconds` the state is written, whole or not at all
    4. at the end the state, then the store's tables, then its manifest

Killed anywhere, the same call goes on from the last checkpoint and ends with the same bytes.
"""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from circuitlab import corpus as texts
from circuitlab.evidence import NEURONS
from circuitlab.harvest.blocks import Block, blocks
from circuitlab.harvest.checkpoint import State, clear_drafts, is_full, locked, merge_arrays, read_state
from circuitlab.harvest.engine import Engine, Local
from circuitlab.harvest.fingerprint import fingerprint
from circuitlab.harvest.settings import HarvestSettings
from circuitlab.harvest.tables import layer_tables, weight_columns
from circuitlab.harvest.tally import Tally
from circuitlab.harvest.weights import layer_weights
from circuitlab.replacement import ReplacementModel
from circuitlab.store.schema import MANIFEST, TALLY_FILE, Manifest
from circuitlab.store.writer import write_store

WHOLE = (0, 1)


@dataclass(frozen=True)
class HarvestResult:
    """Where the store is, what it holds, and how fast this call was; 0 tokens where all was done before."""

    folder: Path
    manifest: Manifest
    n_tokens: int
    seconds: float

    @property
    def rate(self) -> float:
        """Tokens per second."""
        return self.n_tokens / self.seconds if self.seconds else 0.0


def harvest(
    model: ReplacementModel,
    corpus: Any,
    out: str | Path,
    settings: HarvestSettings | None = None,
    *,
    shard: tuple[int, int] = WHOLE,
    engine: Engine | None = None,
    resume: bool = True,
    keep_tally: bool = True,
    checkpoint_seconds: float | int = 60,
    progress: bool | Callable[[Block, Tally], None] = False,
    name: str | None = None,
) -> HarvestResult:
    """Harvest evidence for all features of `model` over `corpus` into the store `out`; an interrupted run goes on.

    `corpus` is a .txt, .jsonl or .parquet file, a folder of them, a data set's hub id, or an iterable of texts or token
    ids that gives the same again when it is read again (see `circuitlab.corpus`); `name` describes it. `shard=(k, n)`
    reads each n-th block only: `merge` joins the n stores. `engine` is a `circuitlab.harvest.ray_engine.Ray` to use
    several processes. Without `keep_tally` the store cannot be merged afterwards.

    Raises ValueError where `out` holds evidence of another model, transcoder, corpus or settings, and OSError where the
    disk is full; what was harvested until the last checkpoint is kept.
    """
    settings, out = settings or HarvestSettings(), Path(out)
    part, of = shard
    if not 0 <= part < of:
        raise ValueError(f"shard={part}/{of} does not exist: shards of {of} are 0 to {of - 1}")
    texts.records(corpus)
    marks = _marks(model, settings, name or texts.describe(corpus))
    out.mkdir(parents=True, exist_ok=True)
    with locked(out):
        state, done = _begin(out, marks, model, settings, shard, resume)
        _require_size(out, state, texts.total_size(corpus))
        run = _Run(model, corpus, out, state, settings, shard, checkpoint_seconds, progress)
        if not done:
            run.read(engine or Local(model))
            run.write()
        if not keep_tally:
            (out / TALLY_FILE).unlink(missing_ok=True)
    return HarvestResult(out, Manifest.read(out), run.n_new, run.seconds)


def _marks(model: ReplacementModel, settings: HarvestSettings, corpus: str) -> dict[str, Any]:
    config = model.transcoder.config
    given = model.model.name
    sizes: dict[str, Any] = {"kind": config.kind, "n_layers": config.n_layers, "n_features": config.n_features}
    title = f"{config.kind.upper()}, {config.n_layers} layers x {config.n_features} features"
    if model.transcoder.exact:
        sizes["basis"], title = "neurons", f"{NEURONS}, {config.n_layers} layers x {config.n_features}"
    decided = dataclasses.asdict(settings) | {"piece": min(settings.piece, model.model.n_ctx)}
    return {
        "model": {"name": Path(given).name if os.path.isdir(given) else given, "fingerprint": fingerprint(model.model)},
        "transcoder": {"name": title, "fingerprint": fingerprint(model.transcoder), **sizes},
        "corpus": corpus,
        "settings": decided,
    }


def _begin(
    out: Path,
    marks: dict[str, Any],
    model: ReplacementModel,
    settings: HarvestSettings,
    shard: tuple[int, int],
    resume: bool,
) -> tuple[State, bool]:
    """The state to go on from, and whether the store is there already."""
    clear_drafts(out)
    config = model.transcoder.config
    state = State(marks, Tally(config.n_layers * config.n_features, settings), shards=[list(shard)])
    if resume and (out / TALLY_FILE).is_file():
        text, arrays = read_state(out)
        require_same(out, text["marks"], marks)
        if text["shards"] != state.shards:
            raise ValueError(
                f"{out} holds the shards {text['shards']} of this corpus, not {state.shards}: name another"
            )
        merge_arrays(state.tally, out, text, arrays)
        state.size = text.get("size")
        state.next_block, state.digest, state.finished = text["next_block"], text["digest"], text["finished"]
    elif resume and (out / MANIFEST).is_file():
        before = Manifest.read(out)
        require_same(out, {"model": before.model, "transcoder": before.transcoder}, marks)
    done = state.finished and (out / MANIFEST).is_file() and Manifest.read(out) == manifest_of(state)
    return state, done


def _require_size(out: Path, state: State, now: int | None) -> None:
    """ValueError where the corpus of a finished harvest has grown or shrunk; else the state has its size."""
    if state.finished and None not in (state.size, now) and state.size != now:
        raise ValueError(
            f"{out} is finished, and the corpus {state.marks['corpus']} has changed since: its size was "
            f"{state.size:,}, now {now:,}. Name another folder, or use --fresh (resume=False) to replace it"
        )
    state.size = now


def require_same(folder: Path, before: dict[str, Any], now: dict[str, Any]) -> None:
    """ValueError where a folder was made with something else, naming it."""
    changed = []
    for what in ("model", "transcoder"):
        if before[what]["fingerprint"] != now[what]["fingerprint"]:
            marks = [f"{m[what]['name']} (fingerprint {m[what]['fingerprint'][:12]})" for m in (before, now)]
            changed.append(f"the {what} was {marks[0]}, now {marks[1]}")
    if before.get("corpus", now["corpus"]) != now["corpus"]:
        changed.append(f"the corpus was {before['corpus']!r}, now {now['corpus']!r}")
    old = before.get("settings", now["settings"])
    changed += [
        f"{n} was {old.get(n)!r}, now {now['settings'][n]!r}"
        for n in now["settings"]
        if old.get(n) != now["settings"][n]
    ]
    if changed:
        raise ValueError(
            f"{folder} holds evidence of something else: {'; '.join(changed)}. Give the same to go on, another folder, "
            "or --fresh (resume=False) to replace it"
        )


def manifest_of(state: State) -> Manifest:
    """The manifest of a finished harvest."""
    settings, tally = state.marks["settings"], state.tally
    return Manifest(
        model=state.marks["model"],
        transcoder=state.marks["transcoder"],
        corpus=state.marks["corpus"],
        seed=settings["seed"],
        context={name: settings[name] for name in ("before", "after", "piece")},
        n_records=tally.n_records,
        n_tokens=tally.n_tokens,
        skipped=dict(sorted(tally.skipped.items())),
        shards=tuple((part, of) for part, of in state.shards),
        coactivation_positions=len(tally.sample.vectors().hash),
        corpus_digest=state.digest,
    )


@dataclass
class _Run:
    """What reading and writing share."""

    model: ReplacementModel
    corpus: Any
    out: Path
    state: State
    settings: HarvestSettings
    shard: tuple[int, int]
    checkpoint_seconds: float | int
    progress: bool | Callable[[Block, Tally], None]
    n_new: int = 0
    seconds: float = 0.0

    def read(self, engine: Engine) -> None:
        """The rest of the corpus into the tally."""
        if self.state.finished:
            return
        began, before = time.monotonic(), self.state.tally.n_tokens
        saved = began
        with self._bar() as bar:
            for block in engine(self.state.tally, self._own_blocks(bar), self._fingerprints):
                self.state.next_block, self.state.digest = block.number + 1, block.digest
                self.n_new, self.seconds = self.state.tally.n_tokens - before, time.monotonic() - began
                bar.set_postfix_str(f"{self.n_new / self.seconds:,.0f} tokens/s", refresh=False)
                if callable(self.progress):
                    self.progress(block, self.state.tally)
                if time.monotonic() - saved >= self.checkpoint_seconds:
                    self._keep()
                    saved = time.monotonic()
        self.state.next_block, self.state.digest, self.state.finished = *self._end, True
        if not self.state.tally.n_tokens and not self.shard[0]:
            skipped = self.state.tally.skipped.items()
            reasons = ", ".join(f"{reason} ({n:,} records)" for reason, n in skipped) or "it is empty"
            raise ValueError(f"the corpus {self.state.marks['corpus']} has no record that can be read: {reasons}")

    def _bar(self) -> tqdm:
        total = self.settings.records or texts.total_size(self.corpus)
        unit = "B" if self._in_bytes else "record"
        return tqdm(total=total, unit=unit, unit_scale=True, desc="harvest", disable=self.progress is not True)

    @property
    def _fingerprints(self) -> dict[str, str]:
        return {what: self.state.marks[what]["fingerprint"] for what in ("model", "transcoder")}

    @property
    def _in_bytes(self) -> bool:
        """Whether progress is shown as a share of the files' size."""
        return isinstance(self.corpus, str | os.PathLike) and not self.settings.records

    def _own_blocks(self, bar: tqdm) -> Iterator[Block]:
        """The blocks of this shard that are still to do; the corpus before them is read, and must be the same."""
        part, of = self.shard
        begin, self._end = self.state.next_block, (0, "")
        for block in blocks(texts.records(self.corpus), self.settings.block_records, self.settings.records):
            bar.update(block.size if self._in_bytes else len(block.records))
            self._end = (block.number + 1, block.digest)
            if block.number == begin - 1 and block.digest != self.state.digest:
                break
            if block.number >= begin and block.number % of == part:
                yield block
        if self._end[0] < begin or (self._end[0] == begin and begin and self._end[1] != self.state.digest):
            raise ValueError(
                f"the corpus {self.state.marks['corpus']} is not what it was when {self.out} was begun: its first "
                f"{begin * self.settings.block_records:,} records have changed; give the same, or start anew with "
                "--fresh (resume=False)"
            )

    def _keep(self) -> None:
        try:
            self.state.save(self.out)
        except OSError as error:
            raise self._stopped(error) from error

    def _stopped(self, error: OSError) -> OSError:
        if not is_full(error):
            return error
        kept = "nothing was kept yet"
        if (self.out / TALLY_FILE).is_file():
            n_records = read_state(self.out)[0]["next_block"] * self.settings.block_records
            kept = f"what was harvested of the first {n_records:,} records is kept"
        return OSError(
            error.errno, f"the disk of {self.out} is full: {kept}; free some space and run the same again to go on"
        )

    def write(self) -> None:
        """The state and the store."""
        self._keep()
        model, transcoder = self.model.model, self.model.transcoder
        n_tokens, n_partners = self.settings.n_tokens, self.settings.n_partners

        def from_weights(layer: int) -> dict:
            return weight_columns(layer_weights(model, transcoder, layer, n_tokens, n_partners), layer)

        tables = layer_tables(self.state.tally, transcoder.config.n_layers, from_weights)
        try:
            write_store(self.out, manifest_of(self.state), tables, model.token_strings(range(model.d_vocab)))
        except OSError as error:
            raise self._stopped(error) from error
