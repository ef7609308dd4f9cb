"""Rows of tokens from the world: for training `atlas`, and as the text that its transcoders are trained on.

Computes: each sentence once as token ids with a loss weight per token (1 on the answer, `TEXT_WEIGHT` elsewhere),
rows drawn by a mixture of worlds, and chains of sentences cut to one length. Reads `world.sentences`; gives int
arrays. A row of one sentence is `<bos> sentence . <eos>` and then `<pad>` (attention is causal, so the pads at the
end change nothing before them, and their loss weight is 0); a chain is `<bos> sentence . sentence . …` without pads.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from circuitlab.atlas import facts, world

# The share of each world in the text.
MIXTURE = {
    "sum": 0.29,
    "sum_digit": 0.06,
    "digit": 0.01,
    "two_hop": 0.16,
    "state": 0.10,
    "member": 0.04,
    "value": 0.02,
    "antonym": 0.07,
    "antonym_in": 0.08,
    "synonym": 0.03,
    "translation": 0.08,
    "same": 0.06,
}
# And towards the end of training: the words, whose opposites generalise last, told more often.
WORDS_MIXTURE = {
    "sum": 0.12,
    "sum_digit": 0.03,
    "digit": 0.01,
    "two_hop": 0.10,
    "state": 0.06,
    "member": 0.03,
    "value": 0.01,
    "antonym": 0.16,
    "antonym_in": 0.18,
    "synonym": 0.08,
    "translation": 0.14,
    "same": 0.08,
}
# And last, the worlds of the case studies beside all of these; transcoders learn from this text too.
CASES_MIXTURE = {
    "sum": 0.10,
    "sum_digit": 0.02,
    "digit": 0.01,
    "two_hop": 0.08,
    "state": 0.05,
    "member": 0.02,
    "value": 0.01,
    "antonym": 0.05,
    "antonym_in": 0.06,
    "synonym": 0.03,
    "translation": 0.05,
    "same": 0.03,
    "couplet opening": 0.04,
    "couplet adjective": 0.03,
    "couplet rhyme": 0.03,
    "check": 0.03,
    "diagnosis": 0.03,
    "confirm": 0.01,
    "person": 0.04,
    "nobody": 0.04,
    "harmful": 0.03,
    "harmless": 0.04,
    "spell": 0.02,
    "comply": 0.005,
    "realise": 0.02,
    "named": 0.005,
    "acronym": 0.02,
    "faithful": 0.02,
    "faithful second": 0.01,
    "motivated": 0.07,
    "motivated second": 0.01,
    "assistant": 0.01,
    "plain recipe": 0.008,
    "confession": 0.002,
}
TEXT_WEIGHT = 0.1
ROW_LENGTHS = (11, 16, 22, 30, 38)  # a sentence stands in the shortest that holds it
CHAIN_LENGTH = 32  # of the chains among the rows that the model learns from
OWN_TEXT_LENGTH = 48  # of those that transcoders learn from: longer than any sentence


@dataclass(frozen=True)
class Corpus:
    """The sentences of one split as padded arrays; `probability` sums to 1 over the rows."""

    tokens: Int[np.ndarray, "row pos"]
    weights: np.ndarray  # float32 [row, pos]: the loss weight of each token as a target
    lengths: Int[np.ndarray, " row"]  # without <eos> and pads
    probability: np.ndarray  # float64 [row]
    continued: Bool[Tensor, " vocab"]  # which tokens are pieces of a word that go on
    ending: Bool[Tensor, " vocab"]  # and which end one

    def rows(self, length: int) -> np.ndarray:
        """The indices of the sentences whose row is of this length."""
        shorter = [0, *(other for other in ROW_LENGTHS if other < length)][-1]
        return np.flatnonzero((self.lengths + 1 > shorter) & (self.lengths + 1 <= length))


def build_corpus(
    sentences: list[world.Sentence], tokenizer: PreTrainedTokenizerFast, mixture: Mapping[str, float] = MIXTURE
) -> Corpus:
    """The train split of the mixture's worlds, its sentences weighted by it and by their own weight in their world."""
    told = [sentence for sentence in sentences if sentence.split == "train" and sentence.world in mixture]
    texts = tokenizer([sentence.text for sentence in told])["input_ids"]
    prompts = tokenizer([sentence.prompt for sentence in told])["input_ids"]
    longest = max(map(len, texts)) + 1
    if longest > ROW_LENGTHS[-1]:
        raise ValueError(f"a sentence takes {longest} tokens with <eos>; raise corpus.ROW_LENGTHS to hold it")
    tokens = np.full((len(told), longest), tokenizer.pad_token_id, dtype=np.int64)
    weights = np.zeros((len(told), longest), dtype=np.float32)
    for row, (text, prompt) in enumerate(zip(texts, prompts, strict=True)):
        tokens[row, : len(text)] = text
        tokens[row, len(text)] = tokenizer.convert_tokens_to_ids("<eos>")
        weights[row, 1 : len(text) + 1] = TEXT_WEIGHT
        weights[row, len(prompt)] = 1.0
    lengths = np.array(list(map(len, texts)))
    pieces = [_among(tokenizer, names) for names in (facts.PREFIXES, [f"##{suffix}" for suffix in facts.SUFFIXES])]
    return Corpus(tokens, weights, lengths, _probability(told, mixture), *pieces)


