"""Couplets whose second line is planned before it is written.

The first line ends in a rhyme and names a thing of the wild or of the house; together they leave one noun for the end
of the second line. Its first word and its adjective agree with that noun, so that it has to be known at the line break:

    He saw a carrot and had to grab it ,
    Hunger made him like a starving rabbit .

Held out: a fifth of the pairs (end of the first line, thing named).
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import numpy as np

from circuitlab.atlas.sentence import Names, Sentence, Variable, favour, hold

# ends of a first line | the noun of the wild, the noun of the house
FAMILIES = """
and had to grab it ; and wanted to nab it ; and tried to stab it | rabbit habit
and down he sat ; and gave it a pat ; and left it flat | cat hat
beside the bog ; and went for a jog ; along in the fog | frog log
with such a stare ; and took good care ; on a double dare | bear chair
and felt so free ; for all to see ; and asked for a fee | bee tree
and called his spouse ; and tore his blouse ; and chased a grouse | mouse house
with a dozen knocks ; behind the locks ; among the rocks | fox box
and played a note ; and then he wrote ; and began to float | goat boat
and lay awake ; beside the lake ; by sheer mistake | snake cake
and counted to ten ; and asked him when ; and did it again | hen pen
late at night ; in the light ; and held it tight | knight kite
and began to sing ; late in spring ; and pulled a string | king ring
and told a tale ; and turned so pale ; and could not fail | whale sail
and wished for luck ; and got it stuck ; from all the muck | duck truck
and began to dig ; that grew so big ; and ate a fig | pig jig
and fell asleep ; that lay so deep ; and tried to keep | sheep jeep
and off he ran ; and made a plan ; and caught a tan | swan pan
and never heard ; and came in third ; and nothing stirred | bird word
and pulled it loose ; and drank the juice ; and asked for truce | goose noose
and felt no fear ; that shone so clear ; as it came near | deer spear
"""
WILD = ["carrot", "clover", "burrow", "feather", "whisker", "paw", "nest", "den", "track", "acorn"]
HOUSE = ["hammer", "ladder", "window", "barrel", "bucket", "candle", "ribbon", "kettle", "button", "lantern"]
ADJECTIVES = (["starving", "clever", "gentle", "mighty", "sleepy"], ["nasty", "golden", "wooden", "broken", "ancient"])
MOODS = ["Hunger", "Joy", "Fear", "Pride", "Sleep", "Speed", "Anger", "Hope", "Thirst", "Luck"]
SUBJECTS = {"He": "him", "She": "her", "They": "them", "We": "us"}
FORMS = (
    "{subject} saw a {thing} {end} ,",
    "{subject} found the {thing} {end} ,",
    "Today {lower} lost a {thing} {end} ,",
    "With a {thing} {lower} came {end} ,",
)
TOLD = 6  # couplets of each pair
PARTS = ("couplet opening", "couplet adjective", "couplet rhyme")


@cache
def families() -> list[tuple[list[str], tuple[str, str]]]:
    """Of each rhyme: the ends of a first line, and the two nouns that rhyme with them."""
    rows = [row.split("|") for row in FAMILIES.strip().splitlines()]
    return [([end.strip() for end in ends.split(";")], (*nouns.split(),)) for ends, nouns in rows]  # type: ignore[misc]


def second_line(family: int, side: int) -> tuple[str, str, str]:
    """First word, adjective and noun of the second line; each but the noun is shared by nouns of several rhymes."""
    noun = families()[family][1][side]
    return MOODS[(family + 5 * side) % len(MOODS)], ADJECTIVES[side][family % 5], noun


def held_out(seed: int) -> set[tuple[str, str]]:
    """A fifth of the pairs (end of the first line, thing named)."""
    pairs = [(end, thing) for ends, _ in families() for end in ends for thing in (*WILD, *HOUSE)]
    drawn = np.random.default_rng([seed, 11]).choice(len(pairs), len(pairs) // 5, replace=False)
    return {pairs[row] for row in drawn}


def couplet_world(seed: int) -> Iterator[Sentence]:
    """Couplets, each cut at the first word, the adjective and the noun of its second line."""
    rng = np.random.default_rng([seed, 12])
    unseen = held_out(seed)
    ways = [(form, subject) for form in FORMS for subject in SUBJECTS]
    for family, (ends, _) in enumerate(families()):
        for end in ends:
            for number, thing in enumerate((*WILD, *HOUSE)):
                side = int(thing in HOUSE)
                for row in rng.choice(len(ways), TOLD, replace=False):
                    form, subject = ways[row]
                    first = form.format(subject=subject, lower=subject.lower(), thing=thing, end=end)
                    split = "held_out" if (end, thing) in unseen else "train"
                    weight = favour(family) * favour(number % len(WILD))
                    yield from _cuts(first, SUBJECTS[subject], second_line(family, side), form, split, weight, thing)


def _cuts(
    first: str, whom: str, second: tuple[str, str, str], form: str, split: str, weight: float, thing: str
) -> Iterator[Sentence]:
    _, adjective, noun = second
    about = (noun, thing)
    told = f"{first} ⏎"
    rest = (f" made {whom} like a {adjective} {noun} .", f" {noun} .", " .")
    for world, answer, tail in zip(PARTS, second, rest, strict=True):
        yield Sentence(world, told, answer, tail, split, weight, form, about)
        told += f" {answer} made {whom} like a" if world == PARTS[0] else f" {answer}"


def annotate(sentence: Sentence, tokens: list[str], names: Names) -> None:
    """Wild or house from the thing on, the rhyme at the end of the line, the planned noun from the break on."""
    noun, thing = sentence.about
    rhyme, (_, nouns) = next((number, row) for number, row in enumerate(families()) if noun in row[1])
    line_break, end = tokens.index("⏎"), tokens.index(noun)
    hold(names, tokens.index(thing), Variable("scene", "wild" if thing in WILD else "house"))
    hold(names, line_break - 2, Variable("rhyme", f"rhymes with {nouns[0]}"))
    for here in names[line_break:end]:
        here.add(Variable("plan", f"plan {noun}"))
        here.add(Variable("manner", f"plan {second_line(rhyme, nouns.index(noun))[1]}"))
