"""A language model behind an OpenAI-compatible endpoint: asked at a limited rate, within a budget, once.

    cache      one file per question under its sha256 (endpoint, model, messages, settings); such an answer is free
    budget     requests, tokens and cost; a request that could exceed one is not sent, and `Spent` says which
    rate       at most so many requests a minute, from this process
    retries    connection errors, timeouts, 408, 409, 429 and 5xx, after 1, 2, 4, … seconds or what Retry-After says
    stalled    a whole answer is due within `timeout`, however slowly it drips; a very large one
               is not read on, and nobody is followed to another address (transport.py)
    failed     after the last retry, or at once for other errors: `EndpointFailed`, with the reason in one line

The key is read from the environment (OPENAI_API_KEY) and is never written anywhere: where an answer or an error of the
endpoint holds it, it is taken out.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from circuitlab.formats.files import write_atomically
from circuitlab.labelling.prompts import LONGEST_ANSWER, Messages
from circuitlab.labelling.transport import bound, within

RETRIED = {408, 409, 429}
LONGEST_WAIT = 60.0
MOST_TOKENS = 10**9
"""Tokens that an answer may say it took; beyond that it is not believed."""
KEY = "OPENAI_API_KEY"
CHARACTERS_PER_TOKEN = 3
"""A low estimate, so that a request's tokens are rather over- than underestimated before it is sent."""


class Spent(Exception):
    """The budget does not allow another request; the message says which part is used up."""


class EndpointFailed(Exception):
    """The endpoint cannot be reached or refuses; the message says why."""


@dataclass(frozen=True)
class Budget:
    """Limits of one run. `cost` needs the prices, per million tokens in and out, in the same currency."""

    requests: int | None = None
    tokens: int | None = None
    cost: float | int | None = None
    price_in: float | int = 0.0
    price_out: float | int = 0.0

    def __post_init__(self) -> None:
        for name in ("requests", "tokens", "cost", "price_in", "price_out"):
            value = getattr(self, name)
            if value is not None and not value >= 0:
                raise ValueError(f"a budget of {name}={value} cannot be kept: expected 0 or more")
        if self.cost is not None and not (self.price_in or self.price_out):
            raise ValueError("a maximum cost needs prices: say price_in and price_out, per million tokens")


@dataclass
class Usage:
    """What was spent: requests sent, answers from the cache, tokens in and out as the endpoint counts them, cost."""

    requests: int = 0
    cached: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    cost: float = 0.0


