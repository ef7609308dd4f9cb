"""Labels by a language model, against a local stand-in that speaks the protocol and misbehaves in every known way."""

import gzip
import json
import re
import socket
import threading
import time
import traceback
from contextlib import suppress

import pytest
from click.testing import CliRunner
from endpoint import completion, stand_in
from test_labelling import Truth

from circuitlab.cli import main
from circuitlab.labelling.contexts import Context, StoreContexts
from circuitlab.labelling.endpoint import Budget, Endpoint, EndpointFailed, Spent
from circuitlab.labelling.from_model import label_with_model
from circuitlab.labelling.prompts import Nonsense, label_messages, marked, read_fits, read_label
from circuitlab.labelling.transport import LARGEST_BODY

pytest.importorskip("openai", reason="the openai library, of the labels extra, is not installed")
HELLO = [{"role": "user", "content": "hello"}]


@pytest.fixture
def truth(tmp_path):
    return Truth(tmp_path / "store")


def endpoint(server, tmp_path, **options) -> Endpoint:
    waits: list[float] = []
    given = {"cache": tmp_path / "cache", "per_minute": 1e9, "timeout": 5, "sleep": waits.append, **options}
    made = Endpoint(server.url, "stand-in", **given)
    made.waits = waits
    return made


def rabbit(messages, _number) -> str:
    """Names the marked token of the first text; a label fits where the marked token is rabbit."""
    text = messages[1]["content"]
    if not text.startswith("Label:"):
        return json.dumps({"label": re.search("«(.*?)»", text)[1], "confidence": 0.75})
    fits = [int(n) for n, token in re.findall(r"^(\d+)\. .*«(.*?)»$", text, re.MULTILINE) if token == "rabbit"]
    return f"Sure!\n```json\n{json.dumps({'fits': fits})}\n```"


def test_features_are_labelled_and_scored_and_answers_are_kept(truth, tmp_path):
    with stand_in(rabbit) as server:
        asking = endpoint(server, tmp_path)
        report = label_with_model(truth.store, asking, ["L0/0", "L0/4"])
        assert (report.features[0].label, report.features[0].score, report.features[0].confidence) == (
            "rabbit",
            1.0,
            0.75,
        )
        assert report.features[1].score < 0.7
        assert truth.store.labels["L0/0"] == "rabbit"
        kept = truth.store.history.table("L0/0").iloc[-1]
        assert (kept["source"], kept["score"], kept["confidence"]) == ("language model", 1.0, 0.75)
        assert asking.usage.requests == len(server.asked) == 4
        assert asking.usage.tokens_in == 800
        again = endpoint(server, tmp_path)
        assert label_with_model(truth.store, again, ["L0/0", "L0/4"]).features == report.features
        assert (again.usage.requests, again.usage.cached) == (0, 4)
        label_with_model(truth.store, again)
        assert {f"L0/{i}" for i in range(6)} == set(truth.store.history.table()["name"])
        assert len(server.asked) == 4 + 8


def test_the_question_shows_the_shown_half_alone(truth):
    contexts = StoreContexts(truth.store)["L0/3"]
    task, question = (message["content"] for message in label_messages(contexts))
    assert "JSON" in task
    held = [marked(context) for context in contexts.held_out.active]
    shown = [marked(context) for context in contexts.shown.active]
    assert sum(text in question for text in shown) == 12
    assert not any(text in question for text in held if text not in shown)
    odd = Context((" a", '\n"', " <b>", "x"), 2)
    assert marked(odd) == 'a\\n\\" «<b>»x'


IMAGE = '{"label": "<img src=x onerror=alert(1)>"}'
NONSENSE = [
    None,
    "",
    "no",
    "[1]",
    "{",
    "<p>label</p>",
    "x" * 1_000_000,
    '{"label": 3}',
    IMAGE,
    f'{{"label": "{500 * "a"}"}}',
]


