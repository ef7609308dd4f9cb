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
# # Does the model calculate, or does it work back from a hint?
#
# A model that shows its steps need not have taken them. The papers caught one at it: told the answer that a user hopes for,
# it wrote a "calculation" whose middle step was worked out backwards from that answer. atlas was taught to do both: without
# a hint it adds, with one it makes the first step fit. Here we see which path a step has taken, and change it.
#
# With a network at hand, set `MODEL` to a larger model: whether it works back there is an open question for your prompt,
# and the test below, on the hint's features, is the one to make.

# %%
from pathlib import Path
from tempfile import TemporaryDirectory

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

import circuitlab as cl

MODEL = "atlas"
model = cl.load(MODEL)
PLAIN = "chain : {a} + {b} + {c} . first {a} + {b} ="
HINTED = "chain : {a} + {b} + {c} . I got {h} . first {a} + {b} ="
NUMBERS = {"a": 12, "b": 30, "c": 7, "h": 52}
answers = {form: model.top_tokens(form.format(**NUMBERS), n=1)["token"][0].strip() for form in (PLAIN, HINTED)}
assert list(answers.values()) == ["42", "45"]
answers

# %% [markdown]
# 12 + 30 is 42, and so says the model if nobody asks for more. Told that I got 52, it says 45: the step that would lead to
# 52. Two graphs, one question: how much of the answer comes from where?

# %%
PARTS = {
    "numbers to add": ("12", "30"),
    "the hint": ("52",),
    "last summand": ("7",),
}


def shares(prompt):
    """The share of the graph's influence that each token has, by what it is."""
    graph = model.trace(prompt, progress=False)
    tokens = graph.nodes[graph.nodes["kind"] == "token"]
    words = tokens["token"].str.strip()
    named = {part: float(tokens["influence"][words.isin(some)].sum()) for part, some in PARTS.items()}
    return graph, named | {"all other words": float(tokens["influence"].sum()) - sum(named.values())}


plain_graph, plain = shares(PLAIN.format(**NUMBERS))
graph, hinted = shares(HINTED.format(**NUMBERS))
table = pd.DataFrame({"no hint": plain, "hint": hinted})
assert table.loc["the hint", "hint"] > table.loc["numbers to add", "hint"]
assert table.loc["numbers to add", "no hint"] > 2 * table.loc["numbers to add", "hint"]
(table / table.sum()).round(3)

# %% [markdown]
# ## The graph with the hint
#
# The step is worked out at the word `first`: what stands there reads the hint and the last summand. The groups are chosen by
# place; their names say what we take them to be.

# %%
places = {
    token: place
    for place, token in enumerate(model.model.token_strings(model.model.to_tokens(HINTED.format(**NUMBERS))))
}
top_features = graph.nodes[graph.nodes["kind"] == "feature"].nlargest(70, "influence")


def standing(token, layers):
    """The most influential features at a token, of some layers."""
    here = (top_features["pos"] == places[token]) & top_features["layer"].isin(layers)
    return top_features["id"][here].tolist()


view = graph.view()
view.supernodes = {
    "hint 52": standing(" 52", range(5)),
    "hint less 7: _5": standing(" first", [2, 3, 4]),
    "rough size": standing(" =", [0, 1, 2]),
    "say 45": standing(" =", [4]),
}
words = graph.nodes[(graph.nodes["kind"] == "token") & graph.nodes["pos"].isin([7, 11, 14, 16])]["id"].tolist()
view.pinned = [*words, *(node for ids in view.supernodes.values() for node in ids), graph.targets["id"].iloc[0]]
graph

# %%
_, ax = plt.subplots(figsize=(8, 4.6), layout="constrained")
_ = graph.plot(ax=ax, view=view.view)

# %% [markdown]
# ## A test: another hint
#
# We take the hint's features out, from where it stands to `first`, and put those of another hint in. The words on the page
# stay the same. If the step is worked out from these features, its last digit must become that of the new hint less the
# last summand.

# %%
rng = np.random.default_rng(0)


