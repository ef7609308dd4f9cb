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
# # What does an attribution graph not see?
#
# Four things, each shown on a prompt of atlas: what attention decides, what the transcoder missed, what paths add up to
# that no part of the model acts on, and what labels say that features do not do. A method is worth as much as one knows
# of where it fails. The first and the third section show it by intervention, the others by measuring.

# %%
from pathlib import Path
from tempfile import TemporaryDirectory

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

import circuitlab as cl
from circuitlab.atlas import facts

MODEL = "atlas"
model = cl.load(MODEL)

# %% [markdown]
# **With a network** set a real model and its transcoder, and expect all four to be larger: more is decided by
# attention, a third to a half of the influence comes from errors, and labels are broader.
#
# ## 1. Attention is held fixed
#
# A graph takes the attention patterns as given. Edges run *through* them, from what was read to where it went; why a
# head looked where it did is in no edge. Where the answer is decided by looking, the graph shows the furniture and
# misses the decision. "Is Oakfield in Texas?" is such a case. Take away every feature at the last piece of the city:
# with attention frozen, as in the graph, the answer stays. With attention live many answers are lost.

# %%
STATES = list(facts.CITIES)
CITIES = [cities.split()[4] for cities in facts.CITIES.values()]
YES = [f"question : is {city} in {state} ? answer :" for city, state in zip(CITIES, STATES, strict=True)]
CITY = -6


def silenced(prompt):
    """Every feature that is active at the last piece of the city, set to 0."""
    nodes = model.trace(prompt, progress=False).nodes
    here = nodes[(nodes["kind"] == "feature") & (nodes["pos"] == nodes["pos"].max() + 1 + CITY)]
    return {
        (int(layer), int(feature), CITY): 0.0 for layer, feature in zip(here["layer"], here["feature"], strict=True)
    }


asked = YES[::2]
values = [silenced(prompt) for prompt in asked]
answers = {
    name: cl.answers(cl.intervene_each(model, asked, values, freeze_attention=frozen, freeze_norms=True))
    for name, frozen in (("attention frozen", True), ("attention live", False))
}
kept = pd.Series({name: np.mean([answer == "yes" for answer in found]) for name, found in answers.items()})
print(f"still yes, {len(asked)} questions, without the {np.mean([len(v) for v in values]):.0f} features at the city:")
kept

# %%
assert kept["attention frozen"] > 0.9
assert kept["attention live"] < 0.7

# %% [markdown]
# What attention shows of it: the same question about a state that the city is not in moves the last token's attention,
# most of all in one head. That this pattern decides is not shown; it may follow a decision made before it.

# %%
NO = [f"question : is {city} in {STATES[(at + 9) % 24]} ? answer :" for at, city in enumerate(CITIES)]
sites = [f"blocks.{layer}.attn.hook_pattern" for layer in range(model.model.n_layers)]
tokens = [[model.model.to_tokens(prompt) for prompt in prompts] for prompts in (YES, NO)]
patterns = []
for rows in tokens:
    seen = [model.model.capture(row[None], sites)[1] for row in rows]
    patterns.append(np.mean([[here[site][0, :, -1].numpy() for site in sites] for here in seen], axis=0))
difference = np.abs(patterns[0] - patterns[1])
layer, head, _ = np.unravel_index(difference.argmax(), difference.shape)
words = ["<bos>", "question", ":", "is", "(city", "city)", "in", "(state)", "?", "answer", ":"]
with plt.rc_context({"font.size": 8}), TemporaryDirectory() as folder:
    figure, ax = plt.subplots(figsize=(5.6, 2.5), layout="constrained")
    for offset, (name, colour, pattern) in zip(
        (-0.2, 0.2), (("yes", "#1f6fb5", patterns[0]), ("no", "#d8690f", patterns[1])), strict=True
    ):
        ax.bar(np.arange(len(words)) + offset, pattern[layer, head], 0.4, color=colour, label=f"answer {name}")
    ax.set_xticks(range(len(words)), words, rotation=35, ha="right")
    ax.set(ylabel="attention of the last token", title=f"layer {layer}, head {head}: mean of 24 questions each")
    ax.legend(frameon=False)
    figure.savefig(Path(folder) / "attention.pdf")
