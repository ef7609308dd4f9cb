"""What the commands share: options, errors in one line, JSON."""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    import pandas as pd

    from circuitlab.replacement import ReplacementModel


def reports_errors(command: Callable) -> Callable:
    """What a user got wrong ends in one line and exit code 1, not in a traceback."""

    @functools.wraps(command)
    def wrapped(*arguments: Any, **options: Any) -> None:
        try:
            command(*arguments, **options)
        except BrokenPipeError:
            raise  # click ends quietly where nobody reads on
        except (ValueError, OSError) as error:
            raise click.ClickException(str(error)) from error

    return wrapped


def model_options(command: Callable) -> Callable:
    """--model, --transcoder, --device and --dtype, the same for every command that loads a model."""
    for option in (
        click.option("--dtype", type=click.Choice(["float32", "float64", "bfloat16"]), help="Default: float32."),
        click.option("--device", help="cpu, cuda, mps. Default: the best there is."),
        click.option(
            "--transcoder",
            help="A folder with a CLT or PLT, or: neurons. Default: atlas's own, else neurons.",
        ),
        click.option("--model", default="atlas", show_default=True, help="atlas, a folder, or a hub id."),
    ):
        command = option(command)
    return command


def as_json(command: Callable) -> Callable:
    return click.option("--json", "json_out", is_flag=True, help="Print one JSON document instead of text.")(command)


def as_text(document: Any) -> str:
    """A JSON document; numbers that JSON does not know (NaN: nothing was there to measure) as null."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: plain(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [plain(item) for item in value]
        return None if isinstance(value, float) and not math.isfinite(value) else value

    return json.dumps(plain(document), ensure_ascii=False, indent=1, allow_nan=False)


def records(table: pd.DataFrame, columns: list[str]) -> list[dict]:
    """Rows as plain dictionaries; missing values as None."""
    values = [[None if value != value else value for value in table[column].tolist()] for column in columns]
    return [dict(zip(columns, row, strict=True)) for row in zip(*values, strict=True)]


def load_replacement(model: str, transcoder: str | None, device: str | None, dtype: str | None) -> ReplacementModel:
    import torch

    from circuitlab.replacement import load

    quiet_transformers()
    return load(model, transcoder, device=device, dtype=getattr(torch, dtype) if dtype else None)


def quiet_transformers() -> None:
    """Weights load in milliseconds here; their progress bars are noise."""
    from transformers.utils import logging

    logging.disable_progress_bar()
