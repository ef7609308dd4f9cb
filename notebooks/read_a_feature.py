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
# # What does this feature stand for?
#
# A label is a claim. It says where a feature is active and what it does to the answer, and both can be looked up: the
# texts that activate it most, those that activate it a little, the tokens that it promotes, its histogram. This
# notebook reads one feature of the Dallas graph that way, looks for a rule that names it, shows how labels are scored
# against chance, and tests what the feature does.

# %%
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

import matplotlib.pyplot as plt

import circuitlab as cl
from circuitlab.atlas import facts
from circuitlab.atlas.labels import sample_sentences
from circuitlab.harvest import HarvestSettings, harvest
from circuitlab.labelling import label_store, random_scores
from circuitlab.random_dictionary import random_like
from circuitlab.replacement import ATLAS

MODEL = "atlas"
model = cl.load(MODEL)
PROMPT = "fact : the capital of the state containing Dallas is"
scratch = TemporaryDirectory()

# %% [markdown]
# **With a network**: published transcoders come with evidence at Neuronpedia (`cl.Store.from_files` reads an export),
# or make your own with `circuitlab harvest`. Expect many features whose best examples agree and whose weaker ones do
# not.
#
# ## Which one?
#
# The features that are on at the end of the prompt, by influence on the answer:

# %%
graph = model.trace(PROMPT, progress=False)
features = graph.nodes[(graph.nodes["kind"] == "feature") & (graph.nodes["pos"] == len(graph.tokens) - 1)]
features.nlargest(8, "influence")[["id", "label", "activation", "influence"]]

# %% [markdown]
# `model.features.top_for(text)` answers the same question without a graph, for any text; `search` leads from a word to
# features that promote it or have it in their label.

# %%
seen = model.features.top_for("the capital of Montana is", n=300)
asked = model.features.search("Helena", n=300)
both = seen[seen["name"].isin(asked["name"])]
both[["name", "label", "activation", "token", "density"]].head(5)

# %% [markdown]
# ## The evidence

# %%
NAME = "L1/2066"
evidence = model.features[NAME]
assert f"1_2066_{len(graph.tokens) - 1}" in set(features["id"])


def line(example):
    """An example's last tokens up to its peak, which is marked."""
    before = "".join(example.tokens[max(0, example.peak - 7) : example.peak])
    return f"{max(example.activations):5.2f}  {before}[{example.tokens[example.peak]}]"


for quantile, examples in evidence.quantiles.items():
    print(quantile)
    print(*(f"   {line(example)}" for example in examples[:4]), sep="\n")

# %% [markdown]
# Read from the top: the last word of a question for a capital, in one form of question and in another. Then read the
# weak ones, which most collections do not show: below a quarter of its largest activation it is on at a word whose
# initials are asked for. A label is about the top; a graph may use the feature at the bottom. In ours it is at

# %%
here = float(graph.node(f"1_2066_{len(graph.tokens) - 1}")["activation"])
print(f"{here:.2f}, which is {here / evidence.largest:.0%} of its largest; on in {evidence.density:.2%} of tokens")
assert here / evidence.largest > 0.4
top = [e for e in evidence.examples if max(e.activations) > 0.6 * evidence.largest]
weak = [e for e in evidence.examples if max(e.activations) < 0.3 * evidence.largest]
assert all("capital" in "".join(e.tokens) for e in top)
assert not any("capital" in "".join(e.tokens) for e in weak)

# %% [markdown]
# What it writes says the rest: the tokens that it promotes directly.

# %%
capitals = {values.split()[0] for values in facts.VALUES.values()}
promoted = [weight.token.strip() for weight in evidence.promoted[:8]]
print(promoted)
assert sum(token in capitals for token in promoted) >= 6

# %% [markdown]
# ## The dashboard
#
# All of it in one widget: click an example for its whole text, type a text to see the feature on it, click a neighbour
# to go there. With `session=graph.view().session` it follows the clicked node of a graph.

# %%
cl.FeatureDashboard(model.features, NAME)

# %% [markdown]
# ## A name, and its history
#
# Labels live beside the store and are never overwritten: each says who gave it, and the newest of the best source
# counts. The bundled store is for reading, so we name in a copy.

# %%
store = cl.Store(shutil.copytree(ATLAS / "evidence", Path(scratch.name) / "evidence"))
store.label(NAME, "asked for a capital")
store.label(NAME, "say a capital")
history = store.history.table(NAME)
print(history[["label", "source"]].to_string(index=False))
assert store.labels[NAME] == "say a capital"
assert history["label"].tolist()[-2:] == ["asked for a capital", "say a capital"]

