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
# # Does the same circuit add elsewhere?
#
# A journal founded in 1936 has reached volume 59: which year is it? Nobody wrote a plus sign. The papers found that the
# features for "something that ends in 6 plus something that ends in 9", known from plain sums, fire in such texts too,
# wherever two numbers are added unsaid. Here we find these features in `calc : 36 + 59 =` and look for them in the journal.
#
# With a network at hand, set `MODEL` to a larger model: there the numbers may stand in tables, references or prices, and
# the features that fire again are a smaller part of what is active.

# %%
from pathlib import Path
from tempfile import TemporaryDirectory

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from IPython.display import Image

import circuitlab as cl
from circuitlab.charts import plot_operands

MODEL = "atlas"
model = cl.load(MODEL)
CALC = "calc : {a} + {b} ="
JOURNAL = "journal : founded 19 {a} , volume {b} , year 19"
PROMPT = JOURNAL.format(a=36, b=59)
top = model.top_tokens(PROMPT, n=3)
assert top["token"][0].strip() == "95"
top

# %% [markdown]
# ## The table of last digits, found in sums
#
# By contrast: active where one number ends in 6 and the other in 9, clearly less where only one of them does. They stand
# at the second number, two tokens from the end of a sum.


# %%
def sums(a, b):
    """Plain sums of numbers from 10 to 99 that end in these digits, where digits are given."""
    return [
        CALC.format(a=x, b=y)
        for x in (range(10, 100) if a is None else range(10 + a, 100, 10))
        for y in (range(10, 100) if b is None else range(10 + b, 100, 10))
    ]


both, first, second = sums(6, 9), sums(6, None)[::7], sums(None, 9)[::7]
clear = [cl.contrast(model, both, against, clearer=1.2, places=[-2]) for against in (first, second)]
lookup = cl.Concept({node: value for node, value in clear[0].nodes.items() if node in clear[1].nodes}).within([3])
lookup

# %% [markdown]
# ## Do they fire in the journal?
#
# An operand plot shows a feature's activation for all pairs of numbers. We draw the features of the lookup twice, at the
# second number of plain sums and at the volume of a journal.

# %%
numbers = range(10, 50)


def plots(form, place):
    """Operand plots of the lookup's features at one place of a form, counted from the end."""
    pos = len(model.model.to_tokens(form.format(a=10, b=10))) + place
    return cl.operand_plots(model, form, [f"{layer}_{feature}_{pos}" for layer, feature, _ in lookup.nodes], numbers)


VOLUME = -4
in_sums, in_journals = plots(CALC, -2), plots(JOURNAL, VOLUME)
alike = [np.corrcoef(x.ravel(), y.ravel())[0, 1] for x, y in zip(in_sums, in_journals, strict=True)]
kinds = pd.Series([cl.operand_kind(plot, numbers).kind for plot in in_journals]).value_counts()
assert np.median(alike) > 0.8
print(f"{len(alike)} features; correlation of their plots in sums and in journals: median {np.median(alike):.2f}")
kinds

# %%
shown = np.argsort([-value for value in lookup.nodes.values()])[:8]
names = [f"L{layer}/{feature}" for layer, feature, _ in lookup.nodes]
page = plot_operands(
    np.concatenate([in_sums[shown], in_journals[shown]]),
    [names[i] for i in shown] * 2,
    ["sums"] * len(shown) + ["journals"] * len(shown),
    columns=8,
)
with TemporaryDirectory() as folder:
    page.savefig(Path(folder) / "elsewhere.pdf")
    page.savefig(Path(folder) / "elsewhere.png", dpi=130)
    picture = Image(Path(folder) / "elsewhere.png")
picture

# %% [markdown]
# ## The journal's graph
#
# The same features, in the graph of the journal. They stand at the volume and feed what writes the year.

