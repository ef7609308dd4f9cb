"""What a label claims of a place in a text, so that it can be tested: attributes of places, and rules over them.

    token      the token itself                    previous   the token before it
    word       the word up to here, from its pieces
    seen       any word at or before this place    form       what the token looks like: number ending in 6, -ing
    seen form  the form of any token up to here    next       the token that follows (what "say X" claims)

A rule is one attribute and one of its values. A predicate is one rule, or two that both hold.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from functools import lru_cache

from circuitlab.labelling.contexts import Context

ATTRIBUTES = ("token", "word", "previous", "next", "form", "seen", "seen form")
REACH = 24
"""Tokens that `seen` looks back."""
LONGEST_WORD = 12
"""Pieces of a word."""


PHRASES = {"previous": "after {}", "next": "say {}", "seen": "{} earlier", "seen form": "{} earlier"}


@dataclass(frozen=True)
class Rule:
    """Holds where `attribute` has `value`."""

    attribute: str
    value: str

    def holds(self, context: Context) -> bool:
        return self.value in attributes(context)[self.attribute]

    def __str__(self) -> str:
        """As a reader of labels says it: "Texas", "after the", "number ending in 6", "say Austin"."""
        shown = self.value if self.value.strip() else repr(self.value)
        return PHRASES.get(self.attribute, "{}").format(shown)


@dataclass(frozen=True)
class Predicate:
    """Holds where all of its rules hold."""

    rules: tuple[Rule, ...]

    def holds(self, context: Context) -> bool:
        return all(rule.holds(context) for rule in self.rules)

    def __str__(self) -> str:
        return ", ".join(map(str, self.rules))


def attributes(context: Context) -> dict[str, frozenset[str]]:
    """Of each attribute the values that it has at this place."""
    tokens, at = context.tokens, context.position
    first = max(at - REACH, 0)
    words = _words(tokens, first, at)
    following = {tokens[at + 1].strip()} if at + 1 < len(tokens) and tokens[at + 1].strip() else set()
    seen_forms = [form for token in tokens[first : at + 1] for form in forms(token)]
    return {
        "token": frozenset([_bare(tokens[at])]),
        "word": frozenset(words[-1:]),
        "previous": frozenset([_bare(tokens[at - 1])] if at else []),
        "next": frozenset(following),
        "form": frozenset(forms(tokens[at])),
        "seen": frozenset(words),
        "seen form": frozenset(seen_forms),
    }


def _words(tokens: tuple[str, ...], first: int, last: int) -> list[str]:
    """The words from token `first` to `last`, pieces joined: a token with a blank before it begins a word."""
    words: list[str] = []
    n_pieces = 0
    for token in tokens[first : last + 1]:
        goes_on = bool(words) and not token[:1].isspace() and token[:1].isalpha() and words[-1][-1:].isalpha()
        if goes_on and n_pieces < LONGEST_WORD:
            words[-1] += token
            n_pieces += 1
        else:
            words.append(_bare(token))
            n_pieces = 1
    return words


def _bare(token: str) -> str:
    return token.strip() or token


@lru_cache(maxsize=100_000)
def forms(token: str) -> tuple[str, ...]:
    """What a token looks like: its kind of characters, its number, the beginning and end of a word."""
    text = token.strip()
    if not text:
        return ("line break",) if "\n" in token else ("blank",)
    if re.fullmatch(r"\d+", text):
        found = ["number", f"number ending in {text[-1]}"]
        if len(text) <= 4:
            tens = int(text) // 10 * 10
            found += [f"number {tens} to {tens + 9}"]
        return tuple(found)
    if text.isalpha():
        found = [_script(text[0])]
        if text[0].isupper():
            found.append("capitalised")
        if len(text) > 1 and text.isupper():
            found.append("capitals")
        found += [f"-{text[-n:]}" for n in (2, 3) if len(text) > n] + [f"{text[:n]}-" for n in (2, 3) if len(text) > n]
        return tuple(found)
    return ("punctuation",) if all(unicodedata.category(c)[0] in "PS" for c in text) else ("mixed characters",)


def _script(letter: str) -> str:
    """ "Latin letters", "Cyrillic letters", …, from the character's Unicode name."""
    return unicodedata.name(letter, "unknown").split()[0].capitalize() + " letters"
