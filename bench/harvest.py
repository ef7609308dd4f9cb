"""Harvest: its rate against the model's own, its memory, kills, and Ray.

    python -m bench.harvest --model FOLDER --transcoder FOLDER [--corpus FILE] rate memory kills ray

`rate` takes turns with the plain forward pass on the same batches, so that a busy machine slows both; the median of the
turns' ratios is printed. `memory` reads the same texts again and again, 1 and 10 million tokens, each in a process of
its own. `kills` kills a harvest at random moments and compares bytes. `ray` compares one and two workers, models loaded
before. Without a corpus the model writes 300,000 tokens first.
"""

from __future__ import annotations

import functools
import json
import os
import random
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from itertools import chain, islice, repeat
from pathlib import Path

import click
import torch

import circuitlab as cl
from circuitlab import corpus
from circuitlab.harvest import HarvestSettings, harvest
from circuitlab.harvest.blocks import batches, blocks, read_block
from circuitlab.harvest.engine import TOKENS_ON_CPU
from circuitlab.harvest.generated import Generated
from circuitlab.harvest.ray_engine import Ray

SETTINGS = HarvestSettings()
MEASURES = ("rate", "memory", "kills", "ray")


def texts(path: str) -> list[str]:
    return [record.content for record in corpus.records(path) if isinstance(record.content, str) and record.content]


def rate(model, path: str) -> dict:
    """The whole harvest, tokenizing and writing included, and forward passes over the same pieces, block by block."""
    all_blocks = list(blocks(corpus.records(path), SETTINGS.block_records))
    forward, ours, shares = 0.0, 0.0, []

    def own_forward(block) -> float:
        pieces = read_block(model.model, block, min(SETTINGS.piece, model.model.n_ctx))
        began = time.perf_counter()
        for batch in batches(pieces, TOKENS_ON_CPU):
            model.model.logits(torch.from_numpy(batch.tokens))
        return time.perf_counter() - began

    own_forward(all_blocks[0])
    marks = [time.perf_counter()]

    def turn(block, tally) -> None:
        nonlocal forward, ours
        mine = time.perf_counter() - marks[0]
        theirs = own_forward(all_blocks[block.number])
        ours, forward = ours + mine, forward + theirs
        shares.append(theirs / mine)
        marks[0] = time.perf_counter()

    with tempfile.TemporaryDirectory() as folder:
        result = harvest(model, path, folder, SETTINGS, progress=turn)
        writing = time.perf_counter() - marks[0]
    return {
        "tokens": result.n_tokens,
        "rate over the model's forward rate": forward / ours,
        "the same, median of blocks": statistics.median(shares),
        "the same, with writing the store": forward / (ours + writing),
        "tokens per second": result.n_tokens / ours,
    }


def memory_of(arguments: dict, n_tokens: int) -> tuple[float, int]:
    """Peak resident megabytes of a harvest of so many tokens in a process of its own."""
    code = "import json, sys; from bench.harvest import harvest_many; harvest_many(**json.loads(sys.argv[1]))"
    given = json.dumps(arguments | {"n_tokens": n_tokens})
    done = subprocess.run([sys.executable, "-c", code, given], capture_output=True, text=True, check=True)
    megabytes, tokens = json.loads(done.stdout.splitlines()[-1])
    return megabytes, tokens


def harvest_many(model: str, transcoder: str, path: str, n_tokens: int) -> None:
    loaded, given = cl.load(model, transcoder, device="cpu"), texts(path)
    per_round = sum(len(ids) for ids in loaded.model.tokenizer(given)["input_ids"])
    many = (f"{text} {turn}" for turn, text in enumerate(chain.from_iterable(repeat(given))))
    records = islice(many, round(n_tokens / per_round * len(given)))
    with tempfile.TemporaryDirectory() as folder:
        result = harvest(loaded, records, folder, SETTINGS)
    print(json.dumps([resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, result.n_tokens]))


def memory(arguments: dict, small: int, large: int) -> dict:
    low, high = memory_of(arguments, small), memory_of(arguments, large)
    return {f"MB at {low[1]:,} tokens": low[0], f"MB at {high[1]:,} tokens": high[0], "growth": high[0] / low[0] - 1}


