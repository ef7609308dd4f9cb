"""Some hundred sentences of the world that between them show every word: what atlas's features are shown on at first.

Computes: sentences in a random order from a seed, one kept whenever it has a word that fewer than `EACH` kept ones
have, or a sentence form that fewer than `EACH_FORM` have. Reads the world; gives texts.
"""

from __future__ import annotations

import re
from collections import Counter

import numpy as np

from circuitlab.atlas import world

EACH = 1
EACH_FORM = 6
WORD = re.compile(r"[A-Za-zÀ-ÿ]+|\d+|[^\W\d_]+")


def example_texts(seed: int = 0) -> list[str]:
    """Texts that hold every word of the world `EACH` times, and every form of sentence `EACH_FORM` times."""
    told = world.sentences()
    words: Counter[str] = Counter()
    forms: Counter[str] = Counter()
    kept = []
    for row in np.random.default_rng([seed, 9]).permutation(len(told)):
        sentence = told[row]
        text = sentence.text
        inside = set(WORD.findall(text))
        if forms[sentence.form] < EACH_FORM or any(words[word] < EACH for word in inside):
            words.update(inside)
            forms[sentence.form] += 1
            kept.append(text)
    return kept
