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
# # How does a model look something up?
#
# Two small cases of recall. In `The National Digital Analytics Group (N` the papers found features for the first letters of
# the words, each feeding a "say this letter" feature. Asked for the sport of Michael Jordan, a model brings two paths
# together: one from the name, one from the word "sport", and where they meet stands "basketball". If that is how it works,
# taking one path away must cost the answer, and exchanging it must give another one.
#
# With a network at hand, set `MODEL` to a larger model: names there are several tokens long, and the acronym may be one.

# %%

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

import circuitlab as cl

MODEL = "atlas"
model = cl.load(MODEL)
ACRONYM = "The National Digital Analytics Group ( N"
FACT = "fact : the sport of Michael Jordan is"
tokens = {prompt: model.top_tokens(prompt, n=1)["token"][0].strip() for prompt in (ACRONYM, FACT)}
assert list(tokens.values()) == ["D", "basketball"]
tokens

# %% [markdown]
# ## Acronyms
#
# Features of one letter stand at the word that it begins and, for the letter to be written next, at the end. We find them
# by contrast: names whose second word begins with that letter against names of all kinds.

# %%
WORDS = [
    "Analytics",
    "Arts",
    "Banking",
    "Biology",
    "Climate",
    "Culture",
    "Digital",
    "Defense",
    "Energy",
    "Education",
    "Federal",
    "Forest",
    "Global",
    "Group",
    "Health",
    "Heritage",
    "Language",
    "Labor",
    "Marine",
    "Medical",
    "National",
    "Nuclear",
    "Research",
    "Regional",
    "Science",
    "Society",
    "Trade",
    "Transport",
]
rng = np.random.default_rng(0)


def name(second):
    """The start of an acronym whose second word is given: all else by lot."""
    first, third, fourth = rng.choice(WORDS, 3, replace=False)
    return f"The {first} {second} {third} {fourth} ( {first[0]}"


told = {word: [name(word) for _ in range(12)] for word in WORDS}
everything = [prompt for prompts in told.values() for prompt in prompts]
letters = {
    letter: cl.contrast(
        model, [p for word in WORDS if word[0] == letter for p in told[word]], everything, clearer=5, places=[-5, -1]
    )
    for letter in sorted({word[0] for word in WORDS})
}
letters["D"]

# %%
graph = model.trace(ACRONYM, progress=False).prune(nodes=0.9, edges=0.98)
there = set(graph.nodes["id"])
n = len(graph.tokens)


def standing(concept, places):
    """Ids of a concept's nodes at some places from the end, those that are in the graph."""
    ids = [f"{layer}_{feature}_{n + place}" for layer, feature, place in concept.nodes if place in places]
    return [node for node in ids if node in there]


def token_ids(graph, *words):
    """Ids of the tokens that read so."""
    return graph.nodes["id"][(graph.nodes["kind"] == "token") & graph.nodes["token"].str.strip().isin(words)].tolist()


view = graph.view()
view.supernodes = {"begins with D": standing(letters["D"], [-5]), "say D": standing(letters["D"], [-1])}
view.pinned = [
    *token_ids(graph, "Digital", "("),
    *(node for ids in view.supernodes.values() for node in ids),
    graph.targets["id"].iloc[0],
]
graph

# %%
_, ax = plt.subplots(figsize=(7, 3.6), layout="constrained")
_ = graph.plot(ax=ax, view=view.view)

# %% [markdown]
# ### A test: another letter
#
# We put the features of another letter at the word, in place of its own. The word on the page stays; what should be written
# is the other letter. (Merely turning the letter's features down costs the letter too, but so do many other features of
# that word: see the end.)

# %%
tested = [name(word) for word in WORDS]
initials = [word[0] for word in WORDS]
others = [WORDS[(number + 9) % len(WORDS)][0] for number in range(len(WORDS))]
at_word = {letter: concept.within(places=[-5]) for letter, concept in letters.items()}
values = [cl.swapped(at_word[x], at_word[y], 1.5) for x, y in zip(initials, others, strict=True)]
runs = cl.intervene_each(model, tested, values)
controls = cl.random_matched(runs, {node for concept in at_word.values() for node in concept.nodes})
table = pd.DataFrame(
    {"letter": initials, "put in": others, "written then": cl.answers(runs), "random features": cl.answers(controls)},
    index=tested,
)
came = {column: (table[column] == table["put in"]).mean() for column in ("written then", "random features")}
assert came["written then"] >= 0.8
assert came["random features"] <= 0.15
print(came)
table.head(8)