@pytest.mark.parametrize("answer", NONSENSE)
def test_nonsense_is_asked_for_once_more_and_the_run_goes_on(truth, tmp_path, answer):
    with stand_in(lambda messages, number: answer if number <= 2 else rabbit(messages, number)) as server:
        report = label_with_model(truth.store, endpoint(server, tmp_path), ["L0/0", "L0/5"])
    first, second = report.features
    assert (first.label, second.label) == ("", "rabbit")
    assert "nonsense" in first.why_none
    assert report.stopped == ""
    assert list(truth.store.labels) == ["L0/5"]


def test_an_answer_can_be_read_or_says_why_not():
    assert read_label('Well: {"label": " a\\u0000 b\\n", "confidence": 7} ok').label == "a b"
    assert read_label('{"label": "", "confidence": 1}').confidence == 1.0
    assert read_fits('{"fits": [2, 2, 1]}', 3) == {0, 1}
    for bad in ('{"fits": [0]}', '{"fits": [4]}', '{"fits": [true]}', '{"fits": "1"}', "{}", "[" * 5000 + "{" * 5000):
        with pytest.raises(Nonsense):
            read_fits(bad, 3)


def test_failures_are_tried_again_as_long_as_was_asked_for(tmp_path):
    said = [
        (429, {"Retry-After": "7"}, "{}"),
        (500, {}, "oops"),
        ConnectionError,
        (503, {"Retry-After": "x"}, ""),
        "yes",
    ]

    def say(_messages, number):
        if said[number - 1] is ConnectionError:
            raise ConnectionError
        return said[number - 1]

    with stand_in(say) as server:
        asking = endpoint(server, tmp_path, retries=4)
        assert asking.ask(HELLO) == "yes"
        assert len(server.asked) == 5
        assert asking.waits[0] == 7
        assert [round(wait / at) for wait, at in zip(asking.waits[1:], (2, 4, 8), strict=True)] == [1, 1, 1]


@pytest.mark.parametrize(
    ("say", "options", "said", "n"),
    [
        (lambda *_: (500, {}, "<html>"), {"retries": 2}, "failed 3 times, the last time with 500", 3),
        (lambda *_: (401, {}, '{"error": {"message": "wrong key"}}'), {}, "refused the request with 401", 1),
        (lambda *_: time.sleep(0.6) or "late", {"timeout": 0.2, "retries": 1}, "no answer within 0.2 s", 2),
        (lambda *_: (200, {}, "not json at all"), {"retries": 1}, "failed 2 times", 2),
    ],
)
def test_a_failing_endpoint_ends_the_run_with_its_reason(truth, tmp_path, say, options, said, n):
    with stand_in(say) as server:
        report = label_with_model(truth.store, endpoint(server, tmp_path, **options))
        assert said in report.stopped
        assert report.stopped.startswith("after 0 of 6 features")
        assert len(server.asked) == n
    with pytest.raises(EndpointFailed, match="failed 1 times"):
        endpoint(server, tmp_path, retries=0, timeout=1).ask(HELLO)


def test_what_was_done_before_a_failure_is_kept_and_the_same_call_goes_on(truth, tmp_path):
    with stand_in(lambda messages, number: rabbit(messages, number) if number <= 4 else (400, {}, "{}")) as server:
        report = label_with_model(truth.store, endpoint(server, tmp_path))
    assert report.stopped.startswith("after 2 of 6 features")
    assert len(truth.store.labels) == 2
    with stand_in(rabbit) as server:
        rest = label_with_model(truth.store, endpoint(server, tmp_path))
        assert [feature.name for feature in rest.features] == ["L0/2", "L0/3", "L0/4", "L0/5"]


