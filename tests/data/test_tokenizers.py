"""Tokenizers: text survives, vocabularies hold, training is deterministic."""

import json
import sys

import numpy as np
import pytest
import tokenizers as hf

from rope_lab.data import load_corpus, load_tokenizer

PROSE = "The state of the union is strong; naïve — 字 🜂\r\n\ttabs, the state of it.  "


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("texts")
    for number in range(10):
        (folder / f"{number}.txt").write_text(f"{number} " + PROSE * (number + 1))
    data_dir = tmp_path_factory.mktemp("data")
    return load_corpus(folder, data_dir, held_out_fraction=0.2)


def word_level(path, special=()):
    model = hf.Tokenizer(hf.models.WordLevel({"a": 0, "b": 1, "?": 2}, unk_token="?"))
    model.pre_tokenizer = hf.pre_tokenizers.Whitespace()
    model.add_special_tokens(list(special))
    model.save(str(path))
    return path


def sentencepiece_model(path, bos_id):
    spm = pytest.importorskip("sentencepiece", reason="the extra hf is not installed")
    with path.open("wb") as file:
        spm.SentencePieceTrainer.train(
            sentence_iterator=iter([PROSE] * 20),
            model_writer=file,
            vocab_size=284,
            byte_fallback=True,
            bos_id=bos_id,
            minloglevel=2,
        )
    return path


@pytest.mark.parametrize("spec", ["bytes", "bpe:300"])
def test_decoding_undoes_encoding(spec, corpus):
    tokenizer = load_tokenizer(spec, corpus)
    ids = tokenizer.encode(PROSE)
    assert ids.dtype == np.int32
    assert tokenizer.bos_id not in ids
    assert ids.max() < tokenizer.vocab_size
    assert tokenizer.decode(ids) == PROSE
    assert tokenizer.decode(np.append(tokenizer.bos_id, ids)) == PROSE


def test_bytes_are_the_bytes_of_utf8():
    tokenizer = load_tokenizer("bytes")
    assert tokenizer.encode("é").tolist() == [0xC3, 0xA9]
    assert (tokenizer.vocab_size, tokenizer.bos_id) == (257, 256)


def test_a_trained_bpe_has_the_size_asked_for_and_compresses(corpus):
    tokenizer = load_tokenizer("bpe:300", corpus)
    assert tokenizer.vocab_size == 300
    assert len(tokenizer.encode(PROSE)) < 0.7 * len(PROSE.encode())


def test_bpe_trained_twice_is_the_same(corpus, tmp_path):
    # Each training hashes with a fresh random seed, in this process as in another.
    folders = [tmp_path / str(number) for number in range(3)]
    assert len({load_tokenizer("bpe:300", corpus, f).checksum for f in folders}) == 1


def test_bpe_is_trained_once_and_read_afterwards(corpus, monkeypatch):
    first = load_tokenizer("bpe:300", corpus)
    monkeypatch.setattr("rope_lab.data.tokenizers._train_bpe", None)
    assert load_tokenizer("bpe:300", corpus).checksum == first.checksum


def test_bpe_is_not_trained_on_held_out_documents(tmp_path):
    lines = [json.dumps({"text": f"{word} " * 50}) for word in ("apple", "plum", "fig")]
    (tmp_path / "fruit.jsonl").write_text("\n".join(lines))
    corpus = load_corpus(tmp_path / "fruit.jsonl", tmp_path / "data", 0.3)
    tokenizer = load_tokenizer("bpe:400", corpus)
    (unseen,) = {text.split()[0] for text in corpus.documents("held_out")}
    assert len(tokenizer.encode(f" {unseen}")) > 1
    for text in corpus.documents("train"):
        assert len(tokenizer.encode(f" {text.split()[0]}")) == 1


def test_a_file_with_a_bos_uses_it(tmp_path):
    path = word_level(tmp_path / "words.json", ["<s>", "</s>"])
    tokenizer = load_tokenizer(path)
    assert (tokenizer.bos_id, tokenizer.vocab_size) == (3, 5)


def test_a_file_without_a_bos_gets_one_more_id(tmp_path):
    tokenizer = load_tokenizer(word_level(tmp_path / "words.json"))
    assert (tokenizer.bos_id, tokenizer.vocab_size) == (3, 4)
    assert tokenizer.encode("b a b").tolist() == [1, 0, 1]


def test_text_that_spells_a_special_token_stays_text(corpus):
    tokenizer = load_tokenizer("bpe:300", corpus)
    ids = tokenizer.encode("before <|bos|> after")
    assert tokenizer.bos_id not in ids
    assert tokenizer.decode(ids) == "before <|bos|> after"


@pytest.mark.parametrize(("bos_id", "expected"), [(1, (1, 284)), (-1, (284, 285))])
def test_sentencepiece_models_load_with_and_without_a_bos(bos_id, expected, tmp_path):
    tokenizer = load_tokenizer(sentencepiece_model(tmp_path / "m.model", bos_id))
    assert (tokenizer.bos_id, tokenizer.vocab_size) == expected
    ids = tokenizer.encode("the state of the union")
    assert tokenizer.decode(ids) == "the state of the union"
    assert tokenizer.bos_id not in ids


def test_checksums_tell_tokenizers_apart(corpus, tmp_path):
    specs = ["bytes", "bpe:300", "bpe:301", word_level(tmp_path / "words.json")]
    assert len({load_tokenizer(spec, corpus).checksum for spec in specs}) == 4


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("words", "unknown tokenizer 'words'"),
        ("bpe:many", "whole number"),
        ("bpe:256", "at least 257"),
        ("bpe:300", "give `corpus`"),
        ("missing.json", "missing.json does not exist"),
        ("missing.model", "missing.model does not exist"),
        ("words.json?bos=None", "words.json has no BOS.*--config.bos=False"),
    ],
)
def test_a_wrong_spec_is_refused(spec, message):
    with pytest.raises(ValueError, match=message):
        load_tokenizer(spec)


@pytest.mark.parametrize("suffix", [".json", ".model"])
@pytest.mark.parametrize("content", [b'{"not": "one"}', b"\xff\x00", b""])
def test_a_file_that_is_no_tokenizer_is_refused(content, suffix, tmp_path):
    path = tmp_path / f"file{suffix}"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="is not a tokenizer") as caught:
        load_tokenizer(path)
    assert "\n" not in str(caught.value)


def test_sentencepiece_missing_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "sentencepiece", None)
    with pytest.raises(ValueError, match=r"rope-lab\[hf\]"):
        load_tokenizer(tmp_path / "m.model")


def test_a_text_the_tokenizer_cannot_encode_is_named_with_it(tmp_path):
    path = tmp_path / "tokenizer.json"
    hf.Tokenizer(hf.models.WordLevel({"a": 0}, unk_token="?")).save(str(path))
    with pytest.raises(ValueError, match="tokenizer.json cannot encode 'b'"):
        load_tokenizer(path).encode("b")
