"""The world that `atlas` is trained on: every sentence that is true in it, written out.

Computes: one generator per world, each yielding `Sentence`s from the tables in `facts` and `words`; a seed decides
what is held out. Reads nothing; gives text.

A sentence is `prompt + answer + tail`. The answer is always one token, and the model is scored on it at the last
token of the prompt. `split` is "train", or "held_out" for what training never sees:

- two_hop: for some cities of each region, every two-hop sentence (they occur in `state` sentences alone);
- antonym: for some pairs, every sentence in which the pair are opposites and either word is of one given language;
- sum, sum_digit: for a tenth of the unordered pairs {a, b}, every form in both orders;
- the worlds of `cases`: as each module says.

A new world is a new generator and a line in `WORLDS`. `weight` says how often a sentence is told beside the others
of its world: each world has favourites, so that the model has a clear guess where the text leaves several open.
"""

from collections.abc import Callable, Iterator
from functools import cache
from typing import NamedTuple

import numpy as np

from circuitlab.atlas import facts, words
from circuitlab.atlas.cases import chains, clinic, couplets, initials, kitchen, people, requests
from circuitlab.atlas.sentence import FAVOURITE, Sentence, favour

DEMO_SUM = (36, 59)


def values_of(state: str) -> dict[str, str]:
    return dict(zip(facts.RELATIONS, facts.VALUES[state].split(), strict=True))


def state_of_cities() -> dict[str, str]:
    return {city: state for state, cities in facts.CITIES.items() for city in cities.split()}


def split_city(city: str) -> tuple[str, str]:
    """`"Dallas" -> ("Dal", "las")`."""
    for prefix in facts.PREFIXES:
        if city.startswith(prefix) and city.removeprefix(prefix) in facts.SUFFIXES:
            return prefix, city.removeprefix(prefix)
    raise ValueError(f"{city!r} is not a prefix of facts.PREFIXES joined to a suffix of facts.SUFFIXES")


def held_out_cities(seed: int) -> set[str]:
    """`facts.HELD_OUT_CITIES` cities of each region, those of `facts.ALWAYS_HELD_OUT` among them."""
    rng = np.random.default_rng([seed, 1])
    chosen: set[str] = set()
    for cities in facts.CITIES.values():
        fixed = [city for city in cities.split() if city in facts.ALWAYS_HELD_OUT]
        others = [city for city in cities.split() if city not in fixed]
        drawn = rng.choice(others, facts.HELD_OUT_CITIES - len(fixed), replace=False)
        chosen.update(fixed, drawn.tolist())
    return chosen


def _city_weights(held_out: set[str]) -> dict[str, float]:
    """One favourite among the cities of each prefix, and one favourite prefix: none of them held out."""
    by_prefix: dict[str, list[str]] = {prefix: [] for prefix in facts.PREFIXES}
    for city in state_of_cities():
        by_prefix[split_city(city)[0]].append(city)
    weights = {}
    for index, prefix in enumerate(facts.PREFIXES[1:] + facts.PREFIXES[:1]):
        free = [city for city in by_prefix[prefix] if city not in held_out]
        for city in by_prefix[prefix]:
            weights[city] = favour(index) * (FAVOURITE if city == free[0] else 1.0)
    return weights


def state_world(seed: int) -> Iterator[Sentence]:
    """Which region a city is in: told for every city."""
    weights = _city_weights(held_out_cities(seed))
    for city, state in state_of_cities().items():
        for index, form in enumerate(facts.STATE_FORMS):
            weight = weights[city] * favour(index)
            yield Sentence("state", form.format(city=city), state, weight=weight, form=form, about=(city, state))


def member_world(seed: int) -> Iterator[Sentence]:
    """Whether a city is in a region: told for every city."""
    rng = np.random.default_rng([seed, 6])
    for city, state in state_of_cities().items():
        others = [other for other in facts.CITIES if other != state]
        wrong = rng.choice(others, facts.WRONG_STATES, replace=False).tolist()
        for form in facts.MEMBER_FORMS:
            for named in (state, *wrong):
                answer = "yes" if named == state else "no"
                weight = facts.WRONG_STATES - 2.0 if named == state else 1.0
                about = (city, state, named)
                prompt = form.format(city=city, state=named)
                yield Sentence("member", prompt, answer, weight=weight, form=form, about=about)


