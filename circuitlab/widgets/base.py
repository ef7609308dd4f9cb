"""What every circuitlab widget shares: its bundle, its keyword arguments, and answers to the browser.

The browser sends `{"id": n, "kind": "export", …}`; the widget's method `_on_export(content)` gives a dictionary, or a
dictionary and bytes, and the reply goes back under the same id. An exception travels back as text and is shown there.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anywidget
import traitlets

STATIC = Path(__file__).parents[1] / "static"


def bundle(name: str) -> Path:
    """The path of a built file of `widgets/`; a source tree that has not been built is told how to build it."""
    path = STATIC / name
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} is missing: the front end of this source tree has not been built; run `make setup` "
            "(or `pip install -e .`), which builds it"
        )
    return path


def refuse_unknown(owner: str, given: Iterable[str], known: Iterable[str]) -> None:
    """TypeError for the first keyword argument that is not known, with the nearest that is."""
    known = sorted(known)
    for name in given:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}"
            raise TypeError(f"{owner}() has no argument {name!r}; {hint}")


class Refused(ValueError, traitlets.TraitError):
    """A value that a trait does not take. Only for a TraitError does traitlets take back what was set along with it."""


@contextmanager
def refusing() -> Iterator[None]:
    """What is wrong with a value inside is `Refused`, in the same words."""
    try:
        yield
    except (ValueError, TypeError) as error:
        raise Refused(str(error)) from error


class Widget(anywidget.AnyWidget):
    """An anywidget that answers the browser's requests; see the module's docstring."""

    height = traitlets.Int(640, min=240, max=4000, help="height in pixels").tag(sync=True)

    def __init__(self, **traits: Any) -> None:
        super().__init__(**traits)
        self.on_msg(self._answer)

    def _repr_mimebundle_(self, **options: Any) -> tuple[dict[str, Any], dict[str, Any]] | None:
        """What a cell shows: the widget, and its picture for where no widget can run, as on a web page."""
        shown = super()._repr_mimebundle_(**options)
        return None if shown is None else ({**shown[0], **self._picture()}, shown[1])

    def set_state(self, sync_data: dict[str, Any]) -> None:
        """What the browser has changed; what is refused the browser takes back too."""
        try:
            super().set_state(sync_data)
        except Exception:
            self.send_state([name for name in sync_data if name in self.keys])
            raise

    def _picture(self) -> dict[str, Any]:
        """`image/png`, `image/svg+xml` and `text/plain` of the present state; empty where there is nothing to draw."""
        return {}

    def _answer(self, _widget: Any, content: Any, _buffers: Any) -> None:
        if not isinstance(content, Mapping) or "kind" not in content or "id" not in content:
            return
        reply, buffers = {"id": content["id"]}, []
        try:
            handler = getattr(self, f"_on_{content['kind']}", None)
            if handler is None:
                raise ValueError(f"the widget was asked for {content['kind']!r}, which it does not know")
            answer = handler(content) or {}
            if isinstance(answer, tuple):
                answer, data = answer
                buffers = [data]
            reply["answer"] = answer
        except Exception as error:  # whatever went wrong is shown where it was asked for
            reply["error"] = str(error) or type(error).__name__
        self.send(reply, buffers)

    def _on_ping(self, _content: Mapping[str, Any]) -> dict[str, Any]:
        return {}