# %%
graph = model.trace(PROMPT, progress=False)
at_volume = len(model.model.to_tokens(PROMPT)) + VOLUME
there = set(graph.nodes["id"])
group = [f"{layer}_{feature}_{at_volume}" for layer, feature, _ in lookup.nodes]
group = [node for node in group if node in there]
top_features = graph.nodes[graph.nodes["kind"] == "feature"].nlargest(60, "influence")
digit_ids = top_features[top_features["label"].isin(["_6", "_9"])]
last = top_features[(top_features["pos"] == at_volume - VOLUME - 1) & (top_features["layer"] == graph.n_layers - 1)]
view = graph.view()
view.supernodes = {
    "_6": digit_ids["id"][digit_ids["label"] == "_6"].tolist(),
    "_9": digit_ids["id"][digit_ids["label"] == "_9"].tolist(),
    "_6 + _9, as in sums": group,
    "say the year": last["id"].tolist(),
}
words = graph.nodes.query("kind == 'token' and token in [' 36', ' 59', '36', '59']")["id"].tolist()
view.pinned = [*words, *(node for ids in view.supernodes.values() for node in ids), graph.targets["id"].iloc[0]]
graph

# %%
_, ax = plt.subplots(figsize=(8, 4.2), layout="constrained")
_ = graph.plot(ax=ax, view=view.view)

# %% [markdown]
# ## A test: another last digit for the volume
#
# If the journal reads last digits as sums do, the features of a last digit found in sums must work here. We take those of
# the volume's last digit out and put another digit's in, and read the year.

# %%
rng = np.random.default_rng(1)
everything = [CALC.format(a=a, b=b) for a, b in rng.integers(10, 100, size=(300, 2)).tolist()]
digits = {}
for digit in range(10):
    found = cl.contrast(model, sums(None, digit)[::14], everything, clearer=5, places=[-2])
    digits[digit] = cl.Concept({(layer, feature, VOLUME): x for (layer, feature, _), x in found.nodes.items()})
journals = [(36, 59), (14, 23), (25, 41), (47, 38), (52, 16), (33, 44), (61, 27), (18, 75), (29, 32), (40, 37)]
into = [(b + 3) % 10 for _, b in journals]
prompts = [JOURNAL.format(a=a, b=b) for a, b in journals]
values = [cl.swapped(digits[b % 10], digits[d], 1.5) for (_, b), d in zip(journals, into, strict=True)]
runs = cl.intervene_each(model, prompts, values)
controls = cl.random_matched(runs, {node for concept in digits.values() for node in concept.nodes})
table = pd.DataFrame(
    {
        "year": [a + b for a, b in journals],
        "volume made to end in": into,
        "last digit expected": [(a + d) % 10 for (a, _), d in zip(journals, into, strict=True)],
        "year then": cl.answers(runs),
        "random features": cl.answers(controls),
    },
    index=[f"{a}, volume {b}" for a, b in journals],
)
table

# %%
follows = pd.to_numeric(table["year then"]) % 10 == table["last digit expected"]
by_chance = pd.to_numeric(table["random features"]) % 10 == table["last digit expected"]
assert follows.mean() >= 0.8
assert by_chance.mean() <= 0.1
follows.mean(), by_chance.mean()

# %% [markdown]
# ## Exercise
#
# atlas also reads `{a} plus {b} makes`. Where do the lattices stand in that form, and does the same swap work there?
#
# ## What holds on atlas and what does not
#
# `python -m bench.studies elsewhere` does this for 60 journals whose sum training never saw. At least three quarters of
# the lookup's features fire again at the volume in 98.3% (on average 93% of them; of the lookups of other digits 17%, and
# three quarters in 0.6%). With the features of another last digit, found in sums, put at the volume, the year's last digit
# follows and its ten stays within one in 93.3%, with random features of the same size in none.
#
# What it does not show: atlas was taught journals in one form, and writes every number as one token. That the
# lookup fires in both forms it was trained on, and that a digit found in sums works in both, is shown; that the lookup makes
# the journal's year is not (silence it at the volume to see), nor that it serves texts of new kinds, as in the papers.