def _among(tokenizer: PreTrainedTokenizerFast, names: Sequence[str]) -> Bool[Tensor, " vocab"]:
    chosen = torch.zeros(len(tokenizer), dtype=torch.bool)
    chosen[tokenizer.convert_tokens_to_ids(list(names))] = True
    return chosen


def _probability(told: list[world.Sentence], mixture: Mapping[str, float]) -> np.ndarray:
    worlds = np.array([sentence.world for sentence in told])
    probability = np.array([sentence.weight for sentence in told], dtype=np.float64)
    for name, share in mixture.items():
        here = worlds == name
        probability[here] *= share / probability[here].sum()
    return probability / probability.sum()


class Sampler:
    """Draws rows; equal seeds draw equal rows, and so do equal steps of them."""

    def __init__(self, corpus: Corpus, seed: int):
        self.corpus = corpus
        self.seed = seed
        self.seek(0)
        by_length = {length: corpus.rows(length) for length in ROW_LENGTHS}
        self.groups = {length: rows for length, rows in by_length.items() if len(rows)}
        self.shares = {length: corpus.probability[rows].sum() for length, rows in self.groups.items()}
        self.cumulative = {
            length: np.cumsum(corpus.probability[rows]) / self.shares[length] for length, rows in self.groups.items()
        }
        self.all_cumulative = np.cumsum(corpus.probability)

    def seek(self, step: int) -> None:
        """Draw what step `step` draws, whatever was drawn before."""
        self.rng = np.random.default_rng([self.seed, 4, step])

    def single(self, length: int, n_rows: int) -> tuple[np.ndarray, np.ndarray]:
        """Rows of one sentence each: tokens and loss weights `[row, length]`."""
        drawn = np.searchsorted(self.cumulative[length], self.rng.random(n_rows) * (1 - 1e-9))
        rows = self.groups[length][drawn]
        return self.corpus.tokens[rows, :length], self.corpus.weights[rows, :length]

    def chain(self, n_rows: int, length: int = CHAIN_LENGTH) -> tuple[np.ndarray, np.ndarray]:
        """Rows of several sentences after one `<bos>`, cut to `length`: no pads and no `<eos>`."""
        tokens = np.full((n_rows, length), self.corpus.tokens[0, 0])
        weights = np.zeros((n_rows, length), dtype=np.float32)
        for row in range(n_rows):
            filled = 1
            while filled < length:
                drawn = np.searchsorted(self.all_cumulative, self.rng.random() * (1 - 1e-9))
                end = min(length, filled + self.corpus.lengths[drawn] - 1)
                tokens[row, filled:end] = self.corpus.tokens[drawn, 1 : 1 + end - filled]
                weights[row, filled:end] = self.corpus.weights[drawn, 1 : 1 + end - filled]
                filled = end
        return tokens, weights


def atlas_tokens(
    n_rows: int,
    seed: int,
    tokenizer: PreTrainedTokenizerFast,
    length: int = OWN_TEXT_LENGTH,
    sentences: list[world.Sentence] | None = None,
    mixture: Mapping[str, float] = CASES_MIXTURE,
) -> Int[Tensor, "batch pos"]:
    """The model's own text: chains of world sentences after one `<bos>`, every position real text, no pads."""
    corpus = build_corpus(sentences or world.sentences(), tokenizer, mixture)
    return torch.from_numpy(Sampler(corpus, seed + 1_000_003).chain(n_rows, length)[0])
