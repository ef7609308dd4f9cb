"""circuitlab against circuit-tracer: the same models, transcoders and prompts, one machine, one run.

    python -m bench.against_peer                      everything (`make bench`)
    python -m bench.against_peer --cases plt          one case of cases.py
    python -m bench.against_peer --rounds 1           a quick look

For every case: the peer once over all batch sizes, to find its best; peak memory of both in fresh
processes; then rounds that alternate the two programs, each in a fresh process with one warm-up. Printed,
and written as JSON under runs/: agreement of the edges (at most 1e-4 of the largest), medians and spread of
the times, and the ratios. The peer needs packages that circuitlab cannot share, so it gets .venv-peer, made
here; where that fails, the comparison is skipped and says why. Exit code 1 means that the edges disagree.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.compare import compare

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
PEER_ENVIRONMENT = ROOT / ".venv-peer"
BATCH_SIZES = (2, 4, 8, 16, 32, 48, 64, 128, 256, 512)
TOLERANCE = 1e-4  # of the largest edge
console = Console()


def main() -> None:
    options = _arguments()
    python, reason = peer_python()
    if python is None:
        console.print(f"bench skipped: no environment for circuit-tracer: {reason}")
        return
    with tempfile.TemporaryDirectory(prefix="circuitlab-bench-") as scratch:
        results = [run_case(case, python, options) for case in _make_cases(Path(scratch), options)]
    report = {"machine": _machine(options.threads), "load_before": options.load, "cases": results}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(report, indent=1))
    show(report)
    console.print(f"written to {options.out}")
    sys.exit(any(result["agreement"]["edges"] > TOLERANCE for result in results))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", nargs="+", choices=("plt", "clt", "stories"), default=["plt", "clt", "stories"])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3, help="alternations of the two programs")
    parser.add_argument("--repeats", type=int, default=3, help="timed runs in each process")
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=BATCH_SIZES, help="the peer's, to choose from")
    parser.add_argument("--stories", type=Path, default=ROOT.parent / "shared" / "models" / "stories260k")
    parser.add_argument("--stories-transcoder", type=Path, help="a trained transcoder folder instead of a random one")
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "against_peer.json")
    options = parser.parse_args()
    options.load = os.getloadavg()[0]
    return options


def peer_python() -> tuple[Path | None, str]:
    """The interpreter of .venv-peer, made if need be; or None and the reason."""
    python = PEER_ENVIRONMENT / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    requirements = HERE / "requirements-peer.txt"
    wanted = dict(line.split("==") for line in requirements.read_text().splitlines() if "==" in line)
    check = f"import importlib.metadata as m; assert m.version('circuit-tracer') == {wanted['circuit-tracer']!r}"
    if python.exists() and subprocess.run([python, "-c", check], capture_output=True).returncode == 0:
        return python, ""
    console.print(f"making {PEER_ENVIRONMENT.name} for circuit-tracer {wanted['circuit-tracer']}: a minute or more")
    make = [sys.executable, "-m", "venv", str(PEER_ENVIRONMENT)]
    install = [str(python), "-m", "pip", "install", "--quiet", "--requirement", str(requirements)]
    for command in (make, install):
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            lines = [line for line in (done.stderr or done.stdout).splitlines() if line.startswith("ERROR")]
            return None, lines[-1] if lines else f"{' '.join(command[:4])} failed with exit code {done.returncode}"
    return python, ""


def _make_cases(root: Path, options: argparse.Namespace) -> list[Path]:
    from bench.cases import random_cases, stories_case  # imports torch: not before it is needed

    folders = []
    if {"plt", "clt"} & set(options.cases):
        folders += [folder for folder in random_cases(root) if folder.name in options.cases]
    if "stories" in options.cases:
        if options.stories.is_dir():
            folders.append(stories_case(root, options.stories, options.stories_transcoder))
        else:
            console.print(f"case stories skipped: no weights at {options.stories} (see --stories)")
    return folders


# ---- one case ----


def run_case(case: Path, peer: Path, options: argparse.Namespace) -> dict[str, Any]:
    """All measurements of one case."""

    def ours(*more: object) -> dict[str, Any]:
        return _run(Path(sys.executable), "ours.py", case, options.threads, *more)

    def theirs(*more: object) -> dict[str, Any]:
        return _run(peer, "peer_circuit_tracer.py", case, options.threads, *more)

    console.print(f"[bold]{case.name}[/bold]: the peer over its batch sizes", highlight=False)
    sweep = theirs("--repeats", 2, "--batch-sizes", *options.batch_sizes)
    best = min(sweep["seconds"], key=lambda size: median(sweep["seconds"][size]))
    console.print(f"  best batch size {best}; agreement and peak memory", highlight=False)
    graphs = {"ours": case / "ours.npz", "peer": case / "peer.npz"}
    first_peer = theirs("--repeats", 0, "--memory", "--batch-sizes", best, "--graph", graphs["peer"])
    first_ours = ours("--repeats", 0, "--memory", "--graph", graphs["ours"])
    agreement = compare(graphs["ours"], graphs["peer"])
    rounds: list[dict[str, dict]] = []
    for i in range(options.rounds):
        console.print(f"  round {i + 1} of {options.rounds}", highlight=False)
        pair = {"peer": theirs("--repeats", options.repeats, "--batch-sizes", best)}
        rounds.append(pair | {"ours": ours("--repeats", options.repeats)})
    times = {who: _pooled([pair[who] for pair in rounds]) for who in ("ours", "peer")}
    return {
        "case": case.name,
        "active_features": first_ours["active_features"],
        "edges": first_ours["edges"],
        "worst_miss": first_ours["worst_miss"],
        "agreement": asdict(agreement),
        "seconds": times,
        "peer_sweep": sweep["seconds"],
        "peer_best_batch_size": int(best),
        "speed_ratio": median(times["peer"]["seconds"]) / median(times["ours"]["seconds"]),
        "peak_memory": {"ours": first_ours["peak_memory"], "peer": first_peer["peak_memory"]},
        "versions": {"ours": first_ours["versions"], "peer": first_peer["versions"]},
    }


def _run(python: Path, script: str, case: Path, threads: int, *more: object) -> dict[str, Any]:
    """One fresh process, offline and on the CPU; its measurements."""
    out = case / "measured.json"
    quiet = {"HF_HUB_OFFLINE": "1", "PYTHONWARNINGS": "ignore", "TOKENIZERS_PARALLELISM": "false"}
    fixed = {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
    command = [str(part) for part in (python, HERE / script, case, out, "--threads", threads, *more)]
    done = subprocess.run(command, env=os.environ | quiet | fixed, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{script} failed on case {case.name}:\n{done.stderr[-3000:]}")
    return json.loads(out.read_text())


def _pooled(records: list[dict]) -> dict[str, list[float]]:
    """The times of several processes (one batch size each) in one list per clock."""
    clocks = ("seconds", "cpu_seconds")
    return {clock: [t for record in records for times in record[clock].values() for t in times] for clock in clocks}


# ---- the report ----


def _machine(threads: int) -> dict[str, Any]:
    cores = os.cpu_count()
    return {"processor": platform.processor() or platform.machine(), "cores": cores, "threads": threads}


def show(report: dict[str, Any]) -> None:
    """The measurements as a table, with the marks they are held against."""
    table = Table(title="circuitlab against circuit-tracer", show_lines=False)
    table.add_column("")
    for result in report["cases"]:
        table.add_column(result["case"], justify="right")
    for label, cell in ROWS.items():
        table.add_row(label, *(cell(result) for result in report["cases"]))
    console.print(table)
    machine, load = report["machine"], report["load_before"]
    console.print(f"{machine['cores']} cores, {machine['threads']} threads, load before {load:.1f}", highlight=False)
    if load > 0.5:
        console.print("[bold]other work was running: the times are only indicative[/bold]")
    for who, versions in report["cases"][0]["versions"].items() if report["cases"] else ():
        listed = ", ".join(f"{name} {number}" for name, number in versions.items())
        console.print(f"{who}: {listed}", highlight=False, soft_wrap=True)


def _times(result: dict, who: str, clock: str = "seconds") -> str:
    times = result["seconds"][who][clock]
    return f"{median(times):.3f} ({min(times):.3f} to {max(times):.3f})"


def _memory(result: dict, who: str) -> str:
    peak = result["peak_memory"][who]
    return "not measured here" if peak is None else f"{peak / 2**20:.0f} MiB"


def _memory_ratio(result: dict) -> str:
    ours, peer = (result["peak_memory"][who] for who in ("ours", "peer"))
    return "" if ours is None or not peer else f"{ours / peer:.2f}"


def _scores(result: dict, who: str) -> str:
    return ", ".join(f"{score:.4f}" for score in result["agreement"][f"scores_{who}"])


ROWS = {
    "active features": lambda r: f"{r['active_features']:,}",
    "edges (peer's, not zero)": lambda r: f"{r['agreement']['edges_peer']:,}",
    "largest difference / largest edge (at most 1e-4)": lambda r: f"{r['agreement']['edges']:.1e}",
    "features found by one only": lambda r: f"{r['agreement']['features_only_in_one']}",
    "in-edges miss the pre-activation by (relative)": lambda r: f"{r['worst_miss']:.1e}",
    "replacement, completeness: ours": lambda r: _scores(r, "ours"),
    "replacement, completeness: peer": lambda r: _scores(r, "peer"),
    "peer's best batch size": lambda r: f"{r['peer_best_batch_size']}",
    "seconds, ours": lambda r: _times(r, "ours"),
    "seconds, peer": lambda r: _times(r, "peer"),
    "times faster (at least 10)": lambda r: f"{r['speed_ratio']:.1f}",
    "processor seconds, ours": lambda r: _times(r, "ours", "cpu_seconds"),
    "processor seconds, peer": lambda r: _times(r, "peer", "cpu_seconds"),
    "peak memory, ours": lambda r: _memory(r, "ours"),
    "peak memory, peer": lambda r: _memory(r, "peer"),
    "share of the peer's memory (under 0.5)": _memory_ratio,
}


if __name__ == "__main__":
    main()
