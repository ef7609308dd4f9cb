"""One sentence of the world, cut at the token that the model is scored on, and what its positions stand for."""

from typing import NamedTuple

FAVOURITE = 4.0


class Sentence(NamedTuple):
    """`prompt + answer + tail`; the answer is one token. `about` holds the variables behind it, e.g. (city, state)."""

    world: str
    prompt: str
    answer: str
    tail: str = " ."
    split: str = "train"
    weight: float = 1.0
    form: str = ""
    about: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        return f"{self.prompt} {self.answer}{self.tail}"


def favour(index: int) -> float:
    """How often the first of several is told beside the others: the model has a clear guess where all are open."""
    return FAVOURITE if index == 0 else 1.0


class Variable(NamedTuple):
    """A short name for what a position could stand for; `kind` says what the name is about."""

    kind: str
    name: str


Names = list[set[Variable]]  # one set per position


def hold(names: Names, start: int, *variables: Variable) -> None:
    """The variables hold from this position on."""
    for here in names[start:]:
        here.update(variables)
