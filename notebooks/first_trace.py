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
# # A first trace
#
# Which parts of a language model answer a question that takes two steps? *Dallas* is in Texas, the capital of Texas is
# Austin; the prompt names neither Texas nor Austin. We trace it on atlas, the small model that comes with circuitlab.

# %%
from pathlib import Path
from tempfile import TemporaryDirectory

import matplotlib.pyplot as plt

import circuitlab as cl

model = cl.load()
PROMPT = "fact : the capital of the state containing Dallas is"
model.top_tokens(PROMPT, n=3)

# %% [markdown]
# `probability` is the model's; `replacement` is what the model says when all its MLPs are replaced by the transcoder.
#
# ## The graph
#
# Words stand at the bottom, the answer at the top, features in between by layer. Hover over a node to see its edges, click
# it for its inputs and outputs, type into the search field, move the thresholds. Shift holds what is hovered, Escape lets
# go of everything.

# %%
graph = model.trace(PROMPT)
graph

# %% [markdown]
# Every edge is the exact linear effect of one node on another, with attention and normalisation held fixed. So the edges
# into a node add up to its pre-activation, which can be checked:

# %%
check = graph.check()
check.attrs["worst"]

# %%
assert check.attrs["worst"] < 1e-4

# %% [markdown]
# ## The strongest paths
#
# A path's contribution is the part of the answer's logit that runs along it.

# %%
paths = graph.paths(5)
for text in paths["text"]:
    print(text)

# %% [markdown]
# A path has a sign and counts one feature at each step: the two strongest lower the answer, though their feature is labelled
# *say a capital*, and the third runs through one labelled *Lopez*. A label tells where a feature is on, not what it does here
# (see `limits`).

# %%
answer = graph.targets.iloc[0]
assert answer["token"].strip() == "Austin"

# %% [markdown]
# ## How much of it can be believed?
#
# *Replacement* is the share of influence that comes from the words rather than from the transcoder's errors;
# *completeness* the share of each node's input that is not error.

# %%
graph.scores()

# %% [markdown]
# ## A flowchart
#
# Features with the same meaning make a group. In the widget: pin nodes, hold G and click them, type a name. From Python it
# is the same state, and what one does shows in the other. Which features belong together can be read off other prompts:
# what questions about other cities of Texas have, and those about cities of other states have not, is Texas.

# %%
FORM = "fact : the {} of the state containing {} is"
TEXAS = ["Houston", "Rockport", "Hartley", "Oakfield", "Bradhaven"]
OTHERS = ["Stanford", "Riverside", "Dalton", "Brookhaven", "Lakewood", "Clifton", "Ashville", "Ashland", "Milton"]
capitals = [FORM.format("capital", city) for city in TEXAS + OTHERS]
rivers = [FORM.format("river", city) for city in TEXAS + OTHERS]
in_texas, elsewhere = capitals[: len(TEXAS)], capitals[len(TEXAS) :]
texas = cl.contrast(model, in_texas, elsewhere, clearer=4, places=[-2]).strongest(model, 8)
say_a_capital = cl.contrast(model, capitals, rivers, clearer=4, places=[-1]).strongest(model, 8)


def here(concept):
    """Ids of a concept's nodes in the graph; places are counted from the end."""
    ids = [f"{layer}_{feature}_{len(graph.tokens) + place}" for layer, feature, place in concept.nodes]
    return [node for node in ids if node in set(graph.nodes["id"])]


words = graph.nodes[graph.nodes["token"].isin([" capital", " Dal", "las"]) & (graph.nodes["kind"] == "token")]
view = graph.view()
view.supernodes = {"Texas": here(texas), "say a capital": here(say_a_capital)}
view.pinned = [*words["id"], *view.supernodes["Texas"], *view.supernodes["say a capital"], answer["id"]]
view.positions = {"Texas": (0.75, 0.5), "say a capital": (0.25, 0.38), answer["id"]: (0.48, 0.06)}
_, ax = plt.subplots(figsize=(7.2, 4.7), layout="constrained")
_ = graph.plot(ax=ax, view=view.view)

# %% [markdown]
# ## A test
#
# A graph is a hypothesis. If the Texas features carry the state, turning them around must cost the answer, and putting
# California's in their place must give its capital. Random features of the same size are the control.

# %%
run = model.intervene(PROMPT, {"Texas": -1.0}, supernodes=view.supernodes)
run.top_tokens(4)

# %%
verdict = run.verdict()
verdict

# %%
assert run.top_tokens().set_index("token")["after"].idxmax().strip() != "Austin"

# %% [markdown]
# Some features have a label in the bundled store, and a label can be named in place of a group. "Texas" takes all that
# are labelled so, also with a "(?)" (a label that does not beat a random dictionary). It is a weaker group, but enough:

# %%
by_label = model.intervene(PROMPT, {"Texas": -1.0}, freeze_attention=False, freeze_norms=False)
print(by_label.top_tokens(2).to_string(index=False))

# %%
assert by_label.top_tokens().set_index("token")["after"].idxmax().strip() != "Austin"

# %% [markdown]
# And California in the place of Texas:

# %%
CALIFORNIA = ["Stanford", "Riverside", "Glendale", "Winham", "Greenton"]
in_california = [FORM.format("capital", city) for city in CALIFORNIA]
california = cl.contrast(model, in_california, in_texas, clearer=4, places=[-2]).strongest(model, 8)
[swap] = cl.intervene_each(model, [PROMPT], cl.swapped(texas, california, 1.5))
swap.top_tokens(4)

# %%
_, ax = plt.subplots(figsize=(9, 4), layout="constrained")
_ = swap.plot(ax=ax)

# %%
assert swap.top_tokens().set_index("token")["after"].idxmax().strip() == "Sacramento"

# %% [markdown]
# ## Drag
#
# The same by hand: pull "Texas" below zero and watch the answer go.

# %%
sliders = cl.InterventionSliders(model, graph, session=view.session)
sliders

# %% [markdown]
# ## What a feature stands for
#
# The dashboard follows the node clicked in the graph above.

# %%
dashboard = cl.FeatureDashboard(model.features, session=view.session)
dashboard

# %% [markdown]
# ## Figures and pages
#
# `graph.savefig` writes PDF, SVG, PNG and PGF, `graph.to_html` a page that stays interactive without a kernel.

# %%
with TemporaryDirectory() as folder:
    figure = graph.savefig(Path(folder) / "dallas.pdf", width="single-column", view=view.view)
    page = graph.to_html(Path(folder) / "dallas.html")
    print(f"{figure.name}: {figure.stat().st_size / 1000:.0f} kB, {page.name}: {page.stat().st_size / 1000:.0f} kB")

# %% [markdown]
# ## Exercise
#
# Trace `calc : 36 + 59 =` and look at the features at `59`. Which of them would you expect to see again in
# `calc : 76 + 19 =`?
