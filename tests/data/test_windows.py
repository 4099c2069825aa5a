"""Evaluation windows: inside documents, spread over them, pinned by a checksum."""

import hashlib

import numpy as np
import pytest

from rope_lab.data import (
    evaluation_windows,
    load_corpus,
    load_tokenizer,
    packed_windows,
)

SIZES = [10, 300, 200, 65, 66, 67, 500, 64, 900, 130]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("texts")
    for number, size in enumerate(SIZES):
        text = "".join(chr(33 + (7 * number + step) % 89) for step in range(size))
        (folder / f"{number}.txt").write_text(text)
    data_dir = tmp_path_factory.mktemp("data")
    return load_corpus(folder, data_dir, held_out_fraction=0.5)


def windows(corpus, length=64, count=5, split="train", **options):
    tokenizer = load_tokenizer("bytes")
    return evaluation_windows(corpus, tokenizer, split, length, count, **options)


def fitting(corpus, span, split="train"):
    """Documents with room for a window that starts after their first token."""
    sizes = [len(text) for text in corpus.documents(split)]
    return {number for number, size in enumerate(sizes) if size > span}


@pytest.mark.parametrize("split", ["train", "held_out"])
def test_a_window_is_a_piece_of_its_document(split, corpus):
    result = windows(corpus, count=4, split=split)
    assert result.tokens.shape == (4, 65) and result.tokens.dtype == np.int32
    for tokens, document, start in zip(
        result.tokens, result.document_ids, result.starts, strict=True
    ):
        text = corpus.documents(split)[document].encode()
        np.testing.assert_array_equal(
            tokens, np.frombuffer(text[start : start + 65], np.uint8)
        )


@pytest.mark.parametrize("seed", range(20))
def test_windows_never_start_where_a_document_does(seed, corpus):
    assert windows(corpus, seed=seed).starts.min() >= 1
    assert 256 not in windows(corpus, seed=seed).tokens


def test_windows_are_spread_over_as_many_documents_as_possible(corpus):
    long_enough = fitting(corpus, 65)
    result = windows(corpus, count=len(long_enough))
    assert set(result.document_ids.tolist()) == long_enough
    more = windows(corpus, count=len(long_enough) + 1)
    assert set(more.document_ids.tolist()) == long_enough


def test_windows_of_one_document_do_not_overlap(corpus):
    room = sum((len(text) - 1) // 65 for text in corpus.documents("train"))
    for seed in range(10):
        result = windows(corpus, count=room, seed=seed)
        for document in set(result.document_ids):
            starts = result.starts[result.document_ids == document]
            assert np.all(np.diff(starts) >= 65)


def test_every_start_is_drawn_up_to_the_last_possible(tmp_path):
    (tmp_path / "one.txt").write_text("0123456789")
    corpus = load_corpus(tmp_path / "one.txt", tmp_path / "data", 0.0)
    starts = {windows(corpus, 6, 1, seed=seed).starts[0] for seed in range(60)}
    assert starts == {1, 2, 3}


def test_a_repeated_window_tiles_one_passage_of_its_document(corpus):
    result = windows(corpus, length=64, count=5, repeat_length=20)
    for tokens, document, start in zip(
        result.tokens, result.document_ids, result.starts, strict=True
    ):
        text = corpus.documents("train")[document].encode()
        assert start >= 1
        passage = np.frombuffer(text[start : start + 20], np.uint8)
        np.testing.assert_array_equal(tokens, np.tile(passage, 4)[:65])


def test_the_checksum_is_that_of_the_targets(corpus):
    result = windows(corpus)
    targets = b"".join(
        int(token).to_bytes(4, "little") for token in result.tokens[:, 1:].ravel()
    )
    assert result.checksum == hashlib.sha256(targets).hexdigest()


def test_windows_are_drawn_by_the_seed_alone(corpus):
    assert windows(corpus, seed=1).checksum == windows(corpus, seed=1).checksum
    assert len({windows(corpus, seed=seed).checksum for seed in range(5)}) == 5


def test_a_length_beyond_every_document_is_refused_with_the_longest(corpus):
    longest = max(len(text) for text in corpus.documents("train"))
    with pytest.raises(ValueError, match=f"longest of .* has {longest} tokens"):
        windows(corpus, length=longest)
    assert len(windows(corpus, length=longest - 2, count=1).tokens) == 1


def test_more_windows_than_fit_are_refused_with_how_many_do(corpus):
    room = sum((len(text) - 1) // 65 for text in corpus.documents("train"))
    with pytest.raises(ValueError, match=f"only {room} fit"):
        windows(corpus, count=room + 1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"length": 0}, "at least 1"),
        ({"count": 0}, "at least 1"),
        ({"repeat_length": 65}, "repeat_length is 65"),
        ({"repeat_length": 0}, "repeat_length is 0"),
        ({"seed": -1}, "seed is -1"),
        ({"split": "test"}, "expected one of train, held_out"),
    ],
)
def test_wrong_arguments_are_refused(options, message, corpus):
    with pytest.raises(ValueError, match=message):
        windows(corpus, **options)


def packed(corpus, length=64, count=5, split="train", **options):
    return packed_windows(
        corpus, load_tokenizer("bytes"), split, length, count, **options
    )


def test_packed_windows_are_whole_documents_one_after_the_other(corpus):
    result = packed(corpus, count=1000)
    spans = [len(text) + 1 for text in corpus.documents("train")]
    assert len(result.tokens) == sum(spans) // 65  # what there is text for
    stream = result.tokens.ravel()
    starts = np.flatnonzero(stream == 256)
    assert starts[0] == 0
    texts = {bytes(part[1:].astype(np.uint8)) for part in np.split(stream, starts)[1:]}
    whole = {text.encode() for text in corpus.documents("train")}
    assert len(texts - whole) <= 1  # the last is cut
    assert result.document_ids.tolist() == [*range(len(result.tokens))]
    assert result.starts.tolist() == [65 * n for n in range(len(result.tokens))]
    other = packed(corpus, count=1000, seed=1)
    assert not np.array_equal(other.tokens, result.tokens)


def test_packed_windows_refuse_changed_tokens(corpus):
    packed(corpus)
    (stored,) = (corpus.root / "tokens").glob("*/tokens.bin")
    whole = stored.read_bytes()
    try:
        stored.write_bytes(bytes([whole[0] ^ 1]) + whole[1:])
        with pytest.raises(ValueError, match="tokens.bin is damaged"):
            packed(corpus, count=1000)
    finally:
        stored.write_bytes(whole)


def test_shorter_packed_windows_hold_the_same_text(corpus):
    long, short = packed(corpus, 128, 2), packed(corpus, 32, 8)
    together = long.tokens.ravel()[: short.tokens.size]
    np.testing.assert_array_equal(short.tokens.ravel()[: together.size], together)


def test_text_that_fills_no_packed_window_is_refused(corpus):
    with pytest.raises(ValueError, match="hold no window of 10001 tokens"):
        packed(corpus, 10_000)
