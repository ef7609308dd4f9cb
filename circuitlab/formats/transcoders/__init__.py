"""Transcoder folders of every kind: recognise, read, Transcoder; and write circuit-tracer's two.

    contents.py           what a folder says of itself: config.yaml, numbered files, listed files
    tensor_files.py       .safetensors, .npz and .pt: names, shapes, memory-mapped tensors; nothing is executed
    stored.py             a layer's matrix as rows of such files: transposed, sliced, scaled, stacked

    plt.py                circuit-tracer, one file per layer
    clt.py                circuit-tracer, encoder and decoder files per layer
    gemmascope.py         GemmaScope, params.npz per layer
    gemmascope2.py        GemmaScope 2, per layer and cross-layer
    crosslayer_coding.py  crosslayer-coding: one state dict, cfg.json, norm_stats.json

    reading.py            the kinds in the order in which they are tried; files → Transcoder, in memory or lazily
    writing.py            Transcoder → folder
    converting.py         one folder → another; what a folder holds in words

What is missing, has another shape, or holds NaN or infinity is refused by an error that names the file and key.
"""

from circuitlab.formats.transcoder_settings import CONFIG_FILE
from circuitlab.formats.transcoders.converting import convert_transcoder, described
from circuitlab.formats.transcoders.reading import find_transcoder, read_transcoder
from circuitlab.formats.transcoders.writing import write_transcoder

__all__ = [
    "CONFIG_FILE",
    "convert_transcoder",
    "described",
    "find_transcoder",
    "read_transcoder",
    "write_transcoder",
]
