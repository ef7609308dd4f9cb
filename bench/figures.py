"""Time to write the Dallas graph in all four formats, without browser or display, and whether the bytes repeat.

    python -m bench.figures                           three fresh processes

Each process opens the saved graph and writes PDF, SVG, PNG and PGF: once with imports counted, once without.
"""

import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

FORMATS = ("pdf", "svg", "png", "pgf")
PROMPT = "fact : the capital of the state containing Dallas is"


def draw(graph_file: Path, folder: Path) -> dict:
    """In this process: seconds for imports and opening, seconds for the four figures, and their hashes."""
    start = time.perf_counter()
    from circuitlab.graph import Graph

    graph = Graph.open(graph_file)
    opened = time.perf_counter()
    files = [graph.savefig(folder / f"dallas.{ending}") for ending in FORMATS]
    done = time.perf_counter()
    hashes = [hashlib.sha256(file.read_bytes()).hexdigest() for file in files]
    return {"open": opened - start, "draw": done - opened, "hashes": hashes}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--draw", type=Path, help="(a child process) open this graph and draw it")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if options.draw:
            print(json.dumps(draw(options.draw, Path(folder))))
            return
        import circuitlab as cl

        graph_file = cl.load().trace(PROMPT, progress=False).save(Path(folder) / "dallas.zip")
        command = [sys.executable, "-m", "bench.figures", "--draw", str(graph_file)]
        runs = [json.loads(subprocess.run(command, check=True, capture_output=True).stdout) for _ in range(3)]
    print(f"four formats of the Dallas graph: {median(run['draw'] for run in runs):.2f} s")
    print(f"with imports and opening:         {median(run['open'] + run['draw'] for run in runs):.2f} s")
    print(f"the same bytes every time:        {all(run['hashes'] == runs[0]['hashes'] for run in runs)}")


if __name__ == "__main__":
    main()
