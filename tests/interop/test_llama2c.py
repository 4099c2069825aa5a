"""llama2.c: a checkpoint written as its exporter does, planes interleaved."""

import struct

import numpy as np
import pytest
from tiny_checkpoint import HEAD_DIM, logits, tiny_model

from rope_lab import position_logic
from rope_lab.interop import load_pretrained
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


@pytest.mark.parametrize("tied", [True, False])
def test_logits_are_those_of_its_interleaved_planes(tmp_path, tied):
    config, graphdef, params = tiny_model(**SIZES, tied_embeddings=tied)
    write(tmp_path / "x.bin", config, params)
    loaded = load_pretrained(tmp_path / "x.bin")
    assert loaded.model == config and loaded.train_length == 32
    assert loaded.logic().layout == "half"
    np.testing.assert_allclose(
        logits(loaded.graphdef, loaded.params, loaded.logic(), 24, vocab_size=200),
        logits(graphdef, params, INTERLEAVED, 24, vocab_size=200),
        atol=1e-4,
    )


def test_its_tokenizer_merges_by_score_and_falls_back_to_bytes(tmp_path):
    config, _, params = tiny_model(**SIZES)
    write(tmp_path / "x.bin", config, params)
    tokenizer = load_pretrained(tmp_path / "x.bin").tokenizer
    word = {word: 259 + number for number, word in enumerate(WORDS)}
    assert tokenizer.bos_id == 1 and tokenizer.vocab_size == VOCABULARY
    # A blank is put first; "ab" has the better score than " a".
    expected = [word[" "], word["ab"], word[" a"], word["é"], 3 + ord("\n")]
    assert tokenizer.encode("ab aé\n").tolist() == expected
    assert tokenizer.encode("☃").tolist() == [word[" "], *(3 + b for b in "☃".encode())]
    assert tokenizer.decode(tokenizer.encode("ab aé\n ☃")) == "ab aé\n ☃"


DAMAGE = {
    "no checkpoint of llama2.c": lambda p: p.write_bytes(b"123"),
    "no llama2.c checkpoint of version 0": lambda p: p.write_bytes(
        b"24ka" + p.read_bytes()[4:]
    ),
    "damaged or incomplete": lambda p: p.write_bytes(p.read_bytes()[:-4]),
    "no tokenizer.bin beside": lambda p: (p.parent / "tokenizer.bin").unlink(),
    "264 pieces, the model 265": lambda p: (p.parent / "tokenizer.bin").write_bytes(
        (p.parent / "tokenizer.bin").read_bytes()[:-10]
    ),
}


@pytest.mark.parametrize("message", DAMAGE)
def test_what_is_no_checkpoint_of_it_is_refused(tmp_path, message):
    config, _, params = tiny_model(**SIZES)
    write(tmp_path / "x.bin", config, params)
    DAMAGE[message](tmp_path / "x.bin")
    with pytest.raises(ValueError, match=message):
        load_pretrained(tmp_path / "x.bin")


def test_a_table_of_another_base_is_refused(tmp_path):
    config, _, params = tiny_model(**SIZES)
    write(tmp_path / "x.bin", config, params, base=500.0)
    with pytest.raises(ValueError, match="not that of RoPE with base 10000"):
        load_pretrained(tmp_path / "x.bin")
