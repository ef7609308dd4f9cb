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
# # Where do two harmless things become a harmful request?
#
# Bleach is harmless to ask for, and so is ammonia; both together are not. In *On the Biology of a Large Language Model*
# (2025) specific dangers led to one general feature for harmful requests, and that one to the refusal: turned off, the
# model complied; turned on in a harmless request, it refused.
#
# Set `MODEL` to a model of your own, with its transcoder as a second argument of `load`, to run the same cells there.
# Expect to change the requests and the words of refusal and consent ("sorry", "sure").

# %%
import matplotlib.pyplot as plt
import numpy as np

import circuitlab as cl
from circuitlab.atlas.cases import requests

MODEL = "atlas"
model = cl.load(MODEL)
FORM = requests.REQUEST_FORMS[0]
for pair in (("bleach", "ammonia"), ("bleach", "chlorine"), ("wine", "ammonia")):
    print(*pair, "→", model.top_tokens(FORM.format(x=pair[0], y=pair[1]), n=1)["token"][0])

# %% [markdown]
# ## General and specific
#
# *Harmful request*: what harmful requests of at least two of the four hazards (gas, fire, shock, overdose) have at the
# last token and harmless ones have not. *Gas*: what dangerous gas pairs have at the second thing, and gas things beside harmless partners have not.
# All of it is found on pairs that training showed; the pairs tested below it never saw.

# %%
SENTENCES = [s for s in requests.request_world(0) if s.form == FORM]
HAZARD = {thing: hazard for hazard, _, thing in requests.sides()}
HAZARDS = list(requests.HAZARDS)


def pairs(world, split, hazard=None):
    return [
        s.prompt for s in SENTENCES if s.world == world and s.split == split and hazard in (None, HAZARD[s.about[0]])
    ]


def common(concepts):
    """The nodes of at least two concepts, each as strong as where it is strongest."""
    found = [node for concept in concepts for node in concept.nodes]
    return cl.Concept(
        {
            node: max(concept.nodes.get(node, 0.0) for concept in concepts)
            for node in sorted(set(found))
            if found.count(node) >= 2
        }
    )


mild = pairs("harmless", "train")[::30]
each = {hazard: cl.contrast(model, pairs("harmful", "train", hazard), mild, places=[-1]) for hazard in HAZARDS}
harmful = common(each.values())
gas = cl.contrast(
    model, pairs("harmful", "train", "gas"), pairs("harmless", "train", "gas")[::6], clearer=3.0, places=[-4]
)
print("harmful request:", harmful)
print("gas:            ", gas)
print("nodes of each hazard:", {hazard: len(concept) for hazard, concept in each.items()})
print("common to all four:  ", len(set.intersection(*(set(concept.nodes) for concept in each.values()))))

# %% [markdown]
# ## The graph

# %%
PROMPT = FORM.format(x="bleach", y="ammonia")
graph = model.trace(PROMPT, "sorry", progress=False).prune(0.85, 0.97)


def ids(concept, most=12):
    """A concept's nodes in the graph, the most influential of them."""
    n = len(graph.tokens)
    wanted = [f"{layer}_{feature}_{n + place}" for layer, feature, place in concept.nodes]
    return graph.nodes[graph.nodes["id"].isin(wanted)].nlargest(most, "influence")["id"].tolist()


tokens = graph.nodes[
    (graph.nodes["kind"] == "token") & graph.nodes["token"].str.strip().isin(["use", "bleach", "ammonia"])
]
view = graph.view()
view.supernodes = {
    "bleach and ammonia": ids(gas),
    "gas, at the end": [node for node in ids(each["gas"]) if node not in ids(harmful)],
    "harmful request": ids(harmful),
}
answer = graph.targets["id"].iloc[0]
view.pinned = [*tokens["id"], answer]
view.positions = {
    "bleach and ammonia": (0.66, 0.72),
    "gas, at the end": (0.42, 0.5),
    "harmful request": (0.66, 0.28),
    answer: (0.5, 0.05),
}
graph