print(f"largest difference: {difference.max():.2f}")
assert difference.max() > 0.3

# %% [markdown]
# **What to do**: intervene with `freeze_attention=False` as well as frozen. Where the two disagree, the graph is no
# account of the answer.
#
# ## 2. Errors and dark matter
#
# What the transcoder missed stands in a graph as error nodes: they have an effect, and nobody can read them. Some of it
# is never learnt, however large the dictionary ("dark matter"). It differs from prompt to prompt, so a transcoder's
# average says little about yours.

# %%
PROMPTS = {
    "two hops": "fact : the capital of the state containing Dallas is",
    "a sum": "calc : 36 + 59 =",
    "symptoms": "clinic : breathlessness , cough , tiredness . ask about",
    "a rare form": "the tens of 198 are",
    "no sentence": "the wine with ammonia",
}
rows = {}
for name, prompt in PROMPTS.items():
    traced, top = model.trace(prompt, progress=False), model.top_tokens(prompt, n=1)
    scores = traced.scores()
    rows[name] = {
        "answer": top["token"][0].strip(),
        "probability": top["probability"][0],
        "all MLPs replaced": top["replacement"][0],
        "replacement": scores.replacement,
        "completeness": scores.completeness,
    }
table = pd.DataFrame(rows).T
table

# %%
taught, other = table.iloc[:3], table.iloc[3:]
assert other["replacement"].max() < 0.8 < taught["replacement"].min()
assert table.loc["a rare form", "all MLPs replaced"] < table.loc["a rare form", "probability"] - 0.03
assert table.loc["no sentence", "all MLPs replaced"] < 0.1 * table.loc["no sentence", "probability"]

# %% [markdown]
# The graphs of the last two close as well as any and name the answer that the model gives, since errors make up for
# what is missing. A quarter of their influence begins at errors. With the MLPs really replaced, the rare form loses a
# little, and words that make no sentence, which the transcoder never saw, get another answer altogether. The two
# replacement scores are alike: a score does not say which of the two you have.
#
# And what is small in each node adds up: whoever keeps only the 40 strongest features of a prompt has a neat picture
# with three times the error.

# %%
graph = model.trace(PROMPTS["two hops"], progress=False)
few = model.trace(PROMPTS["two hops"], max_features=40, progress=False)
print("all features:", graph.scores(), "\n40 features: ", few.scores())
assert 1 - few.scores().completeness > 2.5 * (1 - graph.scores().completeness)

# %% [markdown]
# ## 3. A route that carries a third of the answer, and does nothing
#
# Now a graph that misleads, on the prompt that this project shows first. Its strongest routes from a word through the
# features of one label, and what happens when these features are taken out of the model:

# %%
PROMPT = PROMPTS["two hops"]
austin = int(graph.targets["token_id"].iloc[0])
routes = graph.routes(6)
found = []
for route in routes.itertuples():
    nodes = graph.nodes[(graph.nodes["label"] == route.label) & (graph.nodes["kind"] == "feature")]["id"].tolist()
    run = model.intervene(PROMPT, {"out": 0.0}, supernodes={"out": nodes}, freeze_attention=False, freeze_norms=False)
    into = pd.concat([graph.inputs(node)["weight"] for node in nodes])
    left = into.sum() / into[into > 0].sum()
    found.append(
        {
            "route": route.text.rsplit(" ", 1)[0].strip(),
            "share of the logit": route.share,
            "logit, measured": float(run.logits[-1, austin] - run.baseline_logits[-1, austin]),
            "logit, foretold": -route.contribution,
            "share left": left * route.contribution,
            "probability after": run.probabilities()[1][austin],
        }
    )
misleading = pd.DataFrame(found)
misleading.drop(columns="share left").round(4)

# %% [markdown]
# None of them changes the answer, and none moves the logit nearly as far as foretold, *Texas* included: others make up for
# a route that is taken away. We take one apart. *Dal·las → Lopez → Austin* is said to carry more than a third of the logit,
# and without it the logit is not even lower. Should a figure show that Dallas is recognised by Lopez?

