"""Sentences drawn from a world, and contrasts between many sets of them."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from circuitlab.atlas.sentence import Sentence
from circuitlab.interventions.contrast import Concept, Means, Node


def some(sentences: Iterable[Sentence], n: int, seed: int = 0) -> list[Sentence]:
    """At most `n` of them, drawn without replacement."""
    every = list(sentences)
    return [every[row] for row in np.random.default_rng(seed).permutation(len(every))[:n]]


def prompts(sentences: Iterable[Sentence]) -> list[str]:
    """What the model reads of each."""
    return [sentence.prompt for sentence in sentences]


def others(means: Mapping[Any, Means], key: Any) -> Means:
    """The mean over all sets of prompts but one."""
    rest = [found for name, found in means.items() if name != key]
    nodes = {node for found in rest for node in found.activation}
    return Means(
        {node: sum(found.activation.get(node, 0.0) for found in rest) / len(rest) for node in nodes},
        {node: sum(found.share.get(node, 0.0) for found in rest) / len(rest) for node in nodes},
    )


def shared(first: Concept, second: Concept) -> Concept:
    """The nodes of the first that are also in the second."""
    return Concept({node: value for node, value in first.nodes.items() if node in second.nodes})


def all_nodes(concepts: Iterable[Concept]) -> set[Node]:
    """The nodes of several concepts."""
    return {node for concept in concepts for node in concept.nodes}


def best(scores: Mapping[float, float]) -> float:
    """The strength with the highest score; the first of equals."""
    return max(scores, key=lambda strength: scores[strength])


def size(concepts: Sequence[Concept]) -> str:
    """How many nodes, for a row's note."""
    return f"{np.mean([len(concept) for concept in concepts]):.0f} nodes"