def kills(arguments: dict, n: int, seed: int = 0) -> dict:
    """Kill harvests `n` times at random moments, each going on until it ends, and compare every byte of those that
    ended with the undisturbed one's."""
    draw, killed, ended = random.Random(seed), 0, []
    with tempfile.TemporaryDirectory() as folder:
        seconds = -time.monotonic()
        _process(arguments, Path(folder) / "undisturbed").wait()
        seconds += time.monotonic()
        while killed < n or not ended:
            disturbed = Path(folder) / f"killed-{len(ended)}"
            process = _process(arguments, disturbed)
            if killed < n:
                time.sleep(draw.uniform(0.1, 0.9) * seconds)
                process.kill()
            if process.wait():
                killed += 1
            else:
                ended.append(_contents(disturbed) == _contents(Path(folder) / "undisturbed"))
    return {"killed": killed, "harvests that ended": len(ended), "equal to the undisturbed store": all(ended)}


def _contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def _process(arguments: dict, out: Path) -> subprocess.Popen:
    code = "import json, sys; from bench.harvest import harvest_once; harvest_once(**json.loads(sys.argv[1]))"
    return subprocess.Popen([sys.executable, "-c", code, json.dumps(arguments | {"out": str(out)})])


def harvest_once(model: str, transcoder: str, path: str, out: str) -> None:
    harvest(cl.load(model, transcoder, device="cpu"), path, out, SETTINGS, checkpoint_seconds=0.5)


def ray(model, arguments: dict) -> dict:
    """Rates of two workers and of one, on a cluster that runs and has loaded the model in both."""
    import ray as cluster

    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    load = functools.partial(cl.load, arguments["model"], arguments["transcoder"], device="cpu")
    rates = {}
    for workers in (1, 2):
        cluster.init(num_cpus=workers, include_dashboard=False, log_to_driver=False, _node_ip_address="127.0.0.1")
        engine = Ray(load, workers, blocks=2)
        for measured in (False, True):  # the first time loads the models
            folder = tempfile.mkdtemp()
            result = harvest(model, arguments["path"], folder, SETTINGS, engine=engine)
            shutil.rmtree(folder)
            if measured:
                rates[workers] = result.rate
        cluster.shutdown()
    return {"one worker, tokens/s": rates[1], "two workers, tokens/s": rates[2], "ratio": rates[2] / rates[1]}


@click.command()
@click.argument("measures", nargs=-1, type=click.Choice(MEASURES))
@click.option("--model", required=True)
@click.option("--transcoder", required=True)
@click.option("--corpus", "path", type=click.Path(exists=True), help="Default: text that the model writes.")
@click.option("--generate", type=int, default=300_000, show_default=True, help="Tokens to write without a corpus.")
@click.option("--small", type=int, default=1_000_000, show_default=True)
@click.option("--large", type=int, default=10_000_000, show_default=True)
@click.option("--kill", "n_kills", type=int, default=20, show_default=True)
def main(measures, model, transcoder, path, generate, small, large, n_kills) -> None:
    """Print the MEASURES, all of them by default, as JSON."""
    torch.set_num_threads(1)
    loaded = cl.load(model, transcoder, device="cpu")
    with tempfile.TemporaryDirectory() as folder:
        if path is None:
            path = str(Path(folder) / "generated.jsonl")
            rows = Generated(loaded.model, generate)
            decode = functools.partial(loaded.model.tokenizer.decode, skip_special_tokens=True)
            Path(path).write_text("".join(json.dumps({"text": decode(row)}) + "\n" for row in rows), encoding="utf-8")
        arguments = {"model": model, "transcoder": transcoder, "path": path}
        for measure in measures or MEASURES:
            found = {
                "rate": lambda: rate(loaded, path),
                "memory": lambda: memory(arguments, small, large),
                "kills": lambda: kills(arguments, n_kills),
                "ray": lambda: ray(loaded, arguments),
            }[measure]()
            click.echo(json.dumps({measure: found}, indent=1))


if __name__ == "__main__":
    main()
