"""The sliders in a notebook cell: their state, and the runs that follow it.

State is here, in Python: `rows`, `factors`, `values`, `where`, `mode`, `end_layer`, `freeze_attention`, `n_tokens`. The
browser asks for changes ("move", "rows"), which are checked as any assignment is; `_state` tells every view but the one
that asked. Each change gets a revision and goes to two `Newest` runners: the numbers, at once, and the continuation,
when the slider rests. A newer change ends the run under way between two layers. Outcomes come back in `_result` under
their revision; the browser drops one that is older than what it has asked for since.

Factors are the session's `interventions`, what else is set its `setting`, what is left of nodes its `changed`; so all
sliders of a session agree, and `session.undo` takes a drag back.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any

import traitlets

from circuitlab.figures import intervention_mimebundle
from circuitlab.graph import Graph
from circuitlab.widgets.base import Widget, bundle, refuse_unknown, refusing
from circuitlab.widgets.session import SLID, Session
from circuitlab.widgets.sliders import report
from circuitlab.widgets.sliders.newest import Newest
from circuitlab.widgets.sliders.request import (
    MODES,
    Request,
    Setting,
    amount_of,
    checked_amounts,
    checked_end_layer,
    checked_mode,
    checked_where,
    request,
)
from circuitlab.widgets.sliders.rows import Catalogue, Row

STATE = ("rows", "factors", "values", "where", "mode", "end_layer", "freeze_attention", "n_tokens")
BY_ROW = ("factors", "values", "where")
SHARED = ("values", "where", "mode", "end_layer", "freeze_attention")
"""What the session's `setting` holds."""
AT_REST = {"values": {}, "where": {}, "mode": "propagating", "end_layer": None, "freeze_attention": True}
FOLLOWED = ["interventions", "setting", "supernodes", "labels", "clicked"]
DRAWN_WITHIN = 10.0
"""Seconds that a cell waits for the numbers of its picture."""
SETTLED = 0.15
"""Seconds that a slider rests before the continuation is computed."""


@dataclass(frozen=True, eq=False)
class Job:
    """One run to make, and what to tell of it."""

    request: Request
    groups: Sequence[report.Group]


