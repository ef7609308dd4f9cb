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
# # From a graph to a figure in a paper
#
# A traced graph has a thousand nodes; a figure in a column of 89 mm has room for ten. Between them lie four steps:
# prune, group, arrange, and write the file in the form and width that the journal wants, with the numbers of the
# caption taken from the graph and not from memory.

# %%
import hashlib
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import matplotlib.pyplot as plt
from IPython.display import Image

import circuitlab as cl

MODEL = "atlas"
model = cl.load(MODEL)
FORM = "fact : the capital of the state containing {} is"
PROMPT = FORM.format("Dallas")
graph = model.trace(PROMPT)
scratch = TemporaryDirectory()
folder = Path(scratch.name)
print(f"{graph.counts[0]} nodes, {graph.counts[1]:,} edges")

# %% [markdown]
# **With a network** set `MODEL` to a real one with its transcoder; graphs are larger, and `graph.prune(nodes=0.6)` is
# often where reading begins. All else is the same.
#
# ## 1. The whole graph, pruned
#
# Without a view `savefig` draws the whole graph, pruned until it can be read at this width.

# %%
whole = graph.savefig(folder / "whole.png", width="double-column", dpi=150)
Image(whole)

# %% [markdown]
# ## 2. Group
#
# A supernode is a name and some nodes. They can be made by hand in the widget (hold G and click), by label, or, as
# here, by what some prompts have and others have not.


# %%
def ids(concept):
    """Ids of a concept's nodes in this graph."""
    found = [f"{layer}_{feature}_{len(graph.tokens) + place}" for layer, feature, place in concept.nodes]
    return [node for node in found if node in set(graph.nodes["id"])]


texan = [FORM.format(city) for city in ("Houston", "Rockport", "Hartley", "Oakfield", "Bradhaven")]
others = [
    FORM.format(city) for city in ("Stanford", "Riverside", "Dalton", "Lakewood", "Clifton", "Ashville", "Ashland")
]
rivers = [prompt.replace("capital", "river") for prompt in texan + others]
texas = ids(cl.contrast(model, texan, others, clearer=4, places=[-2]))
austin = ids(cl.contrast(model, texan, others, places=[-1]))
capital = [node for node in ids(cl.contrast(model, texan + others, rivers, places=[-1])) if node not in austin]
groups = {"Texas": texas, "say a capital": capital, "say Austin": austin}
print({name: len(members) for name, members in groups.items()})
assert all(len(members) >= 3 for members in groups.values())

# %% [markdown]
# Pinned nodes and supernodes make the figure; what is neither is left out, and its edges with it. The same state is
# what the widget shows: `graph.view()` in a cell of its own has the same fields, set by dragging and clicking, and
# `graph.view().view` is then the view to draw.

# %%
words = graph.nodes[(graph.nodes["kind"] == "token") & graph.nodes["pos"].isin([4, 9, 10])]
answer = graph.targets["id"].iloc[0]
view = cl.View(
    pinned=[*words["id"], *(node for members in groups.values() for node in members), answer], supernodes=groups
)
print(words["token"].tolist())
assert words["token"].str.strip().tolist() == ["capital", "Dal", "las"]

# %% [markdown]
# ## 3. Style and width
#
# `width` is "single-column" (89 mm), "double-column" (183 mm), or millimetres; text keeps its size in points, so look
# at the figure at its real size. Colours are safe for colour-blind readers, and negative edges are dashed as well.

# %%
column = graph.savefig(folder / "column.png", width="single-column", view=view, dpi=200)
Image(column, width=440)

# %%
wide = graph.savefig(
    folder / "wide.png",
    width="double-column",
    view=view,
    dpi=150,
    title="Dallas → Texas → Austin",
    font_size=9,
    max_edges=9,
)
Image(wide)

# %% [markdown]
# Where a box should stand is a matter of taste, and of the text around it. `positions` takes x and y from 0 to 1, y
# downwards; what has none stays where layer and token put it.

