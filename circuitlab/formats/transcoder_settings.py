"""The texts beside a transcoder's tensors: config.yaml and JSON files, read with limits and checked. Needs no torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

CONFIG_FILE = "config.yaml"
MODEL_KINDS = {"transcoder_set": "plt", "cross_layer_transcoder": "clt"}
LARGEST_CONFIG = 2**18


def read_settings(path: Path) -> dict[str, Any]:
    """config.yaml as a dict, its `model_kind` and hook names checked. ValueError names file and key."""
    try:
        if path.stat().st_size > LARGEST_CONFIG:
            raise ValueError(
                f"{path} has {path.stat().st_size:,} bytes; a {CONFIG_FILE} has at most {LARGEST_CONFIG:,}"
            )
        settings = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError, OverflowError, AttributeError, KeyError) as error:
        raise ValueError(f"{path} is not readable as YAML: {error}") from error
    except ValueError as error:
        raise ValueError(str(error) if str(path) in str(error) else f"{path}: {error}") from error
    if not isinstance(settings, dict):
        raise ValueError(f"{path} holds {type(settings).__name__}, expected a mapping of settings")
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
