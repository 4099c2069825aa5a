"""llama2.c: a checkpoint written as its exporter does, planes interleaved."""

import numpy as np
import pytest
from tiny_checkpoint import logits, tiny_model
from tiny_llama2c import INTERLEAVED, SIZES, VOCABULARY, WORDS, write

from rope_lab.interop import load_pretrained


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