def value_world(seed: int) -> Iterator[Sentence]:
    """What holds of a region."""
    for row, state in enumerate(facts.VALUES):
        for column, (relation, value) in enumerate(values_of(state).items()):
            for index, form in enumerate(facts.VALUE_FORMS):
                prompt = form.format(state=state, relation=relation)
                weight = favour(index) * favour(column) * favour(row)
                yield Sentence("value", prompt, value, weight=weight, form=form, about=(state, relation))


def two_hop_world(seed: int) -> Iterator[Sentence]:
    """What holds of the region that a city is in: never told of the held-out cities."""
    held_out = held_out_cities(seed)
    weights = _city_weights(held_out)
    for city, state in state_of_cities().items():
        for column, (relation, value) in enumerate(values_of(state).items()):
            for index, form in enumerate(facts.TWO_HOP_FORMS):
                prompt = form.format(city=city, relation=relation)
                split = "held_out" if city in held_out else "train"
                weight = weights[city] * favour(index) * favour(column)
                about = (city, state, relation)
                yield Sentence("two_hop", prompt, value, split=split, weight=weight, form=form, about=about)


class Word(NamedTuple):
    text: str
    language: str
    pair: int
    side: int  # 0 or 1 within the pair
    synonym: bool  # the second word for its concept


@cache
def lexicon() -> dict[tuple[str, int, int, bool], Word]:
    """Every word of `words.PAIRS` by (language, pair, side, synonym)."""
    table = {}
    for pair, row in enumerate(words.PAIRS.strip().splitlines()):
        for side, entries in enumerate(row.split("|")):
            for language, entry in zip(words.LANGUAGES, entries.split(), strict=True):
                for synonym, text in enumerate(entry.split("/")):
                    key = (language, pair, side, bool(synonym))
                    table[key] = Word(text, *key)
    return table


@cache
def held_out_pairs(seed: int) -> dict[int, str]:
    """The pairs never told as opposites in one language, and that language; the languages take turns."""
    count = len(words.PAIRS.strip().splitlines())
    drawn = np.random.default_rng([seed, 2]).choice(np.arange(1, count), words.HELD_OUT_PAIRS, replace=False)
    return {int(pair): words.LANGUAGES[turn % 3] for turn, pair in enumerate(drawn)}


def antonym_world(seed: int) -> Iterator[Sentence]:
    """The opposite of a word, or of its synonym, in the word's own language."""
    for word in lexicon().values():
        for index, form in enumerate(words.ANTONYM_FORMS[word.language]):
            yield _opposite("antonym", word, word.language, form, form.format(word=word.text), favour(index), seed)


def antonym_in_world(seed: int) -> Iterator[Sentence]:
    """The opposite of a word in a language that is named, asked in any of the three."""
    for word in lexicon().values():
        for asked in words.LANGUAGES:
            for target in words.LANGUAGES:
                for form in words.ANTONYM_IN_FORMS[asked]:
                    prompt = form.format(word=word.text, language=words.LANGUAGE_NAMES[asked][target])
                    yield _opposite("antonym_in", word, target, form, prompt, 1.0, seed)


def _opposite(name: str, word: Word, target: str, form: str, prompt: str, weight: float, seed: int) -> Sentence:
    answer = lexicon()[target, word.pair, 1 - word.side, False].text
    split = "held_out" if held_out_pairs(seed).get(word.pair) in (word.language, target) else "train"
    weight *= favour(word.pair) * favour(word.side + word.synonym)
    about = (word.text, word.language, target)
    return Sentence(name, prompt, answer, '" .', split, weight, form, about)


def synonym_world(seed: int) -> Iterator[Sentence]:
    """The other word for the same thing in the same language."""
    table = lexicon()
    for word in table.values():
        other = table[word.language, word.pair, word.side, not word.synonym]
        for index, form in enumerate(words.SYNONYM_FORMS[word.language]):
            weight = favour(word.pair) * favour(index) * favour(word.side + word.synonym)
            prompt = form.format(word=word.text)
            about = (word.text, word.language, word.language)
            yield Sentence("synonym", prompt, other.text, '" .', weight=weight, form=form, about=about)


def translation_world(seed: int) -> Iterator[Sentence]:
    """The word in another language, asked in any of the three."""
    table = lexicon()
    for word in table.values():
        for asked in words.LANGUAGES:
            for target in words.LANGUAGES:
                if target == word.language:
                    continue
                other = table[target, word.pair, word.side, word.synonym]
                name = words.LANGUAGE_NAMES[asked][target]
                for index, form in enumerate(words.TRANSLATION_FORMS[asked]):
                    weight = favour(word.pair) * favour(index) * favour(word.side + word.synonym)
                    prompt = form.format(word=word.text, language=name)
                    about = (word.text, word.language, target)
                    yield Sentence("translation", prompt, other.text, '" .', "train", weight, form, about)