# %% [markdown]
# ## Facts
#
# Now the sport of Michael Jordan. atlas knows 64 people, 16 first names with 16 last names, so neither name alone says who
# is meant. We find the features of "asks for the sport" and "asks for the country" by contrast, over other people.

# %%
PEOPLE = [
    "Serena Williams",
    "Lionel Messi",
    "Simone Biles",
    "Roger Federer",
    "Tiger Garcia",
    "Steffi Graf",
    "Usain Bolt",
]
RELATIONS = ["sport", "country", "club"]


def ask(relation, person):
    return f"fact : the {relation} of {person} is"


def asking(relation):
    """What the last word has read where this relation is asked, and not where another is."""
    others = [ask(other, person) for other in RELATIONS if other != relation for person in PEOPLE]
    return cl.contrast(model, [ask(relation, person) for person in PEOPLE], others, clearer=2, places=[-1]).within(
        layers=range(3)
    )


relations = {relation: asking(relation) for relation in RELATIONS}
fact = model.trace(FACT, progress=False).prune(nodes=0.9, edges=0.98)
there, n = set(fact.nodes["id"]), len(fact.tokens)
strong = fact.nodes[fact.nodes["kind"] == "feature"].nlargest(60, "influence")
asks = standing(relations["sport"], [-1])
at_name = [node for node in strong["id"][strong["pos"] == n - 2] if node not in asks]
say = strong["id"][(strong["pos"] == n - 1) & (strong["layer"] == 4)].tolist()
view = fact.view()
view.supernodes = {"asks for the sport": asks, "who it is": at_name, "say basketball": say}
view.pinned = [
    *token_ids(fact, "sport", "Michael", "Jordan"),
    *(node for ids in view.supernodes.values() for node in ids),
    fact.targets["id"].iloc[0],
]
fact

# %%
_, ax = plt.subplots(figsize=(7, 4), layout="constrained")
_ = fact.plot(ax=ax, view=view.view)

# %% [markdown]
# ### A test: the same person, another relation
#
# The features of "sport" out, those of "country" in. The name is left alone, so its country should come.

# %%
values = cl.swapped(relations["sport"], relations["country"])
asked = ["Michael Jordan", *PEOPLE]
runs = cl.intervene_each(model, [ask("sport", person) for person in asked], values)
controls = cl.random_matched(runs, {node for concept in relations.values() for node in concept.nodes})
table = pd.DataFrame(
    {
        "sport": [model.top_tokens(ask("sport", person), n=1)["token"][0].strip() for person in asked],
        "country": [model.top_tokens(ask("country", person), n=1)["token"][0].strip() for person in asked],
        "country put in": cl.answers(runs),
        "random features": cl.answers(controls),
    },
    index=asked,
)
hit = {column: (table[column] == table["country"]).mean() for column in ("country put in", "random features")}
assert hit["country put in"] >= 0.8
assert hit["random features"] <= 0.15
print(hit)
table

# %% [markdown]
# ## Exercise
#
# Ask for the club instead, or swap the other path: put another person's features, at the two names, in place of Michael
# Jordan's. Which answer comes?
#
# ## What holds on atlas and what does not
#
# `python -m bench.studies recall` measures it. Letters, in 120 names that training never saw: with another letter's features
# put at the word, that letter is written in 84.2% (random features never write it, though some lose the right one). Relations, for people on whom nothing was found
# or chosen: with another relation's features where the question ends, the answer is what holds of the same person there
# in all of 126 (random 0.0%). The other path: with the features of a name turned down at the name, another answer comes
# in 92.1% of 63 (random 0.0%), nearly always "I do not know".
#
# What does not hold as well: a letter's features turned around (55 nodes, −1 times their value) lose the letter in 92.5%,
# but random features of that word lose it in 10.0%, above our mark of 5%: most of what is active at a word tells which word
# it is. A relation turned down (38 nodes, −0.75 times) changes every answer, and random features 11.1% of them; merely
# switched off it changes about one in five. The name takes 158 nodes, nearly all that stand at its two words and are its
# own, so that row says that the person is there, not that a few features hold it.
