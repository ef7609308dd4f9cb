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
# # Is this graph true?
#
# An attribution graph is exact for the *local replacement model*: the transcoder in place of the MLPs, attention and
# norms held fixed. Whether the model itself works so is a hypothesis. This notebook goes through the questions to ask
# of a graph before its story is told, cheap ones first, and says what each number means and what it does not.

# %%
import matplotlib.pyplot as plt
import pandas as pd

import circuitlab as cl

MODEL = "atlas"
model = cl.load(MODEL)
PROMPT = "fact : the capital of the state containing Dallas is"
graph = model.trace(PROMPT)
graph

# %% [markdown]
# **With a network**: `cl.load("google/gemma-2-2b", "mntss/clt-gemma-2-2b-426k")`, `max_features=4000`, and a prompt of
# your own. Expect a replacement score of 0.3 to 0.8 and rank correlations around the paper's 0.72; what is below needs
# no change.
#
# ## 1. Do the numbers add up?
#
# The edges into a node, constants included, add up to its pre-activation. `check` says by how much the worst node
# misses, as a share of the largest pre-activation. This tests the arithmetic and nothing else: a graph of a bad
# transcoder adds up just as well, its errors being nodes like any other.

# %%
worst = graph.check().attrs["worst"]
print(f"sums miss by {worst:.1e} at most")
assert worst < 1e-4

# %% [markdown]
# ## 2. How much of it is features, how much is error?
#
# *Replacement*: the share of influence on the answer that begins at words and not at errors. *Completeness*: the share
# of what nodes take in that is no error. Near 1 the transcoder saw what the model does; at 0.5 half of the story is in
# nodes that nobody can read. Neither says that the features mean what their labels say. `replacement` in `top_tokens`
# is a different question, and a harder one: what all layers replaced at once would answer.

# %%
scores = graph.scores()
print(scores)
print(model.top_tokens(PROMPT, n=3).to_string(index=False))
assert scores.replacement > 0.7
assert scores.completeness > 0.9

# %% [markdown]
# Pruning leaves fewer nodes to look at. What it drops is still there: compare the scores before the pruned graph
# becomes the figure.

# %%
small = graph.prune(nodes=0.8, edges=0.98)
print(f"{graph.counts[0]} nodes → {small.counts[0]}, {graph.counts[1]:,} edges → {small.counts[1]:,}: {small.scores()}")
assert small.counts[0] < graph.counts[0] / 3

# %% [markdown]
# ## 3. Does what the graph foretells happen?
#
# `validate` takes the most influential features out of the *model*, one at a time, and compares every change two layers
# up or more with what the graph foretold along its paths (one layer up is the edge itself, exact by construction).

# %%
report = graph.validate(model, n_features=12)
report

# %%
assert report.spearman_pooled > 0.7
assert abs(sum(report.explained.values()) - 1) < 1e-6

# %%
axes = report.plot()
axes[0].get_figure().set_size_inches(8, 3.2)

# %% [markdown]
# Three things to read off:
#
# * *Spearman, all effects*: does the graph order the effects rightly? It is dominated by the large ones.
# * *normalised error*: are they of the right size? Here a third is missed: a feature that is silenced
#   changes which others are active, and a linear account cannot follow that.
# * *Spearman of influence and KL*: is what the graph calls influential what the answer depends on? Influence counts
#   paths without their signs, and a model has spare ways to the same answer. Never quote influence as importance.
#
# The same with attention and norms live tests what a graph leaves out by construction:

# %%
live = graph.validate(model, n_features=12, freeze_attention=False, freeze_norms=False)
kinds = {"attention and norms frozen": report, "live": live}
table = pd.DataFrame(
    {
        name: {
            "Spearman, all effects": r.spearman_pooled,
            "Spearman, one feature at a time": r.spearman,
            "Spearman of influence and KL": r.influence_spearman,
        }
        for name, r in kinds.items()
    }
)
table.round(2)

# %%
assert live.spearman_pooled < report.spearman_pooled

# %% [markdown]
# ## 4. Does the story hold?
#
# The claim of a figure is about groups: "the features at *las* that Texas's cities share carry the state". Say it as an
# intervention with an outcome that could fail to come, then do it, and do the same to random features of the same place
# and size. Find the group on other prompts than the one that you test it on.

# %%
FORM = "fact : the capital of the state containing {} is"
TEXAS = ["Houston", "Rockport", "Hartley", "Oakfield", "Bradhaven"]
OTHERS = [
    "Stanford",
    "Riverside",
    "Dalton",
    "Brookhaven",
    "Lakewood",
    "Clifton",
    "Ashville",
    "Ashland",
    "Milton",
    "Stanley",
]
texas = cl.contrast(model, map(FORM.format, TEXAS), map(FORM.format, OTHERS), clearer=4, places=[-2]).strongest(
    model, 8
)
[run] = cl.intervene_each(model, [PROMPT], texas.times(-1))
run.top_tokens(4)

# %%
verdict = run.verdict(n_controls=40)
verdict

# %%
assert verdict.top_changed
assert verdict.p < 0.05
assert verdict.matched > 0.9

# %% [markdown]
# `p` is the share of controls with at least that effect (this run counted in), so with 40 controls it can not go below
# 1/41. `stands_out` compares with the median control. `matched` says whether the controls write as much as the
# intervention does: where few others are active they can not, and then nothing is said to stand out. The dose curve
# asks whether half the change has part of the effect; a jump at one dose only is a sign that the model left what it
# knows.

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3), layout="constrained")
left.plot(verdict.dose["dose"], verdict.dose["probability"], "o-", color="#1f6fb5")
left.set(xlabel="share of the change", ylabel="probability of Austin", ylim=(0, 1.05), title="dose")
right.hist(verdict.controls["effect"], bins=15, color="#c5cbd5", label="40 random controls")
right.axvline(verdict.effect, color="#d8690f", label="the features of Texas")
right.set(xlabel="effect on the answer (nats)", ylabel="controls", title="against chance")
_ = right.legend(frameon=False)

# %% [markdown]
# ## 5. How large a claim?
#
# * One prompt proves little: repeat over prompts that the group was not found on, and report the share, as
#   `python -m bench.studies` does for every case study, with the random control beside it.
# * An effect shows that the features *matter*, not that they mean what you call them. Swapping in another state's
#   features, which gives that state's capital (`two_hop`), says far more than breaking the answer.
# * No effect does not show that features are idle: a second path may stand in for the first. Silence both.
# * All of it is about this prompt and this model. `limits` shows graphs that mislead.
#
# ## Exercise
#
# In section 4 the answer goes between a quarter and a half of the change. Which multiple of its value does a feature
# have at one half? Run it with that multiple: what does −1 add, and which of the two would you put into a paper?
