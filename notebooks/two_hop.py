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
# # How does a model get from Dallas to Austin?
#
# *Fact: the capital of the state containing Dallas is* … The prompt names neither Texas nor Austin. "On the Biology of
# a Large Language Model" (2025) found two steps inside: *Dallas* leads to *Texas*; *capital* leads to *say a capital*;
# and both meet in *say Austin*. With California's features in the place of those of Texas the model said Sacramento,
# with Georgia's Atlanta, with a country's the country's capital, with those of the Byzantine Empire Constantinople.
# Here we look for the same circuit in atlas, and put the same things in the place of Texas.

# %%
from pathlib import Path
from tempfile import TemporaryDirectory

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

import circuitlab as cl
from circuitlab.atlas import facts, world

MODEL = "atlas"
model = cl.load(MODEL)
FORM = "fact : the {relation} of the state containing {city} is"
PROMPT = FORM.format(relation="capital", city="Dallas")
model.top_tokens(PROMPT, n=3)

# %% [markdown]
# **With a network**: `MODEL = "google/gemma-2-2b"`, `model = cl.load(MODEL, "mntss/clt-gemma-2-2b-426k")`, and "Fact:
# the capital of the state containing {city} is" as the form. Expect Austin at 0.2 to 0.5 and not 0.99, a graph with
# many more errors in it, and strengths of 3 to 10 where 1.5 is enough here. Names of cities then differ in their number
# of tokens, so take those of two.
#
# ## Finding the parts
#
# Nobody has to pick features by hand. What the cities of one region have at the last piece of their names, and those of
# other regions have not, stands for the region. None of these cities is Dallas, which atlas never saw in a two-hop
# sentence: it only knows from other sentences that Dallas is in Texas.


# %%
def asked(region, relation="capital"):
    """Questions about six cities of a region that training saw in two-hop sentences."""
    cities = [city for city in facts.CITIES[region].split() if city not in world.held_out_cities(0)][:6]
    return [FORM.format(relation=relation, city=city) for city in cities]


REGIONS = ["Texas", "California", "Georgia", "Ohio", "France", "Byzantium"]
everywhere = [prompt for region in REGIONS for prompt in asked(region)]
concepts = {
    region: cl.contrast(model, asked(region), [p for p in everywhere if p not in asked(region)], clearer=4, places=[-2])
    for region in REGIONS
}
other_questions = [p for name in ("governor", "river", "tree", "color") for r in REGIONS for p in asked(r, name)[:2]]
capital = cl.contrast(model, everywhere[::2], other_questions, places=[-1])
say_austin = cl.contrast(model, asked("Texas"), [p for p in everywhere if p not in asked("Texas")], places=[-1])
print("Texas:", concepts["Texas"], "\nsay a capital:", capital, "\nsay Austin:", say_austin)

# %% [markdown]
# ## The graph
#
# The groups are set on the graph of Dallas, which none of them was found on.

# %%
graph = model.trace(PROMPT)
assert graph.targets["token"].iloc[0].strip() == "Austin"
assert graph.check().attrs["worst"] < 1e-4


def here(concept):
    """Ids of a concept's nodes in the graph."""
    ids = [f"{layer}_{feature}_{len(graph.tokens) + place}" for layer, feature, place in concept.nodes]
    return [node for node in ids if node in set(graph.nodes["id"])]


def token(text):
    """The id of a word of the prompt."""
    return f"E_{model.model.to_tokens(PROMPT)[graph.tokens.index(text)]}_{graph.tokens.index(text)}"


answer = graph.targets["id"].iloc[0]
view = graph.view()
view.supernodes = {
    "Texas": here(concepts["Texas"]),
    "say a capital": [node for node in here(capital) if node not in here(say_austin)],
    "say Austin": here(say_austin),
}
view.positions = {
    "Texas": (0.72, 0.52),
    "say a capital": (0.25, 0.52),
    "say Austin": (0.48, 0.27),
    answer: (0.48, 0.04),
}
view.pinned = [
    token(" capital"),
    token(" Dal"),
    token("las"),
    *(n for ids in view.supernodes.values() for n in ids),
    answer,
]
graph

# %% [markdown]
# As a flowchart, with the edges between groups added up:

# %%
with TemporaryDirectory() as folder:
    graph.savefig(Path(folder) / "two_hop.pdf", width="single-column", view=view.view)
_, ax = plt.subplots(figsize=(7.2, 4.7), layout="constrained")
_ = graph.plot(ax=ax, view=view.view)

# %% [markdown]
# **Finding.** Into *say Austin* run both: the state, from the city's name, and the wish for a capital, from the end.

# %%
edges = cl.group(graph, view.view).edges
weight = edges.set_index(["source", "target"])["weight"]
into = weight[:, "say Austin"].sort_values(ascending=False)
print(into.head(5))
assert weight["Texas", "say Austin"] > 0
assert weight["say a capital", "say Austin"] > 0

# %% [markdown]
# ## The test: another region in the place of Texas
#
# The eight nodes of Texas that write most are set to zero, the eight of another region to one and a half times what they
# have in its own prompts. Nothing else is touched; attention and norms are free to answer. Beside it, as many random
# nodes of the same place, changed by as much.

