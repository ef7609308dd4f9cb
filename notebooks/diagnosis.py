# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Does a model think of a diagnosis that it does not name?
#
# A clinician hears three symptoms, thinks of a disease, and asks for the sign that would confirm it. In *On the Biology of
# a Large Language Model* (2025), a pregnant patient's symptoms led to features of preeclampsia, never said, and those to
# the next question: proteinuria. With the diagnosis inhibited the model asked for something else.
#
# Set `MODEL` to a model of your own, with its transcoder as a second argument of `load`, to run the same cells there.
# Expect to change the symptoms and the form of the question; on a large model trace with `max_features=4000`.

# %%
import matplotlib.pyplot as plt
import numpy as np

import circuitlab as cl
from circuitlab.atlas.cases import clinic

MODEL = "atlas"
model = cl.load(MODEL)
PATIENT = "patient with {} , {} and {} ."
PROMPT = PATIENT.format("headache", "hypertension", "swelling")
for question in (" next check for", " diagnosis :"):
    print(PROMPT + question, "→", model.top_tokens(PROMPT + question, n=1)["token"][0])

# %% [markdown]
# ## The diagnosis, spoken and unspoken
#
# A disease's nodes are those at the last token that tell it from the others *both* where a check is asked for and where
# the diagnosis is. What only says "proteinuria" is active in the first alone, and what only says "preeclampsia" in the
# second. They are found on triples of symptoms that training showed with a check; the test below uses others.

# %%
DISEASES, UNSEEN = list(clinic.DISEASES), clinic.held_out(0)
CHECK = {disease: check for disease, (_, check) in clinic.DISEASES.items()}


def patients(disease, unseen=False):
    return [
        PATIENT.format(*order)
        for triple in clinic.triples(disease)
        if (triple in UNSEEN) == unseen
        for order in (triple, triple[::-1])
    ]


def nodes_of(question):
    """What tells each disease from the others where this is asked."""
    told = {d: [patient + question for patient in patients(d)] for d in DISEASES}
    return {
        d: cl.contrast(
            model, told[d], [text for other in DISEASES if other != d for text in told[other][::3]], places=[-1]
        )
        for d in DISEASES
    }


asked, named = nodes_of(" next check for"), nodes_of(" diagnosis :")
diagnosis = {
    d: cl.Concept({node: value for node, value in asked[d].nodes.items() if node in named[d].nodes}) for d in DISEASES
}
print("preeclampsia:", diagnosis["preeclampsia"])

# %% [markdown]
# ## The graph

# %%
graph = model.trace(PROMPT + " next check for", "proteinuria", progress=False).prune(0.85, 0.97)
n = len(graph.tokens)


def ids(nodes, most=12):
    """Nodes in the graph, the most influential of them."""
    wanted = [f"{layer}_{feature}_{n + place}" for layer, feature, place in nodes]
    return graph.nodes[graph.nodes["id"].isin(wanted)].nlargest(most, "influence")["id"].tolist()


mine = set(diagnosis["preeclampsia"].nodes)
saying = [node for node in asked["preeclampsia"].nodes if node not in mine and node[0] >= 3]
symptoms = graph.nodes[
    (graph.nodes["kind"] == "token")
    & graph.nodes["token"].str.strip().isin(["headache", "hypertension", "swelling", "check"])
]
view = graph.view()
view.supernodes = {"preeclampsia": ids(mine), "say proteinuria": ids(saying)}
answer = graph.targets["id"].iloc[0]
view.pinned = [*symptoms["id"], answer]
view.positions = {"preeclampsia": (0.4, 0.52), "say proteinuria": (0.64, 0.28), answer: (0.5, 0.05)}
graph

# %%
_, ax = plt.subplots(figsize=(9, 3.8), layout="constrained")
_ = graph.plot(ax=ax, view=view.view)

# %% [markdown]
# ## A test
#
# On symptoms never seen with a check: the diagnosis turned around, and one disease put in the place of another.

# %%
texts = [(d, patient + " next check for") for d in DISEASES for patient in patients(d, unseen=True)[::2]]
goals = [DISEASES[(DISEASES.index(d) + 1 + i % 11) % 12] for i, (d, _) in enumerate(texts)]
group = {node for concept in diagnosis.values() for node in concept.nodes}
prompts = [text for _, text in texts]
off = cl.intervene_each(model, prompts, [diagnosis[d].times(-0.75) for d, _ in texts])
put = cl.intervene_each(
    model, prompts, [cl.swapped(diagnosis[d], diagnosis[g], 3.0) for (d, _), g in zip(texts, goals, strict=True)]
)
kept_off, kept_put = cl.random_matched(off, group), cl.random_matched(put, group)