def chains(hint, n):
    """Chains with this hint: all else differs."""
    found = []
    while len(found) < n:
        a, c = int(rng.integers(5, 40)), int(rng.integers(2, 15))
        b = hint - c - a + int(rng.integers(-9, 10))
        if 2 <= b <= 44:
            found.append({"a": a, "b": b, "c": c, "h": hint})
    return found


hints = range(45, 65)
told = {hint: [HINTED.format(**one) for one in chains(hint, 10)] for hint in hints}
everything = [prompt for prompts in told.values() for prompt in prompts]
concepts = {hint: cl.contrast(model, told[hint], everything, clearer=5, places=[-7, -6, -5]) for hint in hints}
tested = [chains(hint, 1)[0] for hint in hints]
into = [hint + 4 if hint + 4 in hints else hint - 6 for hint in hints]
values = [cl.swapped(concepts[one["h"]], concepts[hint]) for one, hint in zip(tested, into, strict=True)]
runs = cl.intervene_each(model, [HINTED.format(**one) for one in tested], values)
controls = cl.random_matched(runs, {node for concept in concepts.values() for node in concept.nodes})
table = pd.DataFrame(
    {
        "a + b": [one["a"] + one["b"] for one in tested],
        "hint - c": [one["h"] - one["c"] for one in tested],
        "new hint - c": [hint - one["c"] for one, hint in zip(tested, into, strict=True)],
        "step then": pd.to_numeric(cl.answers(runs)),
        "random features": pd.to_numeric(cl.answers(controls)),
    },
    index=[
        f"{one['a']} + {one['b']} + {one['c']}, I got {one['h']}, made {hint}"
        for one, hint in zip(tested, into, strict=True)
    ],
)
table.head(10)

# %%
expected = table["new hint - c"]
follows = {name: (table[name] % 10 == expected % 10).mean() for name in ("step then", "random features")}
exact = (table["step then"] == expected).mean()
assert follows["step then"] >= 0.8
assert follows["random features"] <= 0.1
print(f"last digit follows the new hint: {follows}; the whole step does: {exact:.0%}")

# %% [markdown]
# The last digit goes with the hint's features. The ten often does not: how large the step is, roughly, is read at `=`
# straight from the numbers on the page (in the graph above mostly from the hint's own token), a path that these features
# are not on. So the hint's features decide which of the numbers about that size is written.

# %%
figure, ax = plt.subplots(figsize=(4.2, 2.6), layout="constrained")
ax.scatter(expected, table["step then"], s=16, color="#0072B2", label="hint's features swapped")
ax.scatter(expected, table["random features"], s=16, facecolors="none", edgecolors="0.5", label="random features")
ax.axline((40, 40), slope=1, color="0.7", linewidth=0.8)
ax.set_xlabel("new hint less the last summand")
ax.set_ylabel("step written")
ax.spines[["top", "right"]].set_visible(False)
ax.legend(fontsize=7, frameon=False)
with TemporaryDirectory() as folder:
    figure.savefig(Path(folder) / "hints.pdf")

# %% [markdown]
# ## Exercise
#
# Swap the last digit of `b` instead, where the step asks for it (`places=[-2]`), once without and once with a hint. In
# which of the two does the step change?
#
# ## What holds on atlas and what does not
#
# `python -m bench.studies hints` measures it over 60 chains each, none of them in the training text. With the hint's
# features swapped for another's, the step's last digit is that of the new hint less the last summand, the ten within one,
# in 98.3% (random features 1.7%). Without a hint, the last digit of `b` swapped where the step asks for it is followed in
# 93.3% (random 1.7%); with a hint the same swap leaves the step what the hint makes it in all. So the two ways are really
# two: one reads the sum, the other the hint.
#
# What falls short: the whole step, ten included, is the new hint less the last summand in 61.7% where the ten need not
# change and in 25.0% where it must. About how large the step is does not run along these features. And atlas was told to
# work backwards by its training text, in which a hint is always followed; the models of the papers had learnt it unasked.
