"""The texts beside a transcoder's tensors: config.yaml and JSON files, read with limits and checked. Needs no torch."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import yaml

CONFIG_FILE = "config.yaml"
MODEL_KINDS = {"transcoder_set": "plt", "cross_layer_transcoder": "clt"}
LARGEST_CONFIG = 2**16
DEEPEST = 20
BRACKETS = re.compile(r"[\[\]{}]")
DASHES = re.compile(r"(?:[-?:] +){2,}")


def read_settings(path: Path) -> dict[str, Any]:
    """config.yaml as a dict, its `model_kind` and hook names checked. ValueError names file and key."""
    try:
        if path.stat().st_size > LARGEST_CONFIG:
            raise ValueError(
                f"{path} has {path.stat().st_size:,} bytes; a {CONFIG_FILE} has at most {LARGEST_CONFIG:,}"
            )
        text = path.read_text(encoding="utf-8")
        if _nesting(text) > DEEPEST:
            raise ValueError(f"{path} nests deeper than {DEEPEST} brackets; a {CONFIG_FILE} is a list of settings")
        settings = yaml.safe_load(text)
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError, OverflowError, AttributeError, KeyError) as error:
        raise ValueError(f"{path} is not readable as YAML: {error}") from error
    except ValueError as error:
        raise ValueError(str(error) if str(path) in str(error) else f"{path}: {error}") from error
    if not isinstance(settings, dict):
        raise ValueError(f"{path} holds {type(settings).__name__}, expected a mapping of settings")
    odd = [key for key in settings if not isinstance(key, str)]
    if odd:
        raise ValueError(f"{path}: the key {shortened(odd[0])} is no name of a setting")
    kind = settings.get("model_kind")
    if not isinstance(kind, str) or kind not in MODEL_KINDS:
        raise ValueError(f"{path}: model_kind is {shortened(kind)}, expected {' or '.join(map(repr, MODEL_KINDS))}")
    for key in ("feature_input_hook", "feature_output_hook"):
        if not isinstance(settings.get(key), str):
            found = shortened(settings.get(key))
            raise ValueError(f"{path}: {key} is {found}, expected a hook name such as 'hook_mlp_out'")
    if settings.get("activation") not in (None, "relu", "jumprelu", "topk"):
        found = shortened(settings["activation"])
        raise ValueError(f"{path}: activation is {found}, expected 'relu', 'jumprelu' or 'topk'")
    return settings


def _nesting(text: str) -> int:
    """How deep brackets nest at most, or dashes on one line: YAML's parser takes quadratic time for these."""
    depth = deepest = 0
    for bracket in BRACKETS.findall(text):
        depth = depth + 1 if bracket in "[{" else max(0, depth - 1)
        deepest = max(deepest, depth)
    dashes = max((match[0].count(" ") for match in DASHES.finditer(text)), default=0)
    return max(deepest, dashes)


def read_json(path: Path, largest: int = LARGEST_CONFIG) -> dict[str, Any]:
    """A JSON object. ValueError where it is too large, damaged, or no object."""
    if path.stat().st_size > largest:
        raise ValueError(f"{path} has {path.stat().st_size:,} bytes, expected at most {largest:,}")
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not readable as JSON: {error}") from error
    if not isinstance(found, dict):
        raise ValueError(f"{path} holds {type(found).__name__}, expected an object")
    return found


def shortened(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 120 else f"{text[:117]}…"
