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
# # Can I train a transcoder of my own?
#
# Yes, on a laptop, for a small model. A cross-layer transcoder (CLT) learns to rebuild every MLP output from few
# features: for all layers `‖ŷ − y‖²` plus something that keeps features few. Here one is trained on atlas in half a
# minute, beside the bundled one, to see which numbers tell a poor transcoder from a good one, and what a graph looks
# like that stands on the poorer.

# %%
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

import matplotlib.pyplot as plt
import pandas as pd
import torch

import circuitlab as cl
from circuitlab.atlas.labels import sample_sentences
from circuitlab.training import evaluate, load_tokens

MODEL = "atlas"
model = cl.load(MODEL)
PROMPT = "fact : the capital of the state containing Dallas is"
torch.manual_seed(0)
scratch = TemporaryDirectory()

# %% [markdown]
# **With a network**: `cl.load_model("gpt2")`, some millions of tokens of text (a .txt, .jsonl or .parquet file, or a
# data set's name on the hub), `TrainingConfig(minutes=60, n_features=8192)` and a GPU. Expect an explained variance of
# 0.6 to 0.8 after an hour. On the command line: `circuitlab train --model gpt2 --minutes 60`.
#
# ## Text and settings
#
# `activation="batchtopk"` keeps, over a batch, k features a position on average; the threshold that does so is measured
# at the end and saved, so that what is saved is a JumpReLU transcoder. 256 features a layer and 300 steps are few (the
# bundled one has 2,560 a layer): how far do they carry?

# %%
TEXTS = [sentence.text for sentence in sample_sentences(3000, seed=3)]
Random(0).shuffle(TEXTS)
config = cl.TrainingConfig(
    kind="clt", n_features=256, k=16, steps=300, batch_size=256, warmup=20, n_tokens=100_000, sequence_length=32
)
result = cl.train(model.model, config, TEXTS, out=Path(scratch.name) / "mine", progress=False)
print(f"{result.steps} steps in {result.seconds:.0f} s")
print(result.metrics)

# %% [markdown]
# *Explained variance*: how much of each layer's MLP output is rebuilt. *L0*: active features per position; without it
# the first number says nothing, since many features explain anything. *Dead*: features that this text never activates.
# And the number that counts: with all MLPs replaced at once, in what share of positions is the likeliest token the
# model's?

# %%
metrics = result.metrics
assert metrics.explained_variance > 0.8
assert metrics.l0 < 32

# %% [markdown]
# These are numbers on held-out text of the same source, and say no more than that. (The same settings on texts that are
# not shuffled see the first few kinds of sentence only: 94% agreement on their own held-out text, 35% on all kinds.)
# The bundled one beside it, on another sample:

# %%
held_out = load_tokens(model.model, config, [sentence.text for sentence in sample_sentences(600, seed=4)])
bundled, mine = (evaluate(model.model, which, held_out) for which in (model.transcoder, result.transcoder))
table = pd.DataFrame(
    {
        name: [m.explained_variance, m.l0, m.dead, m.top1_agreement, m.kl]
        for name, m in (("half a minute", mine), ("bundled", bundled))
    },
    index=["explained variance", "active features", "dead features", "top-1 agreement", "KL (nats)"],
)
table.round(3)

# %%
assert mine.explained_variance < bundled.explained_variance
assert mine.top1_agreement < bundled.top1_agreement
assert mine.kl > 3 * bundled.kl

# %% [markdown]
# ## Trace with it
#
# The folder opens like any transcoder, and loading measures whether it fits the model.

# %%
own = cl.load(model.model, Path(scratch.name) / "mine")
print(own.info["fit"])
graph, reference = own.trace(PROMPT, progress=False), model.trace(PROMPT, progress=False)
graph

# %% [markdown]
# It answers Austin, for the local replacement model has error nodes that carry whatever the transcoder missed. It
# closes, too. What tells is how much of the answer comes out of errors.

# %%
print("half a minute:", graph.scores())
print("bundled:      ", reference.scores())
assert graph.targets["token"].iloc[0].strip() == "Austin"
assert graph.check().attrs["worst"] < 1e-4
assert graph.scores().replacement < reference.scores().replacement
assert graph.scores().completeness < reference.scores().completeness

# %%
errors = {
    name: g.nodes[g.nodes["kind"] == "error"].groupby("layer")["influence"].sum() / g.nodes["influence"].sum()
    for name, g in (("half a minute", graph), ("bundled", reference))
}
colours = {"half a minute": "#d8690f", "bundled": "#1f6fb5"}
with plt.rc_context({"font.size": 8}):
    figure, (left, right) = plt.subplots(1, 2, figsize=(6.4, 2.6), layout="constrained")
    for offset, (name, share) in zip((-0.2, 0.2), errors.items(), strict=True):
        left.bar(share.index + offset, share, width=0.4, color=colours[name], label=name)
    left.set(xlabel="layer", ylabel="influence of its errors", title="where the graphs do not know")
    left.legend(frameon=False)
    for offset, (name, m) in zip((-0.2, 0.2), (("half a minute", mine), ("bundled", bundled)), strict=True):
        layers = range(len(m.layers))
        right.bar(
            [n + offset for n in layers], [layer.explained_variance for layer in m.layers], 0.4, color=colours[name]
        )
    right.set(xlabel="layer", ylabel="explained variance", ylim=(0, 1), title="what was rebuilt")
    figure.savefig(Path(scratch.name) / "errors.pdf")

# %% [markdown]
# ## What to trust of it
#
# * Features of a short run are few and broad: one stands for many things. Read some (`read_a_feature`) before you
#   name one.
# * A replacement score says how much of a graph can be read, so report it beside every figure.
# * Train longer until the *end to end* number stops rising; explained variance stops much earlier. A run that is
#   stopped goes on
#   when `cl.train` is called again with the same folder.
#
# ## Exercise
#
# Train again with `k=4`, then with `k=48`. Which of the numbers gets better, which worse, and which of the two graphs
# would you rather read?

# %%
scratch.cleanup()
