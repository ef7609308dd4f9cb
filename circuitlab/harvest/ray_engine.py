"""The same harvest on several processes or machines, with Ray (extra `scale`).

Workers are stateless: a task gets blocks of the corpus and returns the tally of these blocks alone, which this process
merges in the order of the corpus. With the blocks a worker gets how high the bar stands by then, so that it need not
keep examples that would be dropped here. A worker that dies takes nothing with it, since Ray runs its task again
elsewhere; and since a tally does not depend on order or parting, the store is the one that a single process makes, bit
for bit (with as many threads: a matrix product may round otherwise with others). A worker that has loaded other weights
than the harvest was begun with, known by their fingerprints, ends it.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import torch

from circuitlab.harvest.blocks import Block
from circuitlab.harvest.engine import Fingerprints, add_block, require_fingerprints
from circuitlab.harvest.settings import HarvestSettings
from circuitlab.harvest.tally import Tally
from circuitlab.replacement import ReplacementModel

AHEAD = 2
"""Tasks under way per worker."""

_loaded: dict[str, ReplacementModel] = {}


@dataclass(frozen=True)
class Ray:
    """An engine for `harvest(…, engine=Ray(load))`.

    `load` is called once in every worker and gives the model: `functools.partial(cl.load, model, transcoder)`. A
    cluster that is running is used (`ray.init` was called, or `address` says where); otherwise `workers` processes
    are started here and stopped at the end. `blocks` go to a worker at a time; `threads` and `gpus` are each worker's.
    """

    load: Callable[[], ReplacementModel]
    workers: int = 2
    blocks: int = 16
    threads: int = 1
    gpus: float | int = 0
    address: str | None = None

    def __post_init__(self) -> None:
        for name in ("workers", "blocks", "threads"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} must be at least 1")

    def __call__(self, tally: Tally, blocks: Iterable[Block], expected: Fingerprints) -> Iterator[Block]:
        with self._cluster() as ray:
            key = f"{os.getpid()}-{id(self)}"
            options = {"num_cpus": self.threads, "num_gpus": self.gpus, "max_retries": -1}
            count = ray.remote(**options)(count_blocks)
            under_way: deque[tuple[Any, Block]] = deque()
            left = iter(blocks)
            while (some := tuple(islice(left, self.blocks))) or under_way:
                if some:
                    job = (key, self.load, expected, self.threads)
                    task = count.remote(job, tally.n_features, tally.settings, tally.bars(), some)
                    under_way.append((task, some[-1]))
                if len(under_way) >= AHEAD * self.workers or not some:
                    task, last = under_way.popleft()
                    tally.merge(*_result(ray, task))
                    del task
                    yield last

    @contextmanager
    def _cluster(self):
        """Ray, running: what was there, or a cluster of this machine that ends with the harvest."""
        ray = _import_ray()
        own = not ray.is_initialized()
        if own:
            os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
            os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
            here: dict[str, Any] = {"num_cpus": self.workers * self.threads, "_node_ip_address": "127.0.0.1"}
            where = {"address": self.address} if self.address else here
            ray.init(include_dashboard=False, log_to_driver=False, logging_level="error", **where)
        try:
            yield ray
        finally:
            if own:
                ray.shutdown()


def _import_ray() -> Any:
    try:
        import ray
    except ImportError as error:
        raise ValueError('the engine ray needs Ray: pip install "circuitlab[scale]"') from error
    return ray


def _result(ray: Any, task: Any) -> tuple[dict, dict]:
    """What a task gives; what it raises as it was raised there, without Ray's traceback in the message."""
    try:
        return ray.get(task)
    except ray.exceptions.RayTaskError as error:
        raise (error.cause if isinstance(error.cause, ValueError | OSError) else error) from None


def count_blocks(
    job: tuple[str, Callable[[], ReplacementModel], Fingerprints, int],
    n_features: int,
    settings: HarvestSettings,
    bars: Mapping[str, np.ndarray],
    blocks: Sequence[Block],
) -> tuple[dict, dict]:
    """The tally of some blocks, as arrays and the counts of what was skipped; runs in a worker.

    `job` is the same for all tasks of a harvest: its key, what gives the model, the fingerprints that it must have, and
    the worker's threads.
    """
    key, load, expected, threads = job
    torch.set_num_threads(threads)
    if key not in _loaded:
        _loaded.clear()
        model = load()
        require_fingerprints(model, expected)
        _loaded[key] = model
    tally = Tally(n_features, settings)
    tally.expect(bars)
    for block in blocks:
        add_block(tally, _loaded[key], block)
    return tally.arrays(), dict(tally.skipped)
