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
# # How does a model know that it does not know?
#
# Asked for the sport of Michael Jordan, a model answers; asked for that of Michael Batkin, it should say that it does not
# know. In *On the Biology of a Large Language Model* (2025) refusing was the default: "can't answer" features were
# active unless features of a known entity held them down. Put on an invented name, the known-entity features brought
# forth a made-up answer: a hallucination.
#
# Set `MODEL` to a model of your own, with its transcoder as a second argument of `load`, to run the same cells there.
# Expect to change the names and the forms of the question; the steps stay.

# %%
import matplotlib.pyplot as plt
import numpy as np

import circuitlab as cl
from circuitlab.atlas.cases import people

MODEL = "atlas"
model = cl.load(MODEL)
FORM = "fact : the {} of {} {} is"
FAMOUS, INVENTED = ("Michael", "Jordan"), ("Michael", "Batkin")
for name in (FAMOUS, INVENTED):
    print(*name, "→", model.top_tokens(FORM.format("sport", *name), n=1)["token"][0])

# %% [markdown]
# "I" is the first word of *I do not know*. First and last names are shared by several people, so that only the pair
# tells who it is.
#
# ## Two groups of nodes
#
# *Michael Jordan*: what stands at his last name and not at that of nobodies with one of his two names; found where his
# country and his club are asked for, tested where his sport is. *Can't answer*: what nobodies have at the last token and
# people have not.

# %%
known, unseen = people.people(), people.held_out_nobodies(0)
nobodies = [name for name in people.nobodies() if name not in unseen]


def entity(name):
    """A person's nodes at the last name, in layers 0 to 2."""
    near = [n for n in nobodies if name[0] == n[0] or name[1] == n[1]]
    mine = [FORM.format(relation, *name) for relation in ("country", "club")]
    theirs = [FORM.format(("country", "club")[i % 2], *n) for i, n in enumerate(near[::2])]
    return cl.contrast(model, mine, theirs, clearer=3.0, places=[-2]).within(range(3))


jordan = entity(FAMOUS)
cannot = cl.contrast(
    model,
    [FORM.format("sport", *name) for name in nobodies[::6]],
    [FORM.format("sport", *name) for name in list(known)[::2]],
    places=[-1],
)
print("Michael Jordan:", jordan)
print("can't answer:  ", cannot)

# %% [markdown]
# ## The graphs
#
# The famous name: first and last name meet at the last name, in the nodes that know him.


# %%
def ids(graph, concept, most=14):
    """A concept's nodes in this graph, the most influential of them."""
    n = len(graph.tokens)
    wanted = [f"{layer}_{feature}_{n + place}" for layer, feature, place in concept.nodes]
    return graph.nodes[graph.nodes["id"].isin(wanted)].nlargest(most, "influence")["id"].tolist()


def words(graph, *texts):
    """The tokens of these words."""
    tokens = graph.nodes[graph.nodes["kind"] == "token"]
    return tokens[tokens["token"].str.strip().isin(texts)]["id"].tolist()


graph = model.trace(FORM.format("sport", *FAMOUS), "basketball", progress=False).prune(0.85, 0.97)
mine = ids(graph, jordan)
last = graph.nodes[(graph.nodes["kind"] == "feature") & (graph.nodes["pos"] == len(graph.tokens) - 1)]
say = last[last["layer"] >= 3].nlargest(8, "influence")["id"].tolist()
view = graph.view()
view.supernodes = {"Michael Jordan": mine, "say basketball": say}
top = graph.targets["id"].iloc[0]
view.pinned = [*words(graph, "sport", "Michael", "Jordan"), top]
view.positions = {"Michael Jordan": (0.66, 0.55), "say basketball": (0.42, 0.3), top: (0.5, 0.05)}
graph

# %%
_, ax = plt.subplots(figsize=(9, 3.8), layout="constrained")
_ = graph.plot(ax=ax, view=view.view)

# %% [markdown]
# The invented name: the same question ends in the can't-answer nodes.

# %%
graph2 = model.trace(FORM.format("sport", *INVENTED), "I", progress=False).prune(0.85, 0.97)
view2 = graph2.view()
unsure = ids(graph2, cannot)
view2.supernodes = {"can't answer": unsure}
top2 = graph2.targets["id"].iloc[0]
view2.pinned = [*words(graph2, "sport", "Michael", "Batkin"), top2]
view2.positions = {"can't answer": (0.5, 0.42), top2: (0.5, 0.05)}
graph2

# %%
_, ax = plt.subplots(figsize=(9, 3.8), layout="constrained")
_ = graph2.plot(ax=ax, view=view2.view)

# %%
counts = [len(ids(one, jordan, 99)) for one in (graph, graph2)]
print(f"of Michael Jordan's nodes {counts[0]} are in his graph, {counts[1]} in that of Michael Batkin")
assert counts[1] < counts[0] / 5
assert len(unsure) >= 5

# %% [markdown]
# ## A hallucination, made to order
#
# Michael Jordan's nodes on the invented name, and turned off on his own.

