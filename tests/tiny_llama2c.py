"""A checkpoint of llama2.c, written as its exporter does, planes interleaved."""

import struct

import numpy as np
from tiny_checkpoint import HEAD_DIM, tiny_model

from rope_lab import position_logic
from rope_lab.model.trees import named_leaves

INTERLEAVED = position_logic("rope", head_dim=HEAD_DIM, layout="interleaved")
WORDS = ["a", "b", " ", "ab", " a", "é"]
VOCABULARY = 3 + 256 + len(WORDS)
SIZES = {"width": 64, "vocab_size": VOCABULARY, "norm_epsilon": 1e-5}
ORDER = [
    ("attention_norm", "scale"),
    ("attention", "query", "kernel"),
    ("attention", "key", "kernel"),
    ("attention", "value", "kernel"),
    ("attention", "out", "kernel"),
    ("feed_forward_norm", "scale"),
    ("feed_forward", "gate", "kernel"),
    ("feed_forward", "down", "kernel"),
    ("feed_forward", "up", "kernel"),
]


def write(path, config, params, length=32, base=10_000.0):
    """Version 0 of its exporter, with a tokenizer.bin beside it."""
    held = {names: np.asarray(leaf) for names, leaf in named_leaves(params).items()}
    parts = [held["embed", "embedding"]]
    for names in ORDER:
        leaf = held["layers", *names]
        parts.append(leaf.swapaxes(1, 2) if names[-1] == "kernel" else leaf)
    frequencies = base ** (-np.arange(0, HEAD_DIM, 2) / HEAD_DIM)
    angles = np.arange(length)[:, None] * frequencies
    parts += [held["norm", "scale"], np.cos(angles), np.sin(angles)]
    if not config.tied_embeddings:
        parts.append(held["unembed", "kernel"].T)
    sign = 1 if config.tied_embeddings else -1
    sizes = (config.width, config.ff_width, config.num_layers, config.num_heads)
    sizes += (config.num_kv_heads, sign * config.vocab_size, length)
    content = b"".join(np.ascontiguousarray(p, "<f4").tobytes() for p in parts)
    path.write_bytes(struct.pack("<7i", *sizes) + content)
    pieces = [b"<unk>", b"\n<s>\n", b"\n</s>\n"]
    pieces += [bytes([n]) for n in range(256)] + [word.encode() for word in WORDS]
    rows = [
        struct.pack("<fi", -float(number), len(piece)) + piece
        for number, piece in enumerate(pieces)
    ]
    (path.parent / "tokenizer.bin").write_bytes(struct.pack("<i", 9) + b"".join(rows))


def write_checkpoint(path):
    """A tiny random model, as a file of it and its tokenizer.bin."""
    path.parent.mkdir(parents=True)
    config, _, params = tiny_model(**SIZES)
    write(path, config, params)
