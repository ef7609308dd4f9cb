"""The harvest on a local Ray cluster of two workers: one store, also when a worker is killed in the middle.

A worker that has loaded other weights is refused.

Mutations that break it: merging a task's tally twice, leaving out `require_fingerprints`.
"""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

import circuitlab as cl
from circuitlab.harvest import HarvestSettings, fingerprint
from circuitlab.harvest.engine import require_fingerprints
from circuitlab.harvest.ray_engine import Ray
from circuitlab.harvest.tally import Tally

ROOT = Path(__file__).resolve().parents[1]

# In a process of its own: Ray leaves threads and child processes to the interpreter's end.
HARVEST = """
import functools, os, signal, sys
from pathlib import Path
import circuitlab as cl
from circuitlab.harvest import HarvestSettings, harvest
from circuitlab.harvest.ray_engine import Ray

def load_once_dying(marker):
    # The bundled model; the first worker that asks for it dies.
    try:
        os.close(os.open(marker, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return cl.load(device="cpu")
    os.kill(os.getpid(), signal.SIGKILL)

folder = Path(sys.argv[1])
settings = HarvestSettings(n_top=4, n_lower=2, block_records=4, coactivation_positions=256, n_partners=4)
texts = [f"calc : {first} + {second} =" for first in range(36, 48) for second in (7, 59, 88)]
harvest(cl.load(device="cpu"), texts, folder / "one", settings)
engine = Ray(functools.partial(load_once_dying, str(folder / "died")), workers=2, blocks=2)
harvest(cl.load(device="cpu"), texts, folder / "two", settings, engine=engine)

def load_other():
    model = cl.load(device="cpu")
    model.transcoder.b_enc[2].data[5] += 1e-3
    return model

try:
    harvest(cl.load(device="cpu"), texts, folder / "other", settings, engine=Ray(load_other))
except ValueError as error:
    print(f"refused: {error}")
"""


@pytest.mark.skipif(not importlib.util.find_spec("ray"), reason="Ray, of the scale extra, is not installed")
def test_two_workers_one_of_which_is_killed_make_the_store_of_one_process(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", HARVEST, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "died").exists()
    one, two = ({path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ("one", "two"))
    assert one.keys() == two.keys()
    assert [name for name in one if one[name] != two[name]] == []
    refused = done.stdout.strip().splitlines()[-1]
    assert refused.startswith("refused: a worker has loaded another transcoder (atlas, fingerprint "), refused
    assert not (tmp_path / "other" / "manifest.json").exists()


def test_without_ray_one_is_told_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ValueError, match=r"pip install .circuitlab\[scale\]"):
        next(Ray(cl.load)(Tally(1, HarvestSettings()), iter(()), {}))


@pytest.mark.parametrize("what", ["model", "transcoder"])
def test_what_a_worker_has_loaded_must_have_the_fingerprints_of_the_harvest(what):
    model = cl.load(device="cpu")
    expected = {"model": fingerprint(model.model), "transcoder": fingerprint(model.transcoder)}
    require_fingerprints(model, expected)
    with pytest.raises(ValueError, match=f"another {what} .atlas, fingerprint {expected[what][:12]}.*{'0' * 12}"):
        require_fingerprints(model, expected | {what: "0" * 64})


def test_an_engine_needs_workers():
    with pytest.raises(ValueError, match="workers=0 must be at least 1"):
        Ray(cl.load, workers=0)