# %%
places = {"Texas": (0.72, 0.52), "say a capital": (0.25, 0.52), "say Austin": (0.48, 0.27), answer: (0.48, 0.04)}
view = replace(view, positions=places)
placed = graph.savefig(folder / "placed.png", width=120, view=view, dpi=180)
Image(placed, width=560)

# %% [markdown]
# ## 4. As a panel
#
# `graph.plot(ax=…)` draws into axes of your own, beside other panels of the same figure.

# %%
run = model.intervene(PROMPT, {"Texas": -1.0}, supernodes=groups, freeze_attention=False, freeze_norms=False)
figure, (left, right) = plt.subplots(1, 2, figsize=(8.6, 3.6), width_ratios=(1.8, 1), layout="constrained")
graph.plot(ax=left, view=view)
top = run.top_tokens(4)
right.barh(top["token"].str.strip(), top["before"], height=0.36, align="edge", color="#c5cbd5", label="as it is")
right.barh(top["token"].str.strip(), top["after"], height=-0.36, align="edge", color="#1f6fb5", label="Texas × −1")
right.set(xlim=(0, 1), xlabel="probability")
right.invert_yaxis()
right.legend(frameon=False, loc="lower right")
for name, axes in zip("ab", (left, right), strict=True):
    axes.set_title(name, loc="left", fontweight="bold")
figure.savefig(folder / "panels.pdf")

# %% [markdown]
# ## 5. Files
#
# SVG with real text, PDF with embedded TrueType, PGF for LaTeX (written without LaTeX), PNG for slides. The same graph
# and options give the same bytes, so a figure under version control changes when its content does.

# %%
written = {}
for ending in ("pdf", "svg", "pgf", "png"):
    path = graph.savefig(folder / f"dallas.{ending}", width="single-column", view=view)
    written[ending] = path.read_bytes()
    print(f"{path.name}: {len(written[ending]) / 1000:.0f} kB")
again = graph.savefig(folder / "again.pdf", width="single-column", view=view).read_bytes()
assert hashlib.sha256(again).digest() == hashlib.sha256(written["pdf"]).digest()
assert b"Texas" in written["svg"]
assert b"Texas" in written["pgf"]

# %% [markdown]
# ## 6. The caption
#
# What a reader needs to judge the figure: what was left out, how much is error, and whether an intervention bears it
# out.

# %%
scores, pruned = graph.scores(), graph.prune(nodes=0.8, edges=0.98)
edges = cl.group(graph, view).edges.set_index(["source", "target"])["weight"]
drawn = sum(len(members) for members in groups.values())
verdict = run.verdict()
after = run.top_tokens(1, by="after")
caption = (
    f"Attribution graph of “{PROMPT}” → {graph.targets['token'].iloc[0].strip()} "
    f"(probability {graph.targets['probability'].iloc[0]:.3f}). {drawn} of {graph.counts[0]} nodes are shown, in "
    f"{len(groups)} supernodes; replacement score {scores.replacement:.2f}, completeness {scores.completeness:.2f} "
    f"(after pruning to 80% of influence, {pruned.counts[0]} nodes: {pruned.scores().replacement:.2f}, "
    f"{pruned.scores().completeness:.2f}). Texas adds {edges['Texas', 'say Austin']:.1f} to say Austin. With Texas at −1 "
    f"times its value the answer is {after['token'].iloc[0].strip()}; "
    f"with random features of the same size it changes in {verdict.controls_changed:.0%} of {len(verdict.controls)} controls."
)
print(caption)
assert edges["Texas", "say Austin"] > 0
assert verdict.top_changed

# %% [markdown]
# Keep the graph beside the figure: `save` writes groups, pins and places into it, and whoever opens it sees what you
# drew.

# %%
graph.arrange(view).save(folder / "dallas.json")
kept = cl.View.of(cl.Graph.open(folder / "dallas.json"))
assert set(kept.supernodes) == set(groups)
scratch.cleanup()

# %% [markdown]
# ## Exercise
#
# Draw `calc : 36 + 59 =` for a single column: which two groups at the end would you name, and what does the caption
# have to say about what the figure leaves out?
