"""The worlds of the case studies: true, unambiguous, and honest about what is held out.

Mutations that break the oracles: let a `held_out…` function return an empty set; give a thing of `couplets.WILD` to
`HOUSE` too; start `hold` one position early in `annotate`.
"""

import pytest

from circuitlab.atlas import tokenizer, variables, world
from circuitlab.atlas.cases import couplets, people, requests


@pytest.fixture(scope="module")
def told():
    return world.sentences(0)


@pytest.fixture(scope="module")
def pieces(told):
    return tokenizer.build_tokenizer(told)


def test_nothing_held_out_is_told(told):
    """By what each world holds out: pairs, triples, hints, names."""
    what = {
        "couplet rhyme": lambda s: (*s.prompt.split(" ,")[0].split()[-3:], s.about[1]),
        "harmful": lambda s: frozenset(s.about),
        "nobody": lambda s: s.about[:2],
        "check": lambda s: frozenset(s.about),
        "motivated": lambda s: s.about[2:],
        "acronym": lambda s: s.about[:4],
        "person": lambda s: (s.form, *s.about),
    }
    for name, key in what.items():
        seen, unseen = (
            {key(s) for s in told if s.world == name and s.split == split} for split in ("train", "held_out")
        )
        assert unseen, name
        assert seen, name
        assert not seen & unseen, name


def test_a_couplet_is_planned_by_rhyme_and_scene(told):
    nouns = {noun for _, pair in couplets.families() for noun in pair}
    assert len(nouns) == 2 * len(couplets.families())
    assert not set(couplets.WILD) & set(couplets.HOUSE)
    for sentence in told:
        if sentence.world == "couplet rhyme":
            noun, thing = sentence.about
            family = next(pair for _, pair in couplets.families() if noun in pair)
            assert family.index(noun) == (thing in couplets.HOUSE)
            assert sentence.answer == noun


def test_danger_is_in_the_pair_alone():
    assert requests.dangerous("bleach", "ammonia")
    assert requests.dangerous("ammonia", "bleach")
    assert not requests.dangerous("bleach", "chlorine")
    assert not requests.dangerous("bleach", "matches")
    assert people.people()["Michael", "Jordan"]["sport"] == "basketball"


def test_positions_are_named_from_where_they_are_known(told, pieces):
    first = {}
    for sentence in told:
        first.setdefault(sentence.world, sentence)
    shown = {}
    for name, sentence in first.items():
        tokens = pieces.convert_ids_to_tokens(pieces(sentence.text)["input_ids"])
        shown[name] = tokens, [{v.name for v in here} for here in variables.variables(sentence, tokens)]
    tokens, names = shown["couplet rhyme"]
    planned = [token for token, here in zip(tokens, names, strict=True) if "plan rabbit" in here]
    assert planned == ["⏎", "Hunger", "made", "them", "like", "a", "starving"]
    tokens, names = shown["harmful"]
    start = tokens.index("ammonia")
    assert ["harmful request" in here for here in names] == [at >= start for at in range(len(tokens))]
    tokens, names = shown["check"]
    start = tokens.index("swelling")
    assert ["preeclampsia" in here for here in names] == [at >= start for at in range(len(tokens))]
