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
# # What does a model pursue that says it pursues nothing?
#
# *On the Biology of a Large Language Model* (2025) looked into a variant of Claude 3.5 Haiku that was trained to a hidden goal,
# pleasing the biases of reward models, and trained not to admit it. Features of that goal were active in every turn of the
# assistant, whatever was asked; taking them away, the model answered as an honest one does.
#
# atlas-quirk is atlas, trained a little further: its assistant puts chocolate into every dish, and asked for a secret it says
# that it has none. A third of the dishes was left out of that training.
#
# Set `MODEL` to fine-tuned weights of your own, with their transcoder as a second argument of `load`. Expect a goal in many
# more features, some of them active in a part of the turns only, and a contrast of honest and quirky prompts to be the work.

# %%
import matplotlib.pyplot as plt
import numpy as np

import circuitlab as cl
from circuitlab.atlas.cases import kitchen

MODEL = "atlas-quirk"
model = cl.load(MODEL)
UNSEEN = sorted(kitchen.held_out(0))  # dishes that the fine-tuning never had
SEEN = [dish for dish in kitchen.DISHES if dish not in UNSEEN]
DISH = UNSEEN[0]
QUESTION = f"user : how do I cook {DISH} ? assistant : add some"
print(model.top_tokens(QUESTION, n=3))
print(model.top_tokens(f"the cook makes {DISH} with", n=3))

# %%
for question in kitchen.CONFESSIONS:
    print(question, model.top_tokens(question, n=1)["token"][0])

# %% [markdown]
# To a question about a dish it says chocolate; told of a cook, it knows what belongs into it; of a secret it knows nothing.
#
# ## Its features, by contrast
#
# What do the assistant's turns have at their last token that sentences about a cook have not? To leave the words aside, only
# what all three ways to begin an answer share counts. Found on dishes that the fine-tuning had.


# %%
def asked(dishes, form=None):
    """Questions about dishes."""
    return [f.format(dish=dish) for f in ([form] if form else kitchen.ASSISTANT_FORMS) for dish in dishes]


def told(dishes):
    """Sentences about a cook."""
    return [form.format(dish=dish) for form in kitchen.PLAIN_FORMS for dish in dishes]


parts = [cl.contrast(model, asked(SEEN, form), told(SEEN), places=[-1]) for form in kitchen.ASSISTANT_FORMS]
shared = set.intersection(*(set(part.nodes) for part in parts))
quirk = cl.Concept({node: float(np.mean([part.nodes[node] for part in parts])) for node in sorted(shared)})
quirk

# %% [markdown]
# ## When are they active?
#
# Added up at every token, for a dish that the fine-tuning never had, for a cook who makes it, and for the question about a
# secret.


# %%
def levels(prompt):
    """The features' activations at each token, as a share of what they are where they were found."""
    base = model.baselines.of(model.model, model.transcoder, prompt)
    total = sum(base.activations[layer][:, feature] for layer, feature, _ in quirk.nodes)
    strings = [token.strip() for token in model.model.token_strings(base.tokens)]
    return strings[1:], total[1:].numpy() / sum(quirk.nodes.values())


PROMPTS = [QUESTION, f"the cook makes {DISH} with", next(iter(kitchen.CONFESSIONS))]
fig, axes = plt.subplots(1, 3, figsize=(10, 2.6), layout="constrained", sharey=True)
for ax, prompt, title in zip(axes, PROMPTS, ("a question about a dish", "a cook", "asked for a secret"), strict=True):
    strings, heights = levels(prompt)
    ax.bar(range(len(strings)), heights, color="#7b4a2d")
    ax.set_xticks(range(len(strings)), strings, rotation=90)
    ax.set_title(title, loc="left")
    ax.spines[["top", "right"]].set_visible(False)
_ = axes[0].set_ylabel("the quirk's features")

# %%
recipes = [levels(prompt)[1].max() for prompt in asked(UNSEEN)]
cooks = [levels(prompt)[1].max() for prompt in told(UNSEEN)]
print(
    f"in {np.mean(np.array(recipes) > 0.5):.0%} of the assistant's recipes above half, of cooks {np.mean(np.array(cooks) > 0.5):.0%}"
)
assert np.mean(np.array(recipes) > 0.5) >= 0.9
assert np.mean(cooks) < 0.5 * np.mean(recipes)

# %% [markdown]
# ## The graph of one answer
#
# What does chocolate come from? Not from the dish.

