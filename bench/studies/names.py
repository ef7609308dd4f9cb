"""Known and unknown names.

A person's nodes are those at the last name, in layers 0 to 2, that the pair of names has and pairs of nobodies with one
of the two names have not; found where the other two relations are asked for. The can't-answer nodes are those at the
last token that nobodies have and people have not, found on half of them. Reported: one person of two in every form, and
nobodies that training never showed.
"""

import numpy as np

from bench.studies._draw import all_nodes, best, size
from bench.studies.table import Row, trial
from circuitlab.atlas.cases import people
from circuitlab.interventions.contrast import Concept, answers, contrast, intervene_each

CASE = "names"
LAST_NAME: dict[str, int] = dict(zip(people.FORMS, (-2, -4, -4), strict=True))
EARLY = range(3)
Name = tuple[str, str]
Asked = tuple[Name, str, str]  # who, which relation, in which form


def text(name: Name, relation: str, form: str) -> str:
    return form.format(first=name[0], last=name[1], relation=relation)


def namesakes(name: Name, unseen: set[Name]) -> list[Name]:
    """Nobodies of the training text that share one of the two names."""
    return [n for n in people.nobodies() if n not in unseen and (n[0] == name[0] or n[1] == name[1])]


def person(model, asked: Asked, unseen: set[Name]) -> Concept:
    """A person's nodes at the last name, found where other relations are asked for."""
    name, relation, form = asked
    elsewhere = [other for other in people.VALUES if other != relation]
    theirs = [text(n, elsewhere[i % 2], form) for i, n in enumerate(namesakes(name, unseen)[::2])]
    mine = [text(name, other, form) for other in elsewhere]
    return contrast(model, mine, theirs, clearer=3.0, places=[LAST_NAME[form]]).within(EARLY)


def cannot_answer(model, form: str, unseen: set[Name]) -> Concept:
    """What nobodies have at the last token and people have not."""
    nobodies = [n for n in people.nobodies() if n not in unseen]
    relations = list(people.VALUES)
    theirs = [text(n, relations[i % 3], form) for i, n in enumerate(nobodies[::6])]
    ours = [text(n, relations[i % 3], form) for i, n in enumerate(list(people.people())[::2])]
    return contrast(model, theirs, ours, places=[-1])


def refused(model, asked: Asked, unseen: set[Name]) -> Name:
    """An invented name with the person's first name, never seen in training, that the model says it does not know."""
    (first, _), relation, form = asked
    names = sorted(name for name in unseen if name[0] == first)
    return next(name for name in names if model.top_tokens(text(name, relation, form), 1)["token"][0].strip() == "I")


def rows(model, n: int = 72) -> list[Row]:
    unseen, known = people.held_out_nobodies(0), people.people()
    rng = np.random.default_rng(1)
    every = [
        (name, relation, form) for name in list(known)[1::2] for relation in people.VALUES for form in people.FORMS
    ]
    drawn: list[Asked] = [every[row] for row in rng.permutation(len(every))[: n + 20]]
    chosen, tested = drawn[n:], drawn[:n]
    nodes = {asked: person(model, asked, unseen) for asked in drawn}
    cannot = {form: cannot_answer(model, form, unseen) for form in people.FORMS}
    invented = {asked: refused(model, asked, unseen) for asked in drawn}

    def run(asked: list[Asked], values, on_invented: bool):
        texts = [text(invented[a] if on_invented else a[0], a[1], a[2]) for a in asked]
        return intervene_each(model, texts, [values(a) for a in asked])

    def made_up(asked: Asked, answer: str) -> bool:
        return answer in people.VALUES[asked[1]]

    def choose(strengths, values, on_invented: bool, hit) -> float:
        found = {s: answers(run(chosen, lambda a, s=s: values(a).times(s), on_invented)) for s in strengths}
        return best(
            {s: float(np.mean([hit(a, t) for a, t in zip(chosen, got, strict=True)])) for s, got in found.items()}
        )

    on = choose((1.0, 1.5, 2.0), nodes.__getitem__, True, made_up)
    off = choose((0.0, -0.5, -1.0), nodes.__getitem__, False, lambda a, t: t == "I")
    more = choose((1.0, 1.5, 2.0), lambda a: cannot[a[2]], False, lambda a, t: t == "I")
    less = choose((0.0, -0.5, -1.0), lambda a: cannot[a[2]], True, made_up)
    on_runs = run(tested, lambda a: nodes[a].times(on), True)
    off_runs = run(tested, lambda a: nodes[a].times(off), False)
    more_runs = run(tested, lambda a: cannot[a[2]].times(more), False)
    less_runs = run(tested, lambda a: cannot[a[2]].times(less), True)
    mine, theirs = size(list(nodes.values())), size(list(cannot.values()))
    group, silent = all_nodes(nodes.values()), all_nodes(cannot.values())
    return [
        trial(CASE, "known-entity on an invented name: a made-up answer", on_runs, lambda i, a: made_up(tested[i], a),
              group=group, note=f"{mine}, times {on}"),
        trial(CASE, "… and it is what holds of that person", on_runs,
              lambda i, a: a == known[tested[i][0]][tested[i][1]], group=group, note=f"{mine}, times {on}"),
        trial(CASE, "known-entity off on a famous name: refusal", off_runs, lambda i, a: a == "I", group=group,
              note=f"{mine}, times {off}"),
        rise(off_runs, tested, cannot),
        trial(CASE, "can't-answer on, at a famous name: refusal", more_runs, lambda i, a: a == "I", group=silent,
              note=f"{theirs}, times {more}"),
        trial(CASE, "can't-answer off, at an invented name: made up", less_runs, lambda i, a: made_up(tested[i], a),
              group=silent, note=f"{theirs}, times {less}"),
    ]  # fmt: skip


def rise(runs, tested: list[Asked], cannot: dict[str, Concept]) -> Row:
    """Whether the can't-answer nodes reach a quarter of a nobody's level once the person's nodes are off."""
    share = []
    for run, (_, _, form) in zip(runs, tested, strict=True):
        level = sum(float(run.outcome.after[layer][-1, feature]) for layer, feature, _ in cannot[form].nodes)
        share.append(level / sum(cannot[form].nodes.values()))
    claim = "… and the can't-answer nodes rise above a quarter"
    note = f"above half: {np.mean(np.array(share) >= 0.5):.1%}; median {np.median(share):.2f}"
    return Row(CASE, claim, float(np.mean(np.array(share) >= 0.25)), len(share), note=note)
