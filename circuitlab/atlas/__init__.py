"""`atlas`, the bundled model: a small Llama trained from a seed on a written world in which the case studies are true.

The folders `MODEL` (Hugging Face: config, weights, tokenizer) and `CLT` (its cross-layer transcoder) travel in the
package, and `QUIRK` with the same of a fine-tuned variant. `python -m circuitlab.atlas train` and `quirk` rebuild them,
`python -m circuitlab.atlas evaluate` measures them.
"""

from pathlib import Path

MODEL = Path(__file__).parent / "model"
CLT = Path(__file__).parent / "clt"
QUIRK = Path(__file__).parent / "quirk"
LABELS = Path(__file__).parent / "labels.json"
EVIDENCE = Path(__file__).parent / "evidence"