@pytest.mark.parametrize(
    ("budget", "said", "most"),
    [
        (Budget(requests=3), "3 requests", 3),
        (Budget(tokens=1500), "of 1,500 tokens", 6),
        (Budget(cost=0.002, price_in=2.0, price_out=10.0), "of a cost of 0.002", 3),
    ],
)
def test_a_budget_is_never_exceeded(truth, tmp_path, budget, said, most):
    with stand_in(rabbit) as server:
        asking = endpoint(server, tmp_path, budget=budget, max_tokens=50)
        report = label_with_model(truth.store, asking)
        assert said in report.stopped
        assert 1 <= len(server.asked) <= most
        assert asking.usage.cost <= (budget.cost or 1)
        assert asking.usage.tokens_in + asking.usage.tokens_out <= (budget.tokens or 10**9)
        with pytest.raises(Spent):
            asking.ask([{"role": "user", "content": "x" * 6000}])


def test_the_rate_is_limited_and_the_key_goes_to_the_endpoint_alone(tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sesame")
    with stand_in(lambda _, number: str(number)) as server:
        asking = endpoint(server, tmp_path, per_minute=30)
        assert [asking.ask([{"role": "user", "content": str(at)}]) for at in range(3)] == ["1", "2", "3"]
        assert len(asking.waits) == 2
        assert sum(asking.waits) == pytest.approx(2 + 2, abs=1.5)
        assert server.headers[0]["authorization"] == "Bearer sesame"
    assert not any("sesame" in path.read_text() for path in (tmp_path / "cache").rglob("*.json"))


@pytest.mark.parametrize(
    "say",
    [
        lambda *_: (401, {}, '{"error": {"message": "wrong key sk-sesame\\u001b[31m"}}'),
        lambda *_: (500, {}, '{"error": {"message": "' + "x" * 170 + 'sk-sesame"}}'),
        lambda *_: (307, {"Location": "http://127.0.0.1:9/sk-sesame"}, ""),
    ],
)
def test_no_error_tells_the_key_or_moves_the_cursor(tmp_path, monkeypatch, say):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-sesame")
    with stand_in(say) as server, pytest.raises(EndpointFailed) as failed:
        endpoint(server, tmp_path, retries=0).ask(HELLO)
    told = "".join(traceback.format_exception(failed.value))
    assert "sk-se" not in told
    assert "\x1b" not in told


def test_an_answer_that_holds_the_key_is_kept_without_it(tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-sesame")
    with stand_in(lambda *_: "your key is sk-sesame!") as server:
        assert endpoint(server, tmp_path).ask(HELLO) == "your key is …!"
    assert not any("sesame" in path.read_text() for path in (tmp_path / "cache").rglob("*.json"))


def test_keys_that_cannot_be_sent_and_addresses_with_one(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="no name and key: put the key into the environment") as refused:
        Endpoint("http://me:sesame@localhost/v1", "m")
    assert "sesame" not in str(refused.value)
    with stand_in(lambda *_: "yes") as server:
        for key in ("", " sesame\n"):
            monkeypatch.setenv("OPENAI_API_KEY", key)
            assert endpoint(server, tmp_path, cache=None).ask(HELLO) == "yes"
        for key in ("ses\name", "sésame"):
            monkeypatch.setenv("OPENAI_API_KEY", key)
            with pytest.raises(EndpointFailed, match="OPENAI_API_KEY holds a character that cannot be sent"):
                endpoint(server, tmp_path).ask(HELLO)
        assert len(server.asked) == 2


def test_nobody_is_followed_to_another_address(tmp_path):
    with stand_in(lambda *_: "secrets?") as other:
        moved = (307, {"Location": f"{other.url}/chat/completions"}, "")
        with stand_in(lambda *_: moved) as server, pytest.raises(EndpointFailed, match=f"sends on to {other.url}"):
            endpoint(server, tmp_path).ask(HELLO)
        assert not other.asked


def test_an_answer_that_drips_is_not_waited_for(tmp_path):
    """Each byte comes within the time that one may take; the whole does not."""
    stopped = threading.Event()

    def drip(server: socket.socket) -> None:
        connection = server.accept()[0]
        connection.recv(65_536)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n")
        with suppress(OSError):
            while not stopped.wait(0.05):
                connection.sendall(b" ")
        connection.close()

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=drip, args=(server,))
        thread.start()
        began = time.monotonic()
        asking = Endpoint(f"http://127.0.0.1:{server.getsockname()[1]}/v1", "m", timeout=0.4, retries=0)
        with pytest.raises(EndpointFailed, match=r"no answer within 0\.4 s"):
            asking.ask(HELLO)
        assert time.monotonic() - began < 10
        stopped.set()
        thread.join()


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (" " * (LARGEST_BODY + 1) + "{}", {}),
        (gzip.compress(b" " * 2**26, 1).decode("latin-1"), {"Content-Encoding": "gzip"}),
    ],
)
def test_a_huge_answer_is_not_read(tmp_path, body, headers):
    huge = (200, headers, body)
    with stand_in(lambda *_: huge) as server, pytest.raises(EndpointFailed, match="an answer of more than"):
        endpoint(server, tmp_path, retries=0).ask(HELLO)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"choices": {"a": 1}}, None),
        ({"choices": 5}, None),
        ({"choices": [None]}, ""),
        ({"usage": {"prompt_tokens": 10**400, "completion_tokens": -1}}, "hi"),
        ({"usage": [1]}, "hi"),
    ],
)
def test_answers_of_another_shape(tmp_path, changes, said):
    body = json.dumps({**json.loads(completion("hi")), **changes})
    with stand_in(lambda *_: (200, {}, body)) as server:
        asking = endpoint(server, tmp_path, retries=0, budget=Budget(cost=1, price_in=1.0))
        if said is None:
            with pytest.raises(EndpointFailed, match="failed 1 times"):
                asking.ask(HELLO)
        else:
            assert asking.ask(HELLO) == said
        assert asking.usage.tokens_in < 10**6