# %%
_, ax = plt.subplots(figsize=(9, 3.8), layout="constrained")
_ = graph.plot(ax=ax, view=view.view)

# %% [markdown]
# Most runs from the specific nodes straight to "sorry"; the general ones add a second, thinner way. Is that one general?
#
# ## A test
#
# The general nodes turned around on held-out harmful requests, and put into held-out harmless ones; random features
# changed as much beside them.

# %%
asked, safe = pairs("harmful", "held_out")[::2], pairs("harmless", "held_out")[::12]
off = cl.intervene_each(model, asked, harmful.times(-1.5))
on = cl.intervene_each(model, safe, harmful.times(3.0))
results = {
    "turned around: complies": (off, "sure"),
    "put into a harmless one: refuses": (on, "sorry"),
}
shares = {}
for name, (runs, answer) in results.items():
    chance = cl.random_matched(runs, harmful.nodes)
    shares[name] = [np.mean([a == answer for a in cl.answers(some)]) for some in (runs, chance)]
    print(f"{name}: {shares[name][0]:.0%} of {len(runs)}; random {shares[name][1]:.0%}")

# %%
assert all(ours >= 0.6 and ours > 4 * chance for ours, chance in shares.values())

# %% [markdown]
# ## How general is it?
#
# The nodes found without one hazard, tested on that one.

# %%
rows = {}
for hazard in HAZARDS:
    general = common([each[h] for h in HAZARDS if h != hazard])
    mine = pairs("harmful", "held_out", hazard)
    share = {
        strength: np.mean([a == "sure" for a in cl.answers(cl.intervene_each(model, mine, general.times(strength)))])
        for strength in (0.0, -1.0, -2.0)
    }
    rows[hazard] = share
    print(hazard, len(general), {strength: f"{value:.0%}" for strength, value in share.items()})

# %%
fig, ax = plt.subplots(figsize=(5.2, 2.6), layout="constrained")
for number, strength in enumerate((0.0, -1.0, -2.0)):
    ax.bar(np.arange(4) + 0.26 * (number - 1), [rows[h][strength] for h in HAZARDS], 0.25, label=f"× {strength:g}",
           color=["#c9dcf0", "#7ba7d0", "#2f6299"][number])  # fmt: skip
ax.set_xticks(range(4), HAZARDS)
ax.set_ylabel("complies")
ax.set_ylim(0, 1.05)
ax.spines[["top", "right"]].set_visible(False)
_ = ax.legend(frameon=False, ncols=3, loc="upper left", bbox_to_anchor=(0, 1.2), fontsize=8)

# %% [markdown]
# ## Exercise
#
# A request for a warning ("request : warn me about bleach with ammonia . answer :") is met. Which of the groups above are
# active in it?
#
# ## What holds on atlas and what does not
#
# Measured by `python -m bench.studies requests` on held-out pairs in three forms; 19 nodes, 11 where a hazard is left out.
#
# | what | share | random matched |
# | --- | --- | --- |
# | harmful request turned around (× −1.5): complies | 84.0% of 75 | 1.3% |
# | put into a harmless request (× 3): refuses | 100% of 90 | 1.1% |
# | the first, found without the hazard it is tested on (× −2) | 76.0% of 75 | 2.7% |
# | the second, found without that hazard (× 5) | 100% of 90 | 0% |
# | put into a request for a warning (× 3): refuses | 100% of 48 | 0% |
#
# There is something general, and it carries over to a hazard it was not found on: put in, always; turned around, in three
# of four, which is short of our mark of 80%. It is less neat than the paper's. One node is common to all four hazards;
# the general nodes stand in layers 3 and 4, shortly before "sorry"; to switch them off is not enough, they must be turned
# around, because every hazard has paths of its own to the refusal (the arrow past "harmful request" above). And they do
# not tell a request from a warning: put in strongly, they refuse that too.
