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
# # Does a model know its rhyme before it writes the line?
#
# The second line of a couplet has to end in a rhyme and make sense on the way there. *On the Biology of a Large Language
# Model* found that Claude 3.5 Haiku plans: at the line break, before a word of the second line is written, features of
# candidate rhymes (*rabbit*, *habit*) are active, and the line is built towards one of them. Taking *rabbit* away gave a
# line that ended in *habit*, putting in another word gave a line that ended in that word.
#
# atlas has couplets in its world. The first line names a thing (of the wild or of the house) and ends in a rhyme; together
# they leave one last word, and the first word and the adjective of the second line already agree with it:
#
# > He saw a **carrot** and had to grab it, ⏎ *Hunger* made him like a *starving* **rabbit**.
# > He saw a **hammer** and had to grab it, ⏎ *Speed* made him like a *nasty* **habit**.
#
# With a real model set `MODEL` to its name, and expect the plan to be spread over more features, to hold several
# candidates at once, and to give way less often than here.

# %%
from pathlib import Path
from tempfile import TemporaryDirectory

import matplotlib.pyplot as plt
import numpy as np
from IPython.display import Image, display

import circuitlab as cl
from circuitlab.atlas.cases import couplets
from circuitlab.interventions.contrast import means

MODEL = "atlas"
model = cl.load(MODEL)
PROMPT = "He saw a carrot and had to grab it , ⏎"
model.top_tokens(PROMPT, n=3)

# %% [markdown]
# ## The graph at the line break
#
# Nothing of the second line is written yet. We look for features of the plan without choosing any by hand: those active in
# lines that lead to *rabbit* and not in lines with the same rhyme that lead to *habit*.


# %%
def lines(things, end="and had to grab it"):
    """First lines that name these things."""
    return [f"{who} saw a {thing} {end} , ⏎" for who in couplets.SUBJECTS for thing in things]


rabbit = cl.contrast(model, lines(couplets.WILD[1:]), lines(couplets.HOUSE[1:]), places=[-1])
habit = cl.contrast(model, lines(couplets.HOUSE[1:]), lines(couplets.WILD[1:]), places=[-1])
rabbit, habit

# %%
graph = model.trace(PROMPT)
features = graph.nodes[graph.nodes["kind"] == "feature"].nlargest(400, "influence")
last = len(graph.tokens) - 1
tokens = graph.nodes[graph.nodes["kind"] == "token"].set_index("pos")["id"]


def at(*positions, n=6):
    """The most influential features at these positions."""
    return features.loc[features["pos"].isin(positions), "id"].head(n).tolist()


plan = [f"{layer}_{feature}_{last}" for layer, feature, _ in rabbit.nodes]
plan = features[features["id"].isin(plan)]
thing, rhyme = graph.tokens.index(" carrot"), [graph.tokens.index(" grab"), graph.tokens.index(" it")]
view = graph.view()
view.supernodes = {
    "features at carrot": at(thing),
    "features at grab it": at(*rhyme),
    "rabbit, not habit": plan.loc[plan["layer"] <= 1, "id"].head(10).tolist(),
    "a line for rabbit": plan.loc[plan["layer"] >= 2, "id"].head(10).tolist(),
}
view.pinned = [tokens[thing], *tokens[rhyme], tokens[last], graph.targets["id"].iloc[0]]
graph

# %%
with TemporaryDirectory() as folder:
    paper = graph.savefig(Path(folder) / "poem.pdf", width="double-column", view=view.view)
    display(Image(graph.savefig(Path(folder) / "poem.png", width=170, dpi=130, view=view.view, height=270), width=760))
    print(f"{paper.name}, for a paper: {paper.stat().st_size / 1000:.0f} kB")

# %% [markdown]
# ## What is known at the line break
#
# Is it *rabbit* that is active there, or only "some word of the wild"? For each of the 40 last words of atlas' couplets we
# take the features that its line breaks have and those of all words together have not, and read couplets that training
# never saw.

# %%
words = [pair[side] for side in (0, 1) for _, pair in couplets.families()]  # of the wild, then of the house
seen, unseen = {word: [] for word in words}, {word: [] for word in words}
for sentence in couplets.couplet_world(0):
    if sentence.world == "couplet opening":
        (seen if sentence.split == "train" else unseen)[sentence.about[0]].append(sentence.prompt)

everything = means(model, [text for word in words for text in seen[word][::16]])
found = {word: cl.contrast(model, seen[word][::8], everything, places=[-1]).nodes for word in words}


def active(prompt):
    """Of each word, the share of its features that is at least half as strong as where the word is planned."""
    now = model.baselines.of(model.model, model.transcoder, prompt).activations
    return [np.mean([float(now[k][-1, f]) >= value / 2 for (k, f, _), value in found[word].items()]) for word in words]


table = np.array([active(text) for word in words for text in unseen[word][:3]])
own = np.repeat(np.arange(len(words)), 3)
known = float((table[np.arange(len(own)), own] > 0.5).mean())
told = float((table.argmax(1) == own).mean())
print(f"most of the planned word's features active: {known:.1%} of {len(own)} couplets; read off rightly: {told:.1%}")

# %%
assert known >= 0.9
assert told >= 0.9

# %%
figure, ax = plt.subplots(figsize=(5.6, 5.2), layout="constrained")
shown = ax.imshow(table.reshape(len(words), 3, -1).mean(1), cmap="Blues", vmin=0, vmax=1)
ax.set_xticks(range(40), words, rotation=90, fontsize=6)
ax.set_yticks(range(40), words, fontsize=6)
ax.set_xlabel("features of this word active at the line break")
ax.set_ylabel("word that the line will end in")
_ = figure.colorbar(shown, ax=ax, shrink=0.6, label="share of its features")

