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


@pytest.mark.parametrize("num_hosts", [2, 3, 12])
def test_the_hosts_together_read_the_global_batches(num_hosts, source):
    alone = take(batches(source, 12, start=2), 3)
    hosts = [
        take(batches(source, 12, start=2, host=host, num_hosts=num_hosts), 3)
        for host in range(num_hosts)
    ]
    together = [
        {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
        for parts in zip(*hosts, strict=True)
    ]
    assert_same(together, alone)


def test_going_on_from_the_state_gives_the_rest(source):
    iterator = batches(source, 12)
    take(iterator, 4)
    assert iterator.state == 4
    resumed = batches(source, 12, start=iterator.state)
    assert_same(take(resumed, 5), take(iterator, 5))
    assert resumed.state == iterator.state == 9


def test_resuming_with_other_hosts_gives_the_rest(source):
    iterator = batches(source, 12)
    take(iterator, 3)
    tail = take(iterator, 1)[0]
    halves = [
        take(batches(source, 12, start=3, host=host, num_hosts=2), 1)[0]
        for host in range(2)
    ]
    both = {key: np.concatenate([half[key] for half in halves]) for key in tail}
    assert_same([both], [tail])


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
        ({"num_hosts": 5}, "multiple of the number of hosts"),
        ({"host": 1}, "host is 1"),
        ({"start": -1}, "start is -1"),
    ],
)
def test_wrong_arguments_are_refused(options, message, source):
    with pytest.raises(ValueError, match=message):
        batches(source, **{"batch_size": 12, **options})