class InterventionSliders(Widget):
    """Sliders for nodes, features, labels and supernodes of a graph; the model runs again while they are dragged.

    `model` is what `cl.load` gives, or any object whose `intervene(prompt, interventions, **options)` gives a run.
    State as keyword arguments: `rows=["Texas", "L3/55"]` names the sliders (supernodes by default, else pinned nodes,
    else the most influential features); `factors` and `values` map row names to a multiple of their own activation (0
    ablates) or to an activation; `where` maps them to "own", "all", "generated" or a position; `mode`, `end_layer` and
    `freeze_attention` are those of `model.intervene`.
    """

    _esm = bundle("sliders.js")

    height = traitlets.Int(560, min=240, max=4000, help="height in pixels").tag(sync=True)
    rows = traitlets.List(traitlets.Unicode(), help="names of the rows, top to bottom")
    factors = traitlets.Dict(help="row name → multiple of its own activation")
    values = traitlets.Dict(help="row name → activation; takes the place of a factor")
    where = traitlets.Dict(help='row name → "own", "all", "generated" or a position')
    mode = traitlets.Unicode("propagating", help="how far effects are followed, as in model.intervene")
    end_layer = traitlets.Int(None, allow_none=True, help="of the mode constrained; None: the last layer that is set")
    freeze_attention = traitlets.Bool(True, help="hold the attention patterns of the unperturbed run")
    n_tokens = traitlets.Int(6, min=0, max=64, help="length of the continuation; 0 for none")
    _state = traitlets.Unicode("{}").tag(sync=True)
    _context = traitlets.Unicode("{}").tag(sync=True)
    _result = traitlets.Unicode("{}").tag(sync=True)
    _code = traitlets.Unicode().tag(sync=True)

    def __init__(self, model: Any, graph: Graph, session: Session | None = None, **traits: Any) -> None:
        if not callable(getattr(model, "intervene", None)):
            raise TypeError(f"InterventionSliders() needs a model with `intervene`, see cl.load; got {_type(model)}")
        if not isinstance(graph, Graph):
            raise TypeError(f"InterventionSliders() needs a circuitlab Graph; got {_type(graph)}")
        refuse_unknown("InterventionSliders", traits, (*STATE, "height", "session"))
        self.model, self.graph = model, graph
        self.session = session or Session(graph)
        self.prompt, self._n_layers = prompt_of(model, graph), layers_of(model, graph)
        self._lock = threading.RLock()
        self._revision = 0
        self._busy = True
        self._origin: str | None = None
        self._found: dict[str, Row] = {}
        self._offers: str | None = None
        self._plain_continuation: dict[int, str] = {}
        self._numbers = Newest(self._run_numbers, self._show_numbers, "circuitlab-sliders")
        self._texts = Newest(self._run_text, self._show_text, "circuitlab-continuation", SETTLED)
        self._catalogue = Catalogue(graph, self.session.supernodes, self.session.labels)
        super().__init__(**({"height": traits["height"]} if "height" in traits else {}))
        given = {name: traits[name] for name in STATE if name in traits}
        given.setdefault("rows", self._catalogue.opening(self.session.pinned))
        self._busy = False
        with self.session.amending():
            self._set({"factors": dict(self.session.interventions), **self.session.setting, **given})
        self.observe(self._changed, list(STATE))
        self.session.observe(self._from_session, FOLLOWED)

    # ---- what a user calls ----

    @property
    def code(self) -> str:
        """Python text that makes the same run."""
        atlas = getattr(getattr(self.model, "model", None), "name", None) == "atlas" and bool(self.model.labels)
        opening = "import circuitlab as cl\n\n" + ("model = cl.load()" if atlas else "model = ...   # as you loaded it")
        if self._needs_graph:
            opening += f"\ngraph = model.trace({json.dumps(self.prompt, ensure_ascii=False)}, mask_bos=False)"
        return self._request().code(self.prompt, opening, self._needs_graph)

    @property
    def result(self) -> dict[str, Any]:
        """What is shown: `tokens` and `groups` before and after, `continuation`, `error`, and the run's `revision`."""
        return json.loads(self._result)

    def run(self, n_tokens: int | None = None) -> Any:
        """The run of the present state, computed now; with its tables, `compare` and `plot`."""
        return self._intervene(self._request(), self.n_tokens if n_tokens is None else n_tokens)

    def wait(self, seconds: float | int = 30.0) -> bool:
        """Wait until numbers and continuation are those of the present state; whether they are."""
        deadline = time.monotonic() + seconds
        return self._numbers.wait(seconds) and self._texts.wait(max(0.0, deadline - time.monotonic()))

    def reset(self) -> None:
        """All rows as they were."""
        self._set({name: {} for name in BY_ROW})

    def close(self) -> None:
        if "session" in self.__dict__ and self.comm is not None:
            self.session.unobserve(self._from_session, FOLLOWED)
            self._numbers.close()
            self._texts.close()
            self.session.changed = {}
        super().close()

    def _picture(self) -> dict[str, Any]:
        self.wait(DRAWN_WITHIN)
        result = self.result
        if not result.get("tokens"):
            return {}
        moved = [row for name in self.rows if (row := self._row(name)) and amount_of(self._setting(), row) is not None]
        prompt = self.graph.prompt[:400]
        text = f"<InterventionSliders {', '.join(row.title for row in moved) or 'at rest'} in {prompt!r}>"
        return intervention_mimebundle(*report.tables(result), text, about=text[1:-1])

    # ---- state ----

    @traitlets.validate("rows", "factors", "values", "where", "mode", "end_layer")
    def _fits_the_graph(self, proposal: Any) -> Any:
        with refusing():
            return self._checked(proposal["trait"].name, proposal["value"])

    def _checked(self, name: str, value: Any) -> Any:
        if name in ("factors", "values"):
            value = checked_amounts(name, value)
        elif name == "where":
            value = checked_where(value, len(self.graph.tokens))
        elif name == "mode":
            return checked_mode(value)
        elif name == "end_layer":
            return checked_end_layer(value, self._n_layers)
        elif name == "rows":
            value = list(dict.fromkeys(value)) if not isinstance(value, str) else [value]
        for row in value if isinstance(value, list | dict) else ():
            found = self._row(row)
            if name == "values" and found.vector:
                raise ValueError(f"values[{row!r:.60}]: it holds an error or a token, which only a factor can scale")
        return value

    def _set(self, state: Mapping[str, Any], origin: str | None = None, gesture: str | None = None) -> None:
        """Check everything, then change it as one step, or as more of a gesture that is going on."""
        checked = {name: self._checked(name, value) for name, value in state.items()}
        self._busy = True
        try:
            for name, value in checked.items():
                setattr(self, name, value)
        finally:
            self._busy = False
        self._changed({"name": ",".join(checked)}, origin, gesture)

    def _changed(self, change: Any, origin: str | None = None, gesture: str | None = None) -> None:
        """Bring rows and amounts into line with what was set last, tell session and browser, run."""
        if self._busy:
            return
        self._busy = True
        try:
            self._align(change["name"].split(","))
            with self.session.gesture(gesture) if gesture else nullcontext():
                self.session.update(**self._to_session())
        finally:
            self._busy = False
        self._submit(origin)

    def _to_session(self) -> dict[str, Any]:
        held = {name: getattr(self, name) for name in SHARED}
        return {
            "interventions": {name: factor for name, factor in self.factors.items() if factor != 1.0},
            "setting": {name: value for name, value in held.items() if value != AT_REST[name]},
        }

    def _align(self, names: Sequence[str]) -> None:
        """A name is in factors or values, whichever was set last; what has an amount has a row unless rows were set."""
        factors, values = dict(self.factors), dict(self.values)
        if "values" in names:
            factors = {name: amount for name, amount in factors.items() if name not in values}
        else:
            values = {name: amount for name, amount in values.items() if name not in factors}
        rows = list(self.rows)
        if "rows" not in names or "factors" in names:
            rows += [name for name in (*factors, *values) if name not in rows]
        self.rows = rows
        self.factors = {name: amount for name, amount in factors.items() if name in rows}
        self.values = {name: amount for name, amount in values.items() if name in rows}
        self.where = {name: place for name, place in self.where.items() if name in rows}

    def _from_session(self, change: Any) -> None:
        if change["name"] == "clicked":
            self._publish(None)
        elif change["name"] in ("supernodes", "labels"):
            self._catalogue = Catalogue(self.graph, self.session.supernodes, self.session.labels)
            self._found, self._offers = {}, None
            kept = [name for name in self.rows if self._exists(name)]
            old = self.session.supernodes if change["name"] == "labels" else change["old"]
            new = [name for name in self.session.supernodes if name not in old and name not in kept]
            with self.session.amending():
                self._set({"rows": [*kept, *new], **self._held_by_session()})
        elif not self._busy and self._to_session() != {name: getattr(self.session, name) for name in SLID}:
            self._set(self._held_by_session())

    def _held_by_session(self) -> dict[str, Any]:
        """The state that the session asks for, without rows that are no more."""
        state = {"factors": self.session.interventions, **AT_REST, **self.session.setting}
        for name in BY_ROW:
            state[name] = {row: amount for row, amount in state[name].items() if self._exists(row)}
        return state

    def _row(self, name: str) -> Row:
        if name not in self._found:
            self._found[name] = self._catalogue.row(name)
        return self._found[name]

    def _exists(self, name: str) -> bool:
        try:
            self._row(name)
        except ValueError:
            return False
        return True

    # ---- what the browser asks for ----

    def _on_move(self, content: Mapping[str, Any]) -> dict[str, Any]:
        """New amounts, places and options; answers with the revision under which the outcome will come."""
        state = {name: content[name] for name in STATE[1:] if name in content}
        origin = str(content.get("origin"))
        self._set(state, origin, f"{origin} {content['gesture']}" if "gesture" in content else None)
        return {"revision": self._revision}

    def _on_rows(self, content: Mapping[str, Any]) -> dict[str, Any]:
        """Other rows; a name that does not exist is an error that names the nearest."""
        self._set({"rows": content["rows"]})
        return {"revision": self._revision}

    def _on_travel(self, content: Mapping[str, Any]) -> dict[str, Any]:
        """Undo or redo in the session; `done` says whether there was anything."""
        back = content.get("way") != "redo"
        done = self.session.can_undo if back else self.session.can_redo
        (self.session.undo if back else self.session.redo)()
        return {"done": done, "revision": self._revision}

    # ---- runs ----

    def _setting(self) -> Setting:
        return Setting(**{name: getattr(self, name) for name in STATE[1:]})

    def _request(self) -> Request:
        return request(self._setting(), [self._row(name) for name in self.rows])

    def _submit(self, origin: str | None) -> None:
        with self._lock:
            self._revision += 1
            revision = self._revision
        self._texts.cancel(revision)
        try:
            job = Job(self._request(), self._groups())
        except ValueError as error:
            self._numbers.cancel(revision)
            self._publish(origin)
            self._show_numbers(revision, error)
            return
        self._publish(origin)
        self._numbers.submit(revision, job)
        if self.n_tokens:
            self._texts.submit(revision, replace(job.request, n_tokens=self.n_tokens))

    def _groups(self) -> list[report.Group]:
        setting = self._setting()
        rows = {name: self._row(name) for name in self.rows}
        moved = {name for name, row in rows.items() if amount_of(setting, row) is not None}
        return [
            report.Group(name, rows[name].title if name in rows else name, ids, name in moved)
            for name, ids in self._catalogue.watched(self.rows).items()
        ]

    def _publish(self, origin: str | None) -> None:
        """Tell the views what the state is; the one that asked for it knows."""
        clicked = self.session.clicked
        state = {
            **{name: getattr(self, name) for name in STATE[1:]},
            "revision": self._revision,
            "origin": origin,
            "rows": [self._row(name).sent() for name in self.rows],
            "clicked": clicked if clicked is not None and self._exists(clicked) else None,
        }
        with self.hold_sync():
            if self._offers is None:
                modes = [{"name": name, "says": says} for name, says in MODES.items()]
                self._offers = self._catalogue.context(modes=modes, layers=self._n_layers)
            self._context = self._offers
            try:
                self._code = self.code
            except ValueError as error:
                self._code = f"# {error}\n"
            self._state = json.dumps(state, ensure_ascii=False)

    @property
    def _needs_graph(self) -> bool:
        return self.graph.metadata.get("mask_bos", True) is False

    def _intervene(self, asked: Request, n_tokens: int, cancelled: Callable[[], bool] | None = None) -> Any:
        import circuitlab as cl

        interventions, options = asked.arguments(cl.Value, cl.Onward)
        if not interventions:
            first = self.graph.nodes["id"].to_numpy(dtype=object)[self.graph.kind_mask("token")][-1]
            interventions = {first: 1.0}
        if self._needs_graph:
            options["graph"] = self.graph
        if cancelled is not None:
            options["cancelled"] = cancelled
        return self.model.intervene(self.prompt, interventions, n_tokens=n_tokens, **options)

    def _run_numbers(self, job: Job, cancelled: Callable[[], bool]) -> dict[str, Any]:
        start = time.perf_counter()
        run = self._intervene(job.request, 0, cancelled)
        numbers = report.numbers(run, job.groups)
        changed = report.changed(run, job.groups, self._catalogue.by_influence)
        return {"shown": numbers, "changed": changed, "ms": round(1000 * (time.perf_counter() - start), 1)}

    def _run_text(self, asked: Request, cancelled: Callable[[], bool]) -> dict[str, str]:
        run = self._intervene(asked, asked.n_tokens, cancelled)
        if asked.n_tokens not in self._plain_continuation:
            self._plain_continuation[asked.n_tokens] = run.baseline_continuation
        before = self._plain_continuation[asked.n_tokens]
        return {"before": report.visible(before), "after": report.visible(run.continuation)}

    def _show_numbers(self, revision: int, outcome: Any) -> None:
        with self._lock:
            kept = self.result
            if revision < max(self._revision, kept.get("revision", 0)):
                return
            new: dict[str, Any] = {"revision": revision, "pending": bool(self.n_tokens)}
            if isinstance(outcome, Exception):
                self._texts.cancel(revision + 1)
                new |= {"error": _words(outcome), "pending": False}
            else:
                new |= {"error": None, "ms": outcome["ms"], **outcome["shown"]}
            if not self.n_tokens:
                kept.pop("continuation", None)
            self._result = json.dumps({**kept, **new}, ensure_ascii=False)
        if not isinstance(outcome, Exception):
            self.session.changed = outcome["changed"]

    def _show_text(self, revision: int, outcome: Any) -> None:
        with self._lock:
            kept = self.result
            if revision < self._revision or kept.get("error"):
                return
            if isinstance(outcome, Exception):
                new: dict[str, Any] = {"error": _words(outcome)}
            else:
                new = {"continuation": outcome}
            self._result = json.dumps({**kept, **new, "pending": False, "texted": revision}, ensure_ascii=False)


def prompt_of(model: Any, graph: Graph) -> str | list[int]:
    """The graph's prompt as text where the model reads it as the same tokens, else as token ids."""
    ids = graph.metadata.get("token_ids")
    if not ids:
        return graph.prompt
    ids = [int(token) for token in ids]
    to_tokens = getattr(getattr(model, "model", None), "to_tokens", None)
    try:
        same = to_tokens is not None and [int(token) for token in to_tokens(graph.prompt)] == ids
    except ValueError:
        same = False
    return graph.prompt if same else ids


def layers_of(model: Any, graph: Graph) -> int:
    """How many layers the model has; of a model that does not say, as many as its graph shows."""
    n_layers = getattr(getattr(model, "model", None), "n_layers", None)
    if isinstance(n_layers, int):
        return n_layers
    inner = graph.nodes.loc[graph.kind_mask("feature") | graph.kind_mask("error"), "layer"]
    return int(inner.max()) + 1 if len(inner) else 1


def _words(error: Exception) -> str:
    return str(error) or type(error).__name__


def _type(value: Any) -> str:
    return type(value).__name__
