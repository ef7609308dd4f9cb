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
# # Your own model, your own transcoder
#
# This notebook runs offline, on small stand-ins: a copy of atlas as *the model*, and its transcoder as *the set from the hub*. Every step says what you change with a network, and what to expect then.
#
# ## 1. Choose

# %%
import shutil
import warnings
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

import circuitlab as cl
from circuitlab.formats.transcoders import convert_transcoder, find_transcoder, read_transcoder, write_transcoder
from circuitlab.replacement import ATLAS

cl.models.presets()

# %% [markdown]
# **With a network**: `MODEL = "google/gemma-2-2b"` and `TRANSCODER = "mntss/clt-gemma-2-2b-426k"` (Gemma's terms must be accepted on its page, then `hf auth login`). Expect some 5 GB of model and, in bfloat16, 30 GB of transcoder, once; and 12 GB of memory, since the transcoder stays in its files.

# %%
scratch = TemporaryDirectory()
MODEL = shutil.copytree(ATLAS / "model", Path(scratch.name) / "model")
TRANSCODER = shutil.copytree(ATLAS / "clt", Path(scratch.name) / "transcoder")

# %% [markdown]
# ## 2. What does the folder hold?
#
# `circuitlab inspect FOLDER` on the command line. **With a network** the same works for `owner/repo`, and downloads it: expect *circuit-tracer CLT*, 26 layers × 16,384 features for the set above.

# %%
found = find_transcoder(TRANSCODER)
print(found.form, found.config)
assert found.config.kind == "clt"

# %% [markdown]
# ## 3. Load, and see whether it fits
#
# Loading measures on a short text how much of each layer's MLP output the transcoder explains. **With a network** expect 0.5 to 0.9 for published sets, less in single layers; a number near zero in all layers means that something does not match, and a warning says so.

# %%
model = cl.load(MODEL, TRANSCODER)
print(model.info["fit"])
assert model.info["matches"]
assert min(model.info["explained_variance"]) > 0.8

# %% [markdown]
# What a set looks like that was made for something else: here the same files, said to read another hook. The warning names the layers, and the reading that would fit.

# %%
wrong = read_transcoder(TRANSCODER, dtype=torch.float32)
other = "mlp.hook_in" if wrong.config.input_hook == "hook_resid_mid" else "hook_resid_mid"
object.__setattr__(wrong.config, "input_hook", other)
folder = write_transcoder(wrong, Path(scratch.name) / "wrong")
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always", cl.TranscoderMismatchWarning)
    strange = cl.load(MODEL, folder)
print(*(warning.message for warning in caught), sep="\n")
assert any(issubclass(warning.category, cl.TranscoderMismatchWarning) for warning in caught)

# %% [markdown]
# `adapt=True` reads it as it fits.

# %%
adapted = cl.load(MODEL, folder, adapt=True)
print(adapted.info["fit"])
assert adapted.info["matches"]

# %% [markdown]
# ## 4. Larger than memory
#
# Above a quarter of the free memory encoders and decoders stay in their files; `lazy=True` asks for it. The graph is the same. **With a network**: the 2.5M-feature set of Gemma-2-2B needs 350 GB in float32, and traces in about as much memory as the small one, at the speed of your disk.

# %%
PROMPT = "fact : the capital of the state containing Dallas is"
graph = model.trace(PROMPT)
lazy = cl.load(MODEL, TRANSCODER, lazy=True)
assert lazy.info["in_memory"] is False
again = lazy.trace(PROMPT)
assert graph.nodes["id"].tolist() == again.nodes["id"].tolist()
print(f"{len(graph.nodes)} nodes; sums miss by {again.check().attrs['worst']:.1e} at most")
assert again.check().attrs["worst"] < 1e-4

# %% [markdown]
# ## 5. Trace
#
# **With a network**: `model.trace("The capital of the state containing Dallas is", max_features=4000)`; expect *Austin*, features of Texas and of capitals between, and a replacement score between 0.3 and 0.8.

# %%
graph.prune(nodes=0.8, edges=0.98)

# %%
print(graph.scores())
assert graph.targets["token"].iloc[0].strip() == "Austin"

# %% [markdown]
# ## 6. From one form to another
#
# `circuitlab convert SOURCE TARGET` makes circuit-tracer's folders of all kinds (GemmaScope, GemmaScope 2, crosslayer-coding); `--to clt` makes a CLT of a PLT. A CLT that writes into later layers is no PLT, and is refused as one.

# %%
copy = convert_transcoder(TRANSCODER, Path(scratch.name) / "copy")
assert find_transcoder(copy).config == found.config

# %% [markdown]
# ## 7. No transcoder
#
# `cl.load(MODEL)` alone: MLP neurons are the features. **With a network**, `cl.load("gpt2")`.

# %%
neurons = cl.load(MODEL)
print(neurons)

# %%
scratch.cleanup()