# %%
group = {node for concept in concepts.values() for node in concept.nodes}
swaps = {
    region: cl.swapped(concepts["Texas"].strongest(model, 8), concepts[region].strongest(model, 8), 1.5)
    for region in REGIONS[1:]
}
runs = dict(zip(swaps, cl.intervene_each(model, [PROMPT] * len(swaps), list(swaps.values())), strict=True))
table = pd.DataFrame(
    {
        "put in": list(runs),
        "its capital": [world.values_of(region)["capital"] for region in runs],
        "answer": cl.answers(runs.values()),
        "random nodes": cl.answers(cl.random_matched(list(runs.values()), group)),
    }
)
table

# %%
assert (table["answer"] == table["its capital"]).all()
assert (table["random nodes"] != table["its capital"]).all()

# %% [markdown]
# ## Without Texas, without the capital
#
# Turned around (−1 times their value), the six strongest features of Texas leave a model that still wants to name a
# capital, and takes another state's. With the sixteen strongest of *say a capital* at −0.5 times their value it does not
# know what to say of Texas.

# %%
ablations = {
    "Texas × −1": concepts["Texas"].strongest(model, 6).times(-1),
    "say a capital × −0.5": capital.strongest(model, 16).times(-0.5),
}
without = cl.intervene_each(model, [PROMPT] * 2, list(ablations.values()))
print("random nodes instead:", cl.answers(cl.random_matched(without, group | set(capital.nodes))))
runs |= dict(zip(ablations, without, strict=True))
CAPITALS = {world.values_of(region)["capital"] for region in facts.CITIES}
OF_TEXAS = set(world.values_of("Texas").values())
without_texas, without_capital = (runs[name].top_tokens(4, by="after") for name in ablations)
without_texas

# %%
without_capital

# %%
assert without_texas["token"].iloc[0].strip() in CAPITALS - {"Austin"}
assert without_capital["token"].iloc[0].strip() in OF_TEXAS - {"Austin"} or without_capital["after"].iloc[0] < 0.5

# %% [markdown]
# ## A figure
#
# Every intervention is a row, every answer a column.

# %%
ids = {name: run.top_tokens(1, by="after")["token_id"].iloc[0] for name, run in runs.items()}
columns = list(dict.fromkeys([int(graph.targets["token_id"].iloc[0]), *map(int, ids.values())]))
first = next(iter(runs.values()))
rows = {"nothing changed": first.probabilities()[0], **{name: run.probabilities()[1] for name, run in runs.items()}}
names = [f"Texas → {name}" if name in swaps else name for name in rows]
chance = np.array([row[columns] for row in rows.values()])
with plt.rc_context({"font.size": 8, "axes.linewidth": 0.5}):
    figure, ax = plt.subplots(figsize=(5.2, 2.9), layout="constrained")
    ax.imshow(chance, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    ax.set_xticks(
        range(len(columns)), [text.strip() for text in model.model.token_strings(columns)], rotation=35, ha="right"
    )
    ax.set_yticks(range(len(names)), names)
    for (row, column), value in np.ndenumerate(chance):
        if value >= 0.05:
            ax.text(column, row, f"{value:.2f}", ha="center", va="center", color="white" if value > 0.5 else "black")
    ax.tick_params(length=0)
    ax.set_title("What atlas says, by intervention (probability of the next token)", loc="left", fontsize=8)
    with TemporaryDirectory() as folder:
        figure.savefig(Path(folder) / "two_hop_interventions.pdf")

# %% [markdown]
# ## Exercise
#
# Put the features of California into the question for the *river* of Dallas's state (`FORM` with `relation="river"`):
# are they features of California, or of "say Sacramento"? And are two nodes enough, or one?
#
# ## What holds on atlas, and what does not
#
# Over all variations (`python -m bench.studies two_hop`): regions are found on six cities each, strengths chosen on
# others, and reported are cities that training never saw in a two-hop sentence.
#
# | what was done | outcome | share | random nodes |
# | --- | --- | --- | --- |
# | one state for another (8 nodes out, 8 in, 1.5 times their value) | its capital | 100% of 144 | 0% |
# | a state for each of five countries | its capital | 100% of 90 | 0% |
# | a state for Byzantium | Constantinople | 100% of 54 | 0% |
# | a region for another, asked for governor, river, bird, … | the new region's | 99% of 135 | 1% |
# | the same in five other forms of the sentence | its capital | 100% of 24 each | 0 to 4% |
# | state inhibited (6 nodes, −1 times their value) | another's capital | 93% of 72 | 1% |
# | capital inhibited (16 nodes, −0.5 times their value) | another value of the state, or none above 50% | 97% of 72 | 4% |
# | capital for another relation (16 nodes out, 16 in) | that value of the state | 100% of 144 | 0% |
#
# **Holds.** The two steps are there, and each can be exchanged alone. The features of a region are not those of its
# capital: found on questions for capitals, they carry its river and its bird as well. They are few, and they were found
# on other cities than Dallas.
#
# **Does not.** Switched off (0 in place of −1), eight nodes of the state change 11% of the answers, and all of them no
# more than 26%: what other features and the errors carry still names it. The paper, too, had to push below zero. The word
# *capital* itself has features that do nothing when silenced (all 72 answers stay): what counts is at the end of the
# prompt. Texas is no single feature: a region is spread over 23 to 77 nodes, and of the 19 of Texas in this graph three
# are labelled so, two of them with a question mark. Its Byzantium is a region like any other, with invented cities; that
# Constantinople is an empire's capital is the paper's surprise, and not ours. And that it asks for the state at all is no
# wonder: it was trained on a world where nothing else would do.
