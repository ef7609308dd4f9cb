"""`circuitlab info`: versions, the device, the bundled model."""

from __future__ import annotations

import json
import platform
from importlib.metadata import PackageNotFoundError, version

import click

from circuitlab import __version__
from circuitlab.cli.options import as_json, as_text, reports_errors

PACKAGES = ("torch", "transformers", "transformer-lens", "numpy", "pandas", "matplotlib", "anywidget", "jupyterlab")


@click.command()
@as_json
@reports_errors
def info(json_out: bool) -> None:
    """Versions, the device, and the card of the bundled model."""
    import torch

    from circuitlab.model import best_device
    from circuitlab.replacement import ATLAS

    card = json.loads((ATLAS / "card.json").read_text("utf-8"))
    found = {
        "circuitlab": __version__,
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES},
        "device": best_device(),
        "threads": torch.get_num_threads(),
        "atlas": card,
    }
    click.echo(as_text(found) if json_out else _describe(found))


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _describe(found: dict) -> str:
    lines = [
        f"circuitlab {found['circuitlab']}, Python {found['python']}, {found['device']}, {found['threads']} threads"
    ]
    lines += [f"  {name:<18}{number or 'not installed'}" for name, number in found["packages"].items()]
    lines += ["", "atlas, the bundled model"]
    card = dict(found["atlas"])
    accuracy = card.pop("accuracy")
    lines += [f"  {name:<46}{value}" for name, value in card.items()]
    lines += ["", f"  {'right answers by kind of sentence':<46}{'held out':>10}{'told':>10}"]
    for name, shares in accuracy.items():
        held_out, told = (f"{shares[split]:.1%}" if split in shares else "" for split in ("held out", "told"))
        lines.append(f"  {name:<46}{held_out:>10}{told:>10}")
    return "\n".join(lines)