# %% [markdown]
# The diagonal is the planned word. The two blocks are words of the wild and of the house; the fainter lines beside the
# diagonal are words whose lines begin with the same word, *Hunger* say, which is what the line break has to tell next.
#
# ## A test: exchange the plan
#
# Features that are active need not be used. We take out what says *rabbit* and put in what says *habit*, first at the line
# break alone, then also at *a*, where the adjective is due; at last we take *rabbit* out and put nothing in. Nothing is
# touched where the last word itself is chosen.


# %%
def write(values, text=PROMPT, n_words=8):
    """Writes the second line, word by word; places are counted from the line break, which is 0."""
    for written in range(n_words):
        here = {(k, f, d - written - 1): v for (k, f, d), v in values.items() if d <= written}
        unchanged = model.top_tokens(text, n=1)["token"][0].strip()
        text += f" {cl.answers(cl.intervene_each(model, [text], here))[0] if here else unchanged}"
        if text.endswith(" ."):
            break
    return text.partition("⏎ ")[2]


adjectives = [s for s in couplets.couplet_world(0) if s.world == "couplet adjective" and s.about[1] != "carrot"]
for_rabbit, for_habit = ([s.prompt for s in adjectives if s.about[0] == word] for word in ("rabbit", "habit"))
# these end in "… ⏎ Hunger made him like a": the line break is at −6 from the end, the word before the adjective at −1
out = cl.contrast(model, for_rabbit[::4], for_habit[::4], places=[-6, -1])
into = cl.contrast(model, for_habit[::4], for_rabbit[::4], places=[-6, -1])


def counted(values):
    """The same with places counted from the line break."""
    return {(layer, feature, place + 6): value for (layer, feature, place), value in values.items()}


lines_written = {
    "as it is": write({}),
    "exchanged at the line break": write(counted(cl.swapped(out.within(places=[-6]), into.within(places=[-6])))),
    "also before the adjective": write(counted(cl.swapped(out, into))),
    "taken away at both": write(counted(out.within(layers=range(2)).times(-0.75))),
}
as_it_is, at_break, twice, taken = lines_written.values()
print("\n".join(f"{name:<28} {line}" for name, line in lines_written.items()))

# %%
assert as_it_is.endswith("rabbit .")
assert at_break.startswith("Speed")
assert twice.endswith("habit .")
assert taken.endswith("habit .")

# %% [markdown]
# At the line break alone the exchange changes how the line begins, and no more: before the adjective atlas looks at the
# first line once more and finds its rabbit again. Exchanged at both places, the whole line is another one. And so it is if
# *rabbit* is only taken away there (the features of the first two layers, at −0.75 times their value): the line then ends
# in the other word of the rhyme, which nobody put in.
#
# ## Against chance
#
# The same number of other features at the same places, changed by as much, in couplets with other things.

# %%
texts = for_rabbit[1::16]
runs = cl.intervene_each(model, texts, cl.swapped(out, into))


def written(run):
    """The second line with what a run changes, at words that are there and at those to come."""
    length, before = run.experiment.baseline.n_positions, run.outcome.before
    edits = run.edits.features
    values = {
        (e.layer, e.feature, e.pos - length + 6): e.value(float(before[e.layer][e.pos, e.feature])) for e in edits
    }
    return write(values, "".join(run.experiment.baseline.strings[1 : length - 5]).strip())


ours, others = ([written(run) for run in some] for some in (runs, cl.random_matched(runs, [*out.nodes, *into.nodes])))
share, chance = (float(np.mean([line.endswith("habit .") for line in lot])) for lot in (ours, others))
print(f"lines that end in habit: {share:.0%} of {len(runs)}, with random features {chance:.0%}")
print(f"one of each: {ours[0]} | {others[0]}")

# %%
assert share >= 0.8
assert chance < 0.05

# %% [markdown]
# ## Exercise
#
# Put a word of another rhyme in: find what says *cat* against what says *rabbit*, and write the line with it. Why does the
# line not end in *cat* until the exchange is made at the adjective as well? (What does the last word rhyme with, and where
# does atlas read that?)
#
# ## What holds on atlas and what does not
#
# What tells the planned word from others is there at the line break (the word itself, or the rhyme and the kind of thing
# that determine it: these couplets cannot tell): in 99.6% of 240 couplets that training never saw most of its features are
# active (75% of them on average, of another word's 19%), and it can be told from the 39 others in 95.8%. Exchanged for the
# other word of the rhyme at the line break and before the adjective, with 89 features of the first layer, it makes the line
# end in that word in all of 80 couplets. Taken away there, with nothing put in (98 features of the first two layers, −0.75
# times their value), it makes the line end in the other word in 97.5%. With a word of another rhyme, exchanged where the
# last word is chosen as well (468 features), the line ends in it in 97.5%. Random features of the same size do none of this
# in any (`python -m bench.studies poems`).
#
# What does not hold: at the line break alone the exchange decides how the line begins (all of 80) and never how it ends.
# atlas does not carry its plan through the line as the papers' model does; it reads the first line again before the
# adjective. Taken away before the adjective alone, the word gives way to the other in some two thirds of the lines. And in
# atlas' world each first line has one right ending: that the other word comes shows which rhyme is called for, not that
# both had been weighed. (The couplets reported for the word taken away were seen while that test was designed.)
