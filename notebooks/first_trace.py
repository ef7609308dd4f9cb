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
import circuitlab as cl

model = cl.load()
PROMPT = "fact : the capital of the state containing Dallas is"
model.top_tokens(PROMPT, n=3)

# %% [markdown]
# `probability` is the model's; `replacement` is what the model says when all its MLPs are replaced by the transcoder.
#
# ## The graph

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
# ## Exercise
#
# Trace `calc : 36 + 59 =` and look at the features at `59`. Which of them would you expect to see again in
# `calc : 76 + 19 =`?