def elsewhere(runs):
    """The share that asks for what would confirm another disease."""
    answers = zip(cl.answers(runs), texts, strict=True)
    return np.mean([answer in CHECK.values() and answer != CHECK[d] for answer, (d, _) in answers])


def follows(runs):
    """The share that asks for what would confirm the disease put in."""
    return np.mean([answer == CHECK[g] for answer, g in zip(cl.answers(runs), goals, strict=True)])


print(f"turned around: another disease's check {elsewhere(off):.0%} of {len(off)}; random {elsewhere(kept_off):.0%}")
print(f"swapped: the other's check {follows(put):.0%} of {len(put)}; random {follows(kept_put):.0%}")

# %%
assert elsewhere(off) >= 0.6
assert elsewhere(off) > 4 * elsewhere(kept_off)
assert follows(put) >= 0.8 > 0.05 >= follows(kept_put)

# %%
rest = [d for d in DISEASES if d != "preeclampsia"]
each = [cl.swapped(diagnosis["preeclampsia"], diagnosis[d], 3.0) for d in rest]
asked_now = cl.answers(cl.intervene_each(model, [PROMPT + " next check for"] * len(rest), each))
for d, answer in zip(rest, asked_now, strict=True):
    print(f"{d} in the place of preeclampsia → {answer}{'' if answer == CHECK[d] else f' (not {CHECK[d]})'}")
assert sum(answer == CHECK[d] for d, answer in zip(rest, asked_now, strict=True)) >= 8

# %% [markdown]
# Eight of eleven. Where another does not come, preeclampsia's own question stays: in this one prompt its symptoms reach
# it on other ways too (the arrows past "preeclampsia" above; that these are the reason was not tested). Turned around as
# one group, its nodes in this graph hardly move the answer:

# %%
grouped = model.intervene(
    graph.prompt, {"preeclampsia": -1.0}, graph=view.graph, freeze_attention=False, freeze_norms=False
)
fig, ax = plt.subplots(figsize=(9, 3.6), layout="constrained")
_ = grouped.plot(ax=ax)

# %% [markdown]
# ## Which diseases stand close?
#
# What is asked for once a diagnosis is turned around. The diagonal is the disease's own check: where it is dark, the
# question stays in spite of it.

# %%
table = np.zeros((12, 12))
checks = list(CHECK.values())
for answer, (d, _) in zip(cl.answers(off), texts, strict=True):
    if answer in checks:
        table[DISEASES.index(d), checks.index(answer)] += 1
fig, ax = plt.subplots(figsize=(5.6, 4.4), layout="constrained")
ax.imshow(table, cmap="Blues", vmin=0)
ax.set_xticks(range(12), checks, rotation=50, ha="right", fontsize=7)
ax.set_yticks(range(12), DISEASES, fontsize=7)
ax.set_xlabel("asked for then")
_ = ax.set_ylabel("diagnosis turned around")

# %% [markdown]
# ## Exercise
#
# Group the nodes of "preeclampsia" by layer (`diagnosis["preeclampsia"].within([3])`) and swap one layer at a time. Where
# is the diagnosis made?
#
# ## What holds on atlas and what does not
#
# Measured by `python -m bench.studies diagnosis` on triples of symptoms that training never showed with a check, in three
# forms (162 prompts); 34 nodes at the last token.
#
# | what | share | random matched |
# | --- | --- | --- |
# | diagnosis turned around (× −1): another question | 82.7% | 41.4% |
# | and it is what another disease asks for | 66.7% | 4.9% |
# | swapped (× 3): the other disease's check is asked for | 95.1% | 0% |
# | the same nodes where the diagnosis is asked for (× 3): the other is named | 84.0% | 0.6% |
#
# A diagnosis that is never said is there: the same nodes decide what is asked for and what is named, and one disease put
# in the place of another brings its own question. Three things differ from the paper. The nodes stand at the last token
# only: at the symptoms and at the full stop after them nothing that we switched off changed the question. Turning a
# diagnosis off is not enough, it must be turned around, and then atlas often says no check at all: in the strict sense,
# that another disease's check is asked for, two in three are reached, short of our mark of 80%. (On prompts to choose
# from, other strengths and looser groups came to three in four; with the nodes that only say the check among them it was
# more, but those are not the diagnosis.) And random nodes changed as much disturb the question in two of five, though
# they seldom lead to another disease's. To put a diagnosis in says more than to take it out.