@dataclass
class Endpoint:
    """`ask(messages)` gives the text of an answer. `url` is the base address, as "http://localhost:8000/v1"."""

    url: str
    model: str
    cache: Path | None = None
    budget: Budget = field(default_factory=Budget)
    per_minute: float | int = 60
    timeout: float | int = 60
    retries: int = 4
    max_tokens: int = 300
    usage: Usage = field(default_factory=Usage)
    sleep: Callable[[float], object] = time.sleep
    _last: float = field(default=-1e9, repr=False)
    _client: Any = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if not self.url.startswith(("http://", "https://")):
            raise ValueError(f"{self.url!r} is no address of an endpoint: write http://host:port/v1 or https://…")
        if "@" in urlsplit(self.url).netloc:
            raise ValueError(f"an endpoint's address holds no name and key: put the key into the environment, {KEY}")
        if not self.per_minute > 0 or not self.timeout > 0:
            raise ValueError(f"per_minute={self.per_minute} and timeout={self.timeout} must be above 0")

    def ask(self, messages: Messages) -> str:
        """The answer to some messages, from the cache or from the endpoint. Raises Spent and EndpointFailed."""
        path = self._cached(messages)
        if path is not None and path.is_file():
            try:
                answer = json.loads(path.read_text("utf-8"))["answer"]
            except (ValueError, KeyError, TypeError):
                answer = None
            if isinstance(answer, str):
                self.usage.cached += 1
                return answer
        answer = self._ask(messages)
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            text = json.dumps({"model": self.model, "answer": answer}, ensure_ascii=False)
            write_atomically(path, [text.encode("utf-8", "replace")])
        return answer

    def forget(self, messages: Messages) -> None:
        """Take an answer out of the cache, so that the same question is asked anew."""
        path = self._cached(messages)
        if path is not None:
            path.unlink(missing_ok=True)

    def _cached(self, messages: Messages) -> Path | None:
        if self.cache is None:
            return None
        asked = json.dumps([self.url, self.model, self.max_tokens, messages], ensure_ascii=False, sort_keys=True)
        name = hashlib.sha256(asked.encode("utf-8", "surrogatepass")).hexdigest()
        return self.cache / name[:2] / f"{name}.json"

    def _ask(self, messages: Messages) -> str:
        openai = _openai()
        failure = ""
        for attempt in range(self.retries + 1):
            self._allow(messages)
            client = self._connected()
            self._wait_for_turn()
            self.usage.requests += 1
            try:
                return self._answer(client, messages)
            except openai.APIStatusError as error:
                code, failure = error.status_code, f"{error.status_code}: {self._said(error)}"
                wait = _retry_after(error.response.headers.get("retry-after"))
                if 300 <= code < 400:
                    failure += f" (it sends on to {self._clean(error.response.headers.get('location', 'nowhere'))})"
                if code not in RETRIED and code < 500:
                    raise EndpointFailed(f"{self.url} refused the request with {failure}") from None
            except (openai.APITimeoutError, TimeoutError):
                failure, wait = f"no answer within {self.timeout:g} s", None
                self._client = None  # what still drips in from there is nobody's answer
            except (openai.APIError, ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
                failure, wait = self._said(error), None
            if attempt < self.retries:
                self.sleep(min(LONGEST_WAIT, wait if wait is not None else 2.0**attempt * random.uniform(0.8, 1.2)))
        raise EndpointFailed(f"{self.url} failed {self.retries + 1} times, the last time with {failure}")

    def _answer(self, client: Any, messages: Messages) -> str:
        """One request. An answer without text is the empty text; a very long one is cut."""
        made: Any = {"model": self.model, "messages": messages, "max_tokens": self.max_tokens, "temperature": 0}
        found = within(self.timeout, lambda: client.chat.completions.create(**made))
        usage = getattr(found, "usage", None)
        counted = [getattr(usage, name, None) for name in ("prompt_tokens", "completion_tokens")]
        tokens_in, tokens_out = (
            value if isinstance(value, int) and 0 <= value <= MOST_TOKENS else None for value in counted
        )
        self._count(self._estimate(messages) if tokens_in is None else tokens_in, tokens_out or 0)
        choices = getattr(found, "choices", None)
        content = getattr(getattr(choices[0], "message", None), "content", None) if choices else None
        return self._without_key(content)[: LONGEST_ANSWER + 1] if isinstance(content, str) else ""

    def _connected(self) -> Any:
        if self._client is None:
            openai, key = _openai(), _key() or "none"
            if not (key.isascii() and key.isprintable()):
                raise EndpointFailed(f"the key in {KEY} holds a character that cannot be sent: set it anew")
            plain = {"Accept-Encoding": "identity"}
            http = openai.DefaultHttpxClient(follow_redirects=False, event_hooks={"response": [bound]}, headers=plain)
            options: Any = {"base_url": self.url, "timeout": self.timeout, "max_retries": 0, "http_client": http}
            self._client = openai.OpenAI(api_key=key, default_headers=plain, **options)
        return self._client

    # ---- what is told of an error ----

    def _said(self, error: Exception) -> str:
        return self._clean(str(error) or type(error).__name__)

    def _clean(self, text: str) -> str:
        """The beginning of what an endpoint says, on one line, without the key."""
        shown = "".join(letter if letter.isprintable() else " " for letter in self._without_key(text))
        return " ".join(shown[:2000].split())[:200]

    @staticmethod
    def _without_key(text: str) -> str:
        return text.replace(_key(), "…") if _key() else text

    # ---- limits ----

    def _estimate(self, messages: Messages) -> int:
        return sum(len(message["content"]) for message in messages) // CHARACTERS_PER_TOKEN + 1

    def _allow(self, messages: Messages) -> None:
        """Raises Spent where the largest that this request can take would exceed a limit."""
        budget, usage, asked = self.budget, self.usage, self._estimate(messages)
        if budget.requests is not None and usage.requests + 1 > budget.requests:
            raise Spent(f"the budget of {budget.requests:,} requests is used up")
        tokens = usage.tokens_in + usage.tokens_out
        if budget.tokens is not None and tokens + asked + self.max_tokens > budget.tokens:
            raise Spent(f"{tokens:,} of {budget.tokens:,} tokens are used up, and the next request may exceed the rest")
        next_cost = (asked * budget.price_in + self.max_tokens * budget.price_out) / 1e6
        if budget.cost is not None and usage.cost + next_cost > budget.cost:
            raise Spent(
                f"{usage.cost:.4f} of a cost of {budget.cost} is used up, and the next request may exceed the rest"
            )

    def _count(self, tokens_in: int, tokens_out: int) -> None:
        self.usage.tokens_in += tokens_in
        self.usage.tokens_out += tokens_out
        self.usage.cost += (tokens_in * self.budget.price_in + tokens_out * self.budget.price_out) / 1e6

    def _wait_for_turn(self) -> None:
        wait = self._last + 60 / self.per_minute - time.monotonic()
        if wait > 0:
            self.sleep(wait)
        self._last = time.monotonic()


def _key() -> str:
    return os.environ.get(KEY, "").strip()


def _openai() -> Any:
    try:
        import openai
    except ImportError:
        raise ValueError(
            'labels by a language model need the openai library: pip install "circuitlab[labels]"'
        ) from None
    return openai


def _retry_after(text: str | None) -> float | None:
    try:
        return max(0.0, float(text)) if text else None
    except ValueError:
        return None