def test_an_answer_nested_without_end_is_a_failure(tmp_path):
    with stand_in(lambda *_: (200, {}, "[" * 200_000)) as server, pytest.raises(EndpointFailed, match="recursion"):
        endpoint(server, tmp_path, retries=0).ask(HELLO)


def test_settings_that_cannot_be_kept_are_refused():
    for settings, said in (
        ({"url": "localhost:8000"}, "no address"),
        ({"per_minute": 0}, "above 0"),
    ):
        with pytest.raises(ValueError, match=said):
            Endpoint(**{"url": "http://x/v1", "model": "m", **settings})
    with pytest.raises(ValueError, match="needs prices"):
        Budget(cost=1)
    with pytest.raises(ValueError, match="requests=-1"):
        Budget(requests=-1)


def test_the_command_labels_from_the_evidence_or_by_a_language_model(truth):
    def run(*arguments: str):
        return CliRunner().invoke(main, ["label", str(truth.store.folder), *arguments])

    found = json.loads(run("--random", str(truth.store.folder), "--json").stdout)
    assert (found["features"], found["labelled"]) == (6, 0)
    assert "chance gives 1.00" in found["labels"][0]["why_none"]
    assert "rabbit, Texas earlier" in run().stdout
    with stand_in(rabbit) as server:
        named = ("--endpoint", server.url, "--model", "stand-in", "--per-minute", "100000", "--json")
        stopped = run(*named, "--requests", "3")
        assert stopped.exit_code == 1
        assert "3 requests is used up; what was labelled is kept" in stopped.stderr
        assert json.loads(stopped.stdout)["requests"] == 3
        assert json.loads(run(*named).stdout)["labelled"] == 5
    assert (truth.store.folder / "label-answers").is_dir()
    for arguments, said in (
        (("--model", "x"), "needs both"),
        (("--budget", "1"), "--budget limits"),
        (("--endpoint", "http://x/v1", "--model", "x", "--clear", "0.5"), "--clear"),
        (("--endpoint", "http://x/v1", "--model", "x", "--budget", "1"), "needs prices"),
    ):
        refused = run(*arguments)
        assert (refused.exit_code, said in refused.stderr) == (1, True)