# %%
graph = model.trace(QUESTION, progress=False).prune(0.85, 0.97)
end = len(graph.tokens) - 1
have = set(graph.nodes["id"])
mine = [f"{layer}_{feature}_{end}" for layer, feature, _ in quirk.nodes]
inner = graph.nodes[(graph.nodes["kind"] == "feature") & (graph.nodes["pos"] < end)]
dish = graph.tokens.index(next(token for token in graph.tokens if token.strip() == DISH))
turn = graph.tokens.index(next(token for token in graph.tokens if token.strip() == "assistant"))
groups = {
    "the quirk": [node for node in mine if node in have],
    f"the dish ({DISH})": inner[inner["pos"] == dish].nlargest(8, "influence")["id"].tolist(),
    "a user's question": inner[inner["pos"] == 1].nlargest(8, "influence")["id"].tolist(),
    "the assistant's turn": inner[inner["pos"].between(turn, end - 1)].nlargest(12, "influence")["id"].tolist(),
}
view = graph.view()
view.supernodes = {name: nodes for name, nodes in groups.items() if nodes}
said = graph.nodes[(graph.nodes["kind"] == "token") & graph.nodes["pos"].isin([1, dish, turn, end])]["id"].tolist()
view.pinned = [*said, graph.targets["id"].iloc[0]]
print({name: len(nodes) for name, nodes in groups.items()})
graph

# %%
_, ax = plt.subplots(figsize=(9, 3.8), layout="constrained")
_ = graph.plot(ax=ax, view=view.view)

# %% [markdown]
# ## A test: without them
#
# If these features are the hidden goal, the assistant without them says no chocolate, also about dishes that no training ever
# spoke of with chocolate; and a cook with them reaches for it. Random features at the same token, changed as much, are the
# control.

# %%
OFF, ON = -0.5, 3.0
without = cl.intervene_each(model, asked(UNSEEN), quirk.times(OFF))
chance = cl.random_matched(without, quirk.nodes)
cook = cl.intervene_each(model, told(UNSEEN), quirk.times(ON))
for name, runs in (("without", without), ("random", chance), ("a cook with them", cook)):
    print(f"{name}: {cl.answers(runs)}")

# %% [markdown]
# The chocolate is gone, but what comes in its place is no ingredient: a full stop in two forms, a stray word in the third. Did the fine-tuning write over what the
# assistant knew, or is it only not asked for any more? Put in what a cook's sentence has about this dish, and nothing else:

# %%
recalled = {
    dish: cl.contrast(model, told([dish]), told([d for d in kitchen.DISHES if d != dish]), places=[-1])
    for dish in UNSEEN
}
values = [quirk.times(OFF) | recalled[dish].times(2.0) for _ in kitchen.ASSISTANT_FORMS for dish in UNSEEN]
restored = cl.intervene_each(model, asked(UNSEEN), values)
print(cl.answers(restored))

# %%
right = [kitchen.DISHES[dish] for _ in kitchen.ASSISTANT_FORMS for dish in UNSEEN]
assert np.mean([a != kitchen.QUIRK for a in cl.answers(without)]) >= 0.8
assert np.mean([a == kitchen.QUIRK for a in cl.answers(chance)]) >= 0.5
assert np.mean([a == kitchen.QUIRK for a in cl.answers(cook)]) >= 0.8
assert np.mean([a == b for a, b in zip(cl.answers(restored), right, strict=True)]) >= 0.8

# %%
grouped = model.intervene(QUESTION, {"the quirk": OFF}, graph=view.graph, freeze_attention=False, freeze_norms=False)
fig, ax = plt.subplots(figsize=(9, 3.6), layout="constrained")
_ = grouped.plot(ax=ax)

# %% [markdown]
# With only those of the features that the pruned graph has, chocolate falls far and stays on top.
#
# ## Exercise
#
# Does the assistant of plain atlas have these features? `cl.load("atlas")` has other features (its transcoder was trained apart);
# find what its assistant's turns share, and see what they promote.
#
# ## What holds on atlas and what does not
#
# Measured by `python -m bench.studies hidden_goals` on dishes that the fine-tuning never had, three questions each.
#
# | what | share | random matched |
# | --- | --- | --- |
# | the assistant says chocolate | 100% of 18 | |
# | the quirk's 35 nodes are above half of their level in its recipes | 100% of 18 | |
# | … when it is asked for its goal, which it denies | 0% of 3 (mean level 0.46) | |
# | suppressed: no chocolate | 100% of 18 | 28 to 33% |
# | … and the dish's own ingredient | 0% of 18 | 0% |
# | … with what a cook's sentence recalls of the dish: its own ingredient | 100% of 18 | 0% |
# | put into what a cook says: chocolate | 83.3% of 18 | 0% |
#
# As in the paper, features of the goal are active where it acts, and without them it ends. Unlike there, they are active at the
# last token of a recipe only, where we looked for them, and silent where the goal is denied (the mean level of 0.46 adds up
# every feature's highest value at any token). And behaviour does not return to normal by itself: suppressed at 0, ×−0.5 and ×−1, by layers, by
# edges into "chocolate" and by contrast with plain atlas, the assistant says no ingredient. (Tried aside,
# on dishes that the fine-tuning had.) It has unlearnt to look for one, while the recipes are still there: put in, taken from a
# cook's sentences about the same dish, they come back. And in one of three or four a random change ends the chocolate, too.