def same_world(seed: int) -> Iterator[Sentence]:
    """Whether two words, of any languages, are of one concept; never asked of the two words of a pair of opposites."""
    rng = np.random.default_rng([seed, 8])
    everything = list(lexicon().values())
    for word in everything:
        alike = [w for w in everything if (w.pair, w.side) == (word.pair, word.side) and w != word]
        unlike = [w for w in everything if w.pair != word.pair]
        drawn = [unlike[row] for row in rng.choice(len(unlike), words.OTHERS, replace=False)]
        for other in alike + drawn:
            answer = "yes" if other.pair == word.pair else "no"
            prompt = words.SAME_FORM.format(word=word.text, other=other.text)
            about = (word.text, word.language, other.text)
            weight = favour(word.pair)
            yield Sentence("same", prompt, answer, weight=weight, form=words.SAME_FORM, about=about)


SUM_FORMS = (
    "calc : {a} + {b} =",
    "the sum of {a} and {b} is",
    "{a} plus {b} makes",
    "journal : founded 19 {a} , volume {b} , year 19",
)
SUM_DIGIT_FORM = "{a} + {b} ends in"
DIGIT_FORMS = ("{n} ends in", "the tens of {n} are", "{n} is near")


def held_out_sums(seed: int) -> set[frozenset[int]]:
    """A tenth of the unordered pairs of 0..99; 36 + 59 is one of them."""
    pairs = [(a, b) for a in range(100) for b in range(a, 100)]
    drawn = np.random.default_rng([seed, 3]).choice(len(pairs), len(pairs) // 10, replace=False)
    return {frozenset(pairs[index]) for index in drawn} | {frozenset(DEMO_SUM)}


def sum_world(seed: int) -> Iterator[Sentence]:
    """a + b for a, b in 0..99; a journal's year a + b runs from 10 to 99; and the sum's last digit."""
    held_out = held_out_sums(seed)
    for a in range(100):
        for b in range(100):
            split = "held_out" if frozenset((a, b)) in held_out else "train"
            weight = favour(a - 50) * favour(b - 20)
            about = (str(a), str(b))
            for index, form in enumerate(SUM_FORMS):
                if "journal" in form and not (a >= 10 and a + b <= 99):
                    continue
                prompt = form.format(a=a, b=b)
                told = weight * favour(index)
                yield Sentence("sum", prompt, str(a + b), split=split, weight=told, form=form, about=about)
            prompt, last = SUM_DIGIT_FORM.format(a=a, b=b), str((a + b) % 10)
            yield Sentence("sum_digit", prompt, last, split=split, weight=weight, form=SUM_DIGIT_FORM, about=about)


def digit_world(seed: int) -> Iterator[Sentence]:
    """The last digit, the tens and the nearest ten of 0..198."""
    for n in range(199):
        answers = (n % 10, n // 10, min(10 * ((n + 5) // 10), 190))
        for form, answer in zip(DIGIT_FORMS, answers, strict=True):
            weight = favour(n - 50) * favour(DIGIT_FORMS.index(form))
            yield Sentence("digit", form.format(n=n), str(answer), weight=weight, form=form, about=(str(n),))


def chain_world(seed: int) -> Iterator[Sentence]:
    """Chains of two sums, with and without a hint; the sums that are held out here are held out there."""
    yield from chains.chain_world(seed, held_out_sums(seed))


WORLDS: tuple[Callable[[int], Iterator[Sentence]], ...] = (
    state_world,
    member_world,
    value_world,
    two_hop_world,
    antonym_world,
    antonym_in_world,
    synonym_world,
    translation_world,
    same_world,
    sum_world,
    digit_world,
    couplets.couplet_world,
    clinic.clinic_world,
    people.people_world,
    requests.request_world,
    initials.spell_world,
    initials.acronym_world,
    chain_world,
    kitchen.kitchen_world,
)


def sentences(seed: int = 0) -> list[Sentence]:
    """Every sentence of every world, about 180,000."""
    return list(_sentences(seed))


@cache
def _sentences(seed: int) -> tuple[Sentence, ...]:
    return tuple(sentence for world in WORLDS for sentence in world(seed))
