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
# # Does a model think in one language?
#
# Ask for the opposite of *small* in English, French and Chinese: are there three circuits, or one that speaks three
# languages? *On the Biology of a Large Language Model* found one in Claude 3.5 Haiku: shared features for *small* and for
# *opposite*, features that know which language is being spoken, and at the end "say large" in that language. Each part
# could be exchanged alone. The share of features that a text and its translation have in common was largest in the middle
# layers, and larger in larger models.
#
# atlas knows 72 words, their opposites and synonyms in the three languages. With a real model set `MODEL` to its name, ask
# without quotation marks of atlas' kind, and expect more features in every part.

# %%
from pathlib import Path
from tempfile import TemporaryDirectory

import matplotlib.pyplot as plt
import numpy as np
from IPython.display import Image, display

import circuitlab as cl
from circuitlab.atlas import words, world

MODEL = "atlas"
model = cl.load(MODEL)
NAMES = {"en": "English", "fr": "French", "zh": "Chinese"}


def word(language, pair, side, synonym=False):
    """A word of atlas' table of opposites."""
    return world.lexicon()[language, pair, side, synonym].text


def ask(language, form, pair, side):
    """The opposite or the synonym of a word."""
    table = {"opposite": words.ANTONYM_FORMS, "synonym": words.SYNONYM_FORMS}[form]
    return table[language][0].format(word=word(language, pair, side))


small = {language: ask(language, "opposite", 0, 0) for language in NAMES}
for language, prompt in small.items():
    print(f"{NAMES[language]:<8} {prompt:<32} {model.top_tokens(prompt, n=1)['token'][0].strip()}")

# %%
assert [model.top_tokens(prompt, n=1)["token"][0].strip() for prompt in small.values()] == ["large", "grand", "大"]

# %% [markdown]
# ## The same parts in three languages
#
# Three contrasts name the parts, with other words than *small*: what opposites have and synonyms have not; what one
# language has and the others have not; what *small* has and other words have not. The parts are found in each language by
# itself; how much of them is shared is the next question.

# %%
OTHERS = [(pair, side) for pair in range(1, 36, 2) for side in (0, 1)]


def asked(language, form):
    return [ask(language, form, *other) for other in OTHERS]


opposite = {lang: cl.contrast(model, asked(lang, "opposite"), asked(lang, "synonym")) for lang in NAMES}
operand = {lang: cl.contrast(model, [small[lang]], asked(lang, "opposite")) for lang in NAMES}
spoken = {
    lang: cl.contrast(model, asked(lang, "opposite"), [p for o in NAMES if o != lang for p in asked(o, "opposite")])
    for lang in NAMES
}

# %%
graphs = {language: model.trace(prompt) for language, prompt in small.items()}


def arrange(language, n=8):
    """Pins and groups: the question's parts below, the answer on top."""
    graph = graphs[language]
    features = graph.nodes[graph.nodes["kind"] == "feature"].nlargest(500, "influence")
    length, taken, groups = len(graph.tokens), set(), {}
    parts = {
        f"“{word(language, 0, 0)}”": operand[language].within(layers=[0, 1]),
        f"say “{word(language, 0, 1)}”": operand[language].within(layers=[2, 3, 4], places=[-1]),
        "opposite": opposite[language],
        NAMES[language]: spoken[language].within(places=[-1]),
    }
    for name, concept in parts.items():
        ids = {f"{layer}_{feature}_{length + place}" for layer, feature, place in concept.nodes} - taken
        groups[name] = features.loc[features["id"].isin(ids), "id"].head(n).tolist()
        taken |= set(groups[name])
    strongest = graph.nodes[graph.nodes["kind"] == "token"].nlargest(3, "influence")
    groups = {name: members for name, members in groups.items() if members}
    return cl.View(pinned=[*strongest["id"], graph.targets["id"].iloc[0]], supernodes=groups)


views = {language: arrange(language) for language in NAMES}
english = graphs["en"].view()
english.supernodes, english.pinned = views["en"].supernodes, views["en"].pinned
graphs["en"]

# %%
with TemporaryDirectory() as folder:
    for language, graph in graphs.items():
        options = {"view": views[language], "title": f"{NAMES[language]}: {small[language]}", "height": 260}
        paper = graph.savefig(Path(folder) / f"{language}.pdf", width="single-column", **options)
        display(Image(graph.savefig(Path(folder) / f"{language}.png", width=150, dpi=130, **options), width=700))
        print(f"{paper.name}, for a paper: {paper.stat().st_size / 1000:.0f} kB")

# %% [markdown]
# ## How much do two languages share?
#
# For every word and both questions we take the features that are active anywhere in the text, and count how many of them
# the same question has in another language: intersection over union, layer by layer. Beside it stands the same number for
# texts in two languages that have nothing to do with each other: another word, and the other question.

