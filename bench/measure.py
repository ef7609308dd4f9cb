"""Time and peak memory of one call, measured alike on both sides of the comparison.

Reads nothing but the clock and Linux's /proc/self; needs only the standard library, so it runs in either
environment.

    seconds      wall time of each repeat after one warm-up that is not counted; cpu_seconds, the processor
                 time of the same repeats, says how far to trust it on a busy machine
    peak_memory  most resident memory during the call minus that just before it: what the call needs above a
                 loaded model. The kernel keeps the high-water mark, VmHWM; 5 in clear_refs resets it.
"""

import argparse
import ctypes
import gc
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


def arguments(description: str) -> argparse.Namespace:
    """The command line that both programs share: a case in, a JSON file of measurements (and a graph) out."""
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    parser.add_argument("case", type=Path, help="folder with case.json")
    parser.add_argument("out", type=Path, help="JSON file to write the measurements to")
    parser.add_argument("--graph", type=Path, help="also write the graph to this .npz file")
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[32], help="for a program that has batches")
    parser.add_argument("--repeats", type=int, default=3, help="timed runs after the warm-up; 0 for none")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--memory", action="store_true", help="measure peak memory (first, in the fresh process)")
    return parser.parse_args()


def measure(trace: Callable[[int, list[int]], Any], tokens: list[int], options: argparse.Namespace) -> tuple[dict, Any]:
    """Run `trace(batch_size, tokens)` as the options say: the measurements, and a result if one is wanted."""
    record: dict[str, Any] = {"threads": options.threads, "seconds": {}, "cpu_seconds": {}}
    first = options.batch_sizes[0]
    trace(first, tokens[:4])  # libraries load and thread pools start here, not inside a measurement
    if options.memory:
        record["peak_memory"] = peak_memory(lambda: trace(first, tokens))
    for size in options.batch_sizes if options.repeats else []:
        wall, cpu = seconds(lambda size=size: trace(size, tokens), options.repeats)
        record["seconds"][str(size)], record["cpu_seconds"][str(size)] = wall, cpu
    return record, trace(first, tokens) if options.graph else None


def seconds(call: Callable[[], Any], repeats: int) -> tuple[list[float], list[float]]:
    """Wall time and processor time in seconds of each of `repeats` calls, after one uncounted call."""
    call()
    wall, cpu = [], []
    for _ in range(repeats):
        gc.collect()
        start, start_cpu = time.perf_counter(), time.process_time()
        call()
        wall.append(round(time.perf_counter() - start, 4))
        cpu.append(round(time.process_time() - start_cpu, 4))
    return wall, cpu


def peak_memory(call: Callable[[], Any]) -> int | None:
    """Bytes of resident memory `call` needs at its peak above what was resident before; None off Linux."""
    clear = Path("/proc/self/clear_refs")
    if not clear.exists():
        return None
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # freed pages would hide part of the peak in the baseline
    before = _resident("VmRSS")
    clear.write_text("5")
    result = call()  # held until the mark is read
    peak = _resident("VmHWM")
    del result
    return peak - before


def _resident(field: str) -> int:
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith(field + ":"))


def write(record: dict, options: argparse.Namespace) -> None:
    options.out.write_text(json.dumps(record, indent=1))