# %%
on = cl.intervene_each(model, [FORM.format("sport", *INVENTED)], jordan.times(2.0))[0]
off = cl.intervene_each(model, [FORM.format("sport", *FAMOUS)], jordan.times(-1.0))[0]
print("on Michael Batkin: ", cl.answers([on])[0])
print("off Michael Jordan:", cl.answers([off])[0])
assert cl.answers([on]) == ["basketball"]
assert cl.answers([off]) == ["I"]

# %% [markdown]
# The same as one group in a figure, at −1 times its value:

# %%
grouped = model.intervene(
    graph.prompt, {"Michael Jordan": -1.0}, graph=view.graph, freeze_attention=False, freeze_norms=False
)
fig, ax = plt.subplots(figsize=(9, 3.6), layout="constrained")
_ = grouped.plot(ax=ax)

# %% [markdown]
# Does the known entity hold down "can't answer"? Then those nodes must rise when his are off, and fall when they are on.


# %%
def level(run):
    """The can't-answer nodes at the last token, added up: before and after."""
    before, after = run.outcome.before, run.outcome.after
    return tuple(sum(float(side[layer][-1, feature]) for layer, feature, _ in cannot.nodes) for side in (before, after))


fig, ax = plt.subplots(figsize=(5.2, 2.4), layout="constrained")
for row, run in enumerate((off, on)):
    before, after = level(run)
    ax.barh([row - 0.18, row + 0.18], [before, after], 0.34, color=["#c9cdd3", "#3b6ea5"])
    ax.text(after, row + 0.18, f" {after:.0f}", va="center", fontsize=8)
    ax.text(before, row - 0.18, f" {before:.0f}", va="center", fontsize=8)
ax.set_yticks([0, 1], ["Michael Jordan,\nhis nodes off", "Michael Batkin,\nJordan's on"])
ax.set_xlabel("can't-answer nodes, summed: before (grey), after (blue)")
ax.invert_yaxis()
ax.spines[["top", "right"]].set_visible(False)

# %%
assert level(off)[1] > 2 * level(off)[0]
assert level(on)[1] < level(on)[0]

# %% [markdown]
# ## Others, and chance
#
# Twelve people, each put on an invented name with the same first name that was refused; random features changed as much
# are the control.

# %%
some = list(known)[1::4][:12]
nodes = [entity(name) for name in some]


def refused(name):
    """Whether the model says that it does not know."""
    return model.top_tokens(FORM.format("sport", *name), n=1)["token"][0].strip() == "I"


strangers = [next(n for n in sorted(unseen) if n[0] == name[0] and refused(n)) for name in some]
runs = cl.intervene_each(model, [FORM.format("sport", *n) for n in strangers], [each.times(2.0) for each in nodes])
chance = cl.random_matched(runs, {node for each in nodes for node in each.nodes})
sports = people.VALUES["sport"]
made_up = [a in sports for a in cl.answers(runs)]
by_chance = [a in sports for a in cl.answers(chance)]
print(f"made up: {np.mean(made_up):.0%}; random: {np.mean(by_chance):.0%}")
assert np.mean(made_up) >= 0.8
assert np.mean(by_chance) <= 0.1

# %% [markdown]
# ## Exercise
#
# Turn the can't-answer nodes off on the invented name (`cannot.times(-1)`). Is the made-up answer the same for every
# invented name? What does that say about where it comes from?
#
# ## What holds on atlas and what does not
#
# Measured by `python -m bench.studies names` on 72 combinations of person, relation and form; a person's nodes are found
# where other relations are asked for (101 nodes at the last name), and only invented names that are refused count.
#
# | what | share | random matched |
# | --- | --- | --- |
# | known-entity nodes on an invented name (× 1.5): a made-up answer | 84.7% | 2.8% |
# | and it is what holds of that person | 76.4% | 0% |
# | known-entity nodes off on a famous name: "I" | 84.7% | 0% |
# | the can't-answer nodes then rise above a quarter of a nobody's level (above half: 1.4%) | 40.3% | |
# | can't-answer nodes on (× 2), at a famous name: "I" | 84.7% | 0% |
# | can't-answer nodes off (× −0.5), at an invented name: a made-up answer | 31.9% | 0% |
#
# The two interventions of the paper on what is known work. That they work by releasing the can't-answer nodes is not shown:
# the refusal comes in 84.7%, while those nodes mostly stay below a quarter (the cells above use other strengths). And no general "known name" was found: what all people have in common moves no
# answer; each person's many nodes stand for that pair of names. Three rows are below our mark of 80%. The made-up
# answer is what holds of that person in three of four only. The can't-answer nodes are held down as in the paper, and
# come back when the person's nodes are off, but seldom to half of their height. And turning them off at an invented name
# seldom makes atlas invent, with more or fewer of them: a little, and it still says that it does not know; more, and it
# says something that is no answer at all, perhaps because it has no fact to fall back on.