# %%
every = [(pair, side) for pair in range(36) for side in (0, 1)]
far = [every[(number + 10) % 72] for number in range(72)]
turns = [("en", "fr"), ("fr", "zh"), ("zh", "en")]
same = [[ask(lang, form, *one) for lang in NAMES] for form in ("opposite", "synonym") for one in every]
unrelated = [
    [ask(a, "opposite", *one), ask(b, "synonym", *other)]
    for a, b in turns
    for one, other in zip(every, far, strict=True)
]
shares = {"the same question": cl.shared_features(model, same), "unrelated": cl.shared_features(model, unrelated)}

# %%
figure, ax = plt.subplots(figsize=(5, 3.2), layout="constrained")
for (name, table), colour in zip(shares.items(), ("#2563a8", "#8a8a8a"), strict=True):
    ax.fill_between(table["layer"], 100 * table["low"], 100 * table["high"], color=colour, alpha=0.25, linewidth=0)
    ax.plot(table["layer"], 100 * table["share"], color=colour, marker="o", label=name)
ax.set(xlabel="layer", ylabel="shared features (%)", ylim=(0, None), xticks=shares["unrelated"]["layer"])
ax.spines[["top", "right"]].set_visible(False)
_ = ax.legend(frameon=False)

# %%
gain = shares["the same question"]["share"] - shares["unrelated"]["share"]
print("shared beyond what unrelated texts share, by layer:", ", ".join(f"{100 * value:.1f}" for value in gain))
assert (shares["the same question"]["low"] > shares["unrelated"]["high"]).all()
assert gain.iloc[1:-1].min() > 1.5 * gain.iloc[-1]

# %% [markdown]
# ## A test: change the language alone
#
# If a language is a part of its own, its features can be exchanged while question and word stay. We find them on half of the
# words, exchange them in the others, and expect the right opposite in the new language.

# %%
TESTED = [(pair, side) for pair in range(2, 36, 2) for side in (0, 1)]


def turned(a, b, strength=1.5):
    """Runs of the question in language a with the features of language b; its share right, by random ones too."""
    both = {lang: asked(lang, "opposite") + asked(lang, "synonym") for lang in (a, b)}
    out, into = (cl.contrast(model, both[x], both[y], places=range(-3, 0)) for x, y in ((a, b), (b, a)))
    runs = cl.intervene_each(model, [ask(a, "opposite", *one) for one in TESTED], cl.swapped(out, into, strength))
    right = [word(b, pair, 1 - side) for pair, side in TESTED]
    group = [*out.nodes, *into.nodes]
    some = slice(0, None, 4)
    return [
        float(np.mean([x == y for x, y in zip(cl.answers(tried), wanted, strict=True)]))
        for tried, wanted in ((runs, right), (cl.random_matched(runs[some], group), right[some]))
    ]


found = {(a, b): turned(a, b) for a in NAMES for b in NAMES if a != b}
for (a, b), (ours, random) in found.items():
    print(f"{NAMES[a]:<8} → {NAMES[b]:<8} {ours:5.0%} of {len(TESTED)}   random features {random:.0%}")

# %%
assert np.mean([ours for ours, _ in found.values()]) >= 0.8
assert max(random for _, random in found.values()) < 0.05

# %% [markdown]
# And by size of model? Three sizes, trained on the words alone, share 30.8%, 32.2% and 34.2% of their features in the middle
# layers (`python -m bench.sizes`); unrelated texts 23.4%, 25.3% and 27.9%. What one meaning adds does not grow: 7.4, 6.9 and
# 6.3 points. The papers' larger model shares more.
#
# ## Exercise
#
# Exchange the operation instead: take out what `opposite["en"]` holds and put in what synonyms have, in
# `the opposite of "small" is "`. Then put in the synonym features found in *French*. Does the answer come in French?
#
# ## What holds on atlas and what does not
#
# It holds that question, word and language are parts that can be exchanged one at a time: opposite to synonym in 88.9%,
# 88.9% and 66.7% of 18 words (English, French, Chinese), one word to another in 83.3%, 94.4% and 94.4%, the language
# alone in 94% or more of 18 from each to each, with random features in none (`python -m bench.studies languages`). It also
# holds that texts of one meaning share more features than unrelated ones, at every layer: by 10.7 to 11.3 points in the
# first four, by 6.3 in the last (this notebook).
#
# What does not: opposite to synonym in Chinese is below our mark of 80%. The middle does not stand out as it does in the
# paper, where the difference is plain: against the same question about another word, the stricter comparison, the gain is
# 3.5 to 5.3 points and largest in the first layer. atlas' questions are short and share their quotation marks, so that even unrelated
# ones have a seventh to a quarter of their features in common, and what one meaning adds is nearly the same in the first
# layer (10.8 points) as in the three of the middle. And the parts are broad: exchanging opposite for synonym sets about
# 200 features over the whole prompt in English and French (46 in Chinese), where the papers set a few supernodes.
