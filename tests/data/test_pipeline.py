"""Batches: hosts share them, one number resumes them."""

import itertools

import numpy as np
import pytest

from rope_lab.data import (
    DataConfig,
    batch_identity,
    batches,
    load_corpus,
    packed_sequences,
)


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pipeline") / "texts"
    folder.mkdir()
    for number in range(10):
        (folder / f"{number}.txt").write_text(f"{number} and more " * (5 + number))
    return DataConfig(
        corpus=str(folder),
        length=8,
        batch_size=12,
        repeat_fraction=0.2,
        data_dir=str(folder.with_name("data")),
    )


@pytest.fixture(scope="module")
def source(config):
    return packed_sequences(config)


def take(iterator, count):
    return list(itertools.islice(iterator, count))


def assert_same(first, second):
    assert len(first) == len(second)
    for one, other in zip(first, second, strict=True):
        assert one.keys() == other.keys()
        for key in one:
            np.testing.assert_array_equal(one[key], other[key])


def test_global_batch_n_holds_the_sequences_with_its_numbers(source):
    for n, batch in enumerate(take(batches(source, 12), 3)):
        rows = [source[12 * n + row] for row in range(12)]
        assert_same(
            [batch], [{key: np.stack([row[key] for row in rows]) for key in batch}]
        )


def parts(hosts):
    """The rows of each host."""
    return [range(12)[h * 12 // hosts : (h + 1) * 12 // hosts] for h in range(hosts)]


def together(source, hosts, start, count):
    """Batches put together from what each host reads."""
    read = [take(batches(source, 12, start, rows), count) for rows in parts(hosts)]
    return [
        {key: np.concatenate([part[key] for part in batch]) for key in batch[0]}
        for batch in zip(*read, strict=True)
    ]


@pytest.mark.parametrize("hosts", [2, 3, 5, 12])
def test_the_hosts_together_read_the_global_batches(hosts, source):
    alone = take(batches(source, 12, start=2), 3)
    assert_same(together(source, hosts, 2, 3), alone)


def test_a_host_reads_its_own_rows_and_no_other(source):
    read = []

    class Watched:
        def __getitem__(self, n):
            read.append(n)
            return source[n]

    take(batches(Watched(), 12, 1, rows=[3, 7, 8]), 2)
    assert set(read[:6]) == {15, 19, 20, 27, 31, 32}
    assert all(n % 12 in (3, 7, 8) for n in read)  # also what is read ahead


def test_going_on_from_the_state_gives_the_rest(source):
    iterator = batches(source, 12)
    take(iterator, 4)
    assert iterator.state == 4
    resumed = batches(source, 12, start=iterator.state)
    assert_same(take(resumed, 5), take(iterator, 5))
    assert resumed.state == iterator.state == 9


def test_restarts_on_other_numbers_of_hosts_neither_repeat_nor_skip(source):
    """1, 2, 4 and 3 hosts, inside an epoch and across its end."""
    each = max(1, source.sequences_per_epoch // 12 // 3)
    assert 3 * each * 12 <= source.sequences_per_epoch < 4 * each * 12
    stages = [(1, 0), (2, each), (4, 2 * each), (3, 3 * each)]
    read = [batch for h, start in stages for batch in together(source, h, start, each)]
    assert_same(read, take(batches(source, 12), 4 * each))


def test_batches_never_end(source):
    count = 3 * source.sequences_per_epoch // 12
    assert len(take(batches(source, 12), count)) == count


def test_a_split_opens_by_config_and_the_seed_leaves_it_alone(config):
    corpus = load_corpus(config.corpus, config.data_dir, config.held_out_fraction)
    other = DataConfig(**{**vars(config), "seed": 5})
    for split in ("train", "held_out"):
        source = packed_sequences(config, split)
        changed = packed_sequences(other, split)
        assert source.identity["split_checksum"] == corpus.split_checksum(split)
        assert changed.identity["split_checksum"] == corpus.split_checksum(split)
        assert changed.identity != source.identity


def test_the_identity_of_a_batch_names_its_sequences_and_epoch(source):
    n = source.sequences_per_epoch // 12 + 1
    message = batch_identity(source, n, 12)
    assert f"batch {n}: sequences {12 * n} to {12 * n + 11} (epoch 1)" in message
    assert source.corpus.checksum[:12] in message and "'texts'" in message


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "batch_size is 0"),
        ({"rows": [12]}, r"rows are \[12\]; give some of 0 to 11"),
        ({"rows": [2, 1]}, "ascending"),
        ({"rows": []}, r"rows are \[\]"),
        ({"start": -1}, "start is -1"),
    ],
)
def test_wrong_arguments_are_refused(options, message, source):
    with pytest.raises(ValueError, match=message):
        batches(source, **{"batch_size": 12, **options})