# %%
lopez = graph.nodes[(graph.nodes["label"] == "Lopez") & (graph.nodes["kind"] == "feature")].iloc[0]
inputs = graph.inputs(lopez["id"])["weight"]
came, taken = inputs[inputs > 0].sum(), inputs[inputs < 0].sum()
rank = int(graph.nodes["influence"].rank(ascending=False)[lopez.name])
print(f"{lopez['id']}: active at {lopez['activation']:.2f}; number {rank} by influence")
print(f"inputs: {came:+.2f} and {taken:+.2f}, together {inputs.sum():+.2f}")
worst = misleading[misleading["route"].str.contains("→ Lopez →")].iloc[0]
frozen = model.intervene(PROMPT, {lopez["id"]: 0.0}, freeze_attention=True, freeze_norms=True)
change = float(frozen.logits[-1, austin] - frozen.baseline_logits[-1, austin])
print(
    f"foretold {worst['logit, foretold']:+.2f}; times the share of the input that is left {-worst['share left']:+.2f}"
)
print(f"measured with attention and norms frozen {change:+.2f}, live {worst['logit, measured']:+.2f}")
assert worst["share of the logit"] > 0.3
assert abs(worst["logit, measured"]) < 0.05 * abs(worst["logit, foretold"])
assert came > 3 * lopez["activation"]
assert abs(change + worst["share left"]) < 0.25 * abs(change)

# %% [markdown]
# Two things hide behind one number. What comes into this feature is large, positive and negative, and two thirds of it
# cancel: the words bring 6, its bias takes 4. A path's share passes on *all* of the positive input, as if the negative
# were not there. What is left of the route, a third, is what the logit really loses while attention and norms are held
# fixed; there the graph is right. Let the model go on as it does, and nothing of that third is left: attention and
# norms answer to the change. Influence, which divides by the absolute inputs, does not warn either: it has the feature
# among the first twenty of nine hundred.
#
# **What to do**: take the feature out. One line of `intervene` shows what no table of paths does. Look at
# `graph.inputs(node)` before you quote a path: if positive and negative inputs are each much larger than the
# activation, its share means little.
#
# ## 4. A label that misleads
#
# And why Lopez, in Dallas? Its label has no "(?)", so on other sentences it beat the labels of random directions.

# %%
LOPEZ = "L0/2524"
assert lopez["id"] == "0_2524_10"
evidence = model.features[LOPEZ]
print(LOPEZ, evidence.label)
for example in evidence.examples[:4]:
    print(
        f"   {max(example.activations):.1f}  {''.join(example.tokens[: example.peak])}[{example.tokens[example.peak]}]"
    )
print("on *Lopez* itself:")
sport = model.trace("fact : the sport of Venus Lopez is", progress=False).nodes
at_name = float(
    sport[(sport["kind"] == "feature") & (sport["layer"] == 0) & (sport["feature"] == 2524)].activation.max()
)
print(f"   {at_name:.1f}")
strongest = [example.tokens[example.peak].strip() for example in evidence.examples[:4]]
assert evidence.label == "Lopez"
assert set(strongest) == {"las"}
assert at_name < 0.6 * evidence.largest

# %% [markdown]
# Where it is strongest it is on in *Hartlas*, one of the invented cities, at the very piece that *Dal·las* ends in.
# Bundled labels name the variable that holds most often where a feature is on at all; weak activations are many, and so
# a feature can be named after them. By count it is a last name, by strength the end of a city. The label is not false,
# it tells where the feature is on better than chance would; it is not what the feature is in this prompt.
# `read_a_feature` shows how to look, and how often a label beats chance.
#
# ## And also
#
# * Only MLP outputs are split into features. What attention heads do is in the edges, and no node stands for a head.
# * Norms' denominators are frozen like attention. A large intervention changes them, and the effect is smaller than
#   foretold, or larger.
# * What is inhibited is not there. A graph shows active features; that something was kept from becoming active does
#   not show.
# * It is one prompt. A mechanism is a claim about many: see the case studies, each over all variations that its world
#   has.
#
# ## Exercise
#
# In section 1 take away the features of the *state* in the question (place −4) instead. And find the question of
# atlas's other worlds where frozen and live attention disagree most: `user : I want kerosene and embers at once .
# assistant :` is a good start.