# %% [markdown]
# ## Is a label worth anything?
#
# *Detection*: with the label alone, can one tell held-out places where the feature is active from look-alikes where it
# is not? 0.5 is chance. But directions drawn at random get labels too, and the rarer a feature the easier it is to
# describe. So the same labeller runs on a *random dictionary*: random directions that are active exactly as often. Only
# what beats 95% of those has said something.

# %%
texts = [sentence.text for sentence in sample_sentences(900, seed=1)]
settings = HarvestSettings(n_top=16, n_lower=4, coactivation_positions=0)
real = cl.Store(harvest(model, texts, Path(scratch.name) / "real", settings).folder)
chance = random_like(model, real.folder, texts[::3])
random = cl.Store(harvest(chance, texts, Path(scratch.name) / "random", settings).folder)
names = [f"L1/{index}" for index in range(0, 2560, 10)]
baseline = random_scores(random, names)
report = label_store(real, [*names, NAME], baseline=baseline, write=False)
report.summary()

# %%
scored = report.table.dropna(subset=["score"])
scored.nlargest(6, "percentile")[["name", "label", "score", "percentile"]]

# %%
layer, index = 1, 2066
like = baseline.like(layer, real.densities[NAME])
with plt.rc_context({"font.size": 8}):
    figure, ax = plt.subplots(figsize=(5, 2.6), layout="constrained")
    ax.hist(like, bins=20, range=(0.3, 1.0), color="#c5cbd5", label="random directions as rare as this feature")
    ax.axvline(baseline.bar(layer, real.densities[NAME]), color="#d8690f", ls="--", label="95% of them")
    ax.plot(scored["score"], [-0.6] * len(scored), "|", color="#1f6fb5", ms=9, label="labels of layer 1")
    ax.set(xlabel="detection score of the label", ylabel="features", xlim=(0.3, 1.02), ylim=(-2, 40))
    ax.legend(frameon=False, loc="upper left")
    figure.savefig(Path(scratch.name) / "detection.pdf")
beaten = (scored["percentile"] > 95).mean()
mine = report.table.set_index("name").loc[NAME]
print(f"{NAME}: {mine['label'] or 'no label'} {mine['why_none']}")
print(f"{len(scored)} of {len(names) + 1} get a label; {beaten:.0%} of those beat 95% of random directions")
assert 0.2 < beaten < 1.0

# %% [markdown]
# Our own feature gets no name here: in 900 sentences its best rule does not reach the confidence that is asked. So an
# unlabelled feature is the normal case, and some of the labels that look right say no more than chance would.
# Random directions reach high scores because text repeats itself: what is rare often stands in one kind of sentence.
#
# The labels that come with atlas went through the same test. One that does not beat a random dictionary keeps its name,
# with a "(?)" behind it.

# %%
doubted = [name for name, label in model.labels.items() if label.endswith(" (?)")]
n_features = model.transcoder.config.n_layers * model.transcoder.config.n_features
print(
    f"{n_features:,} features: {len(model.labels) - len(doubted):,} with a label, {len(doubted):,} with a doubted one"
)
assert len(doubted) > len(model.labels) / 3
assert not evidence.label.endswith("(?)")

# %% [markdown]
# On newly drawn sentences 90.7% of the labels without "(?)" beat 95% of random features, which are labelled by the same
# rule, however unclear (72.5% where each random feature gets the variable that suits it best); of those with it 19.3% and
# 10.8% (`python -m bench.labels`). A label that holds is still a label of where a feature is on, not of what it does.
#
# ## The last test is what it does
#
# If it stands for *say a capital*, then amplified it must raise capitals where none is asked for.

# %%
OTHER = "fact : the river of the state containing Dallas is"
run = model.intervene(OTHER, {NAME: cl.Value(6.0)}, positions=-1, freeze_attention=False, freeze_norms=False)
before, after = run.probabilities()
ids = [model.model.tokenizer(f" {capital}", add_special_tokens=False)["input_ids"][-1] for capital in sorted(capitals)]
print(f"all capitals: {before[ids].sum():.1e} before, {after[ids].sum():.1e} after")
run.top_tokens(4)

# %%
assert after[ids].sum() > 100 * before[ids].sum()
assert run.top_tokens(1, by="after")["token"].iloc[0].strip() == "Brazos"
scratch.cleanup()

# %% [markdown]
# It does, some three hundredfold, and yet the answer stays: one feature among the many that ask for a capital is not the
# concept. To turn the answer takes the group (`two_hop`).

# %% [markdown]
# ## Exercise
#
# `L2/113` is among the strongest features at *las* in the Dallas graph and has no label. Read its top examples and its
# weak ones. What would you call it, and why does the rule (`circuitlab/atlas/labels.py`) give it no name?
