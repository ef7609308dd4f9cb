"""What each position of a world sentence could stand for: the vocabulary in which features are named.

Computes: for a sentence and its tokens, a set of short names per position, true or not by the tables alone. A name
holds where the variable is known: `Texas` at that word and at the last piece of a city of Texas, `Texas context` from
there on, `capital` from that word on, `_6` on every number that ends in 6, `say Austin` where the next token is Austin.
Reads sentences; gives sets of names.
`Variable.kind` says what a name is about: "state", "relation", "digit", …
"""

from collections.abc import Callable

from circuitlab.atlas import words, world
from circuitlab.atlas.cases import chains, clinic, couplets, initials, kitchen, people, requests
from circuitlab.atlas.sentence import Names, Variable, hold

LANGUAGE_NAMES = words.LANGUAGE_NAMES["en"]
OPERATIONS = {
    "antonym": "opposite",
    "antonym_in": "opposite",
    "synonym": "synonym",
    "translation": "translate",
}


def variables(sentence: world.Sentence, tokens: list[str]) -> Names:
    """The names at each token of `sentence.text`, <bos> first; `tokens` as the tokenizer shows them."""
    names: Names = [set() for _ in tokens]
    for position, token in enumerate(tokens):
        names[position].add(Variable("token", _shown(token)))
        if token.isdigit():
            names[position] |= _number("", int(token))
        if position + 1 < len(tokens):
            following = tokens[position + 1]
            names[position].add(Variable("say", f"say {_shown(following)}"))
            if following.isdigit():
                names[position] |= _number("say ", int(following))
    annotate = ANNOTATORS.get(sentence.world)
    if annotate is not None:
        annotate(sentence, tokens, names)
    return names


def _shown(token: str) -> str:
    return token.removeprefix("##")


def _number(verb: str, number: int) -> set[Variable]:
    tens = number // 10 * 10
    return {
        Variable("digit", f"{verb}_{number % 10}"),
        Variable("range", f"{verb}~{tens}-{tens + 10}"),
        Variable("range", f"{verb}~{max(0, tens - 10)}-{tens + 10}"),
    }


def _fact(sentence: world.Sentence, tokens: list[str], names: Names) -> None:
    states = world.state_of_cities()
    regions = set(states.values())
    for position, token in enumerate(tokens):
        city = tokens[position - 1] + _shown(token) if token.startswith("##") else ""
        if city in states:
            hold(names, position, Variable("context", f"{states[city]} context"))
            names[position].add(Variable("state", states[city]))
            names[position].add(Variable("city", city))
        if _shown(token) in regions:
            names[position].add(Variable("state", _shown(token)))
    if sentence.world in ("two_hop", "value"):
        relation = sentence.about[-1]
        start = tokens.index(relation)
        hold(names, start, Variable("relation", relation))
        if sentence.answer in tokens[start:]:
            before_answer = tokens.index(sentence.answer, start) - 1
            names[before_answer].add(Variable("say relation", f"say a {relation}"))
    if sentence.world == "value":
        hold(names, tokens.index(sentence.about[0]), Variable("context", f"{sentence.about[0]} context"))


def _concept(text: str) -> str:
    """The English head word of a word's concept: `petit`, `minuscule` and `小` are all `small`."""
    return _CONCEPTS[text]


_CONCEPTS = {word.text: world.lexicon()["en", word.pair, word.side, False].text for word in world.lexicon().values()}


def _word(sentence: world.Sentence, tokens: list[str], names: Names) -> None:
    text, language, target = sentence.about
    start = tokens.index(text)
    for position, token in enumerate(tokens):
        known = _CONCEPTS.get(token)
        if known is not None:
            names[position].add(Variable("concept", known))
    end = tokens.index(sentence.answer, start + 1)
    for here in names[start:end]:
        here.add(Variable("concept", _concept(text)))
        here.add(Variable("word language", LANGUAGE_NAMES[language]))
    names[end - 1] |= {
        Variable("say concept", f"say {_concept(sentence.answer)}"),
        Variable("say language", f"say {LANGUAGE_NAMES[target]}"),
        Variable("operation", OPERATIONS[sentence.world]),
    }
    hold(names, 1, Variable("operation", OPERATIONS[sentence.world]))
    for here in names[1:]:
        here.add(Variable("language", f"{_sentence_language(sentence)} sentence"))


def _sentence_language(sentence: world.Sentence) -> str:
    for table in (words.ANTONYM_FORMS, words.ANTONYM_IN_FORMS, words.SYNONYM_FORMS, words.TRANSLATION_FORMS):
        for language, forms in table.items():
            if sentence.form in forms:
                return LANGUAGE_NAMES[language]
    raise ValueError(f"no language of words.py has the form {sentence.form!r}")


def _sum(sentence: world.Sentence, tokens: list[str], names: Names) -> None:
    a, b = map(int, sentence.about)
    second = [position for position, token in enumerate(tokens) if token.isdigit()]
    last = second[2] if "journal" in sentence.form else second[1]
    low, high = sorted((a % 10, b % 10))
    answer = tokens.index(sentence.answer, last + 1)
    for here in names[last:answer]:
        here.add(Variable("digits", f"_{low}+_{high}"))
        here.add(Variable("sum digit", f"sum=_{(a + b) % 10}"))
        here.add(Variable("sum range", f"sum~{(a + b) // 10 * 10}"))
        here.add(Variable("sum", f"sum={a + b}"))
        here.add(Variable("addend", f"+_{b % 10}"))
        here.add(Variable("addend", f"~{(b + 5) // 10 * 10}"))


ANNOTATORS: dict[str, Callable[[world.Sentence, list[str], Names], None]] = {
    "state": _fact,
    "member": _fact,
    "value": _fact,
    "two_hop": _fact,
    "antonym": _word,
    "antonym_in": _word,
    "synonym": _word,
    "translation": _word,
    "sum": _sum,
    "sum_digit": _sum,
    **dict.fromkeys(couplets.PARTS, couplets.annotate),
    **dict.fromkeys(("check", "diagnosis", "confirm"), clinic.annotate),
    **dict.fromkeys(("person", "nobody"), people.annotate),
    **dict.fromkeys(("harmful", "harmless"), requests.annotate),
    **dict.fromkeys(("spell", "comply", "realise", "named"), initials.annotate_spelled),
    "acronym": initials.annotate_acronym,
    **dict.fromkeys(("faithful", "faithful second", "motivated", "motivated second"), chains.annotate),
    **dict.fromkeys(("assistant", "plain recipe", "confession"), kitchen.annotate),
}
