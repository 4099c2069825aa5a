"""PosGen: the paper's worked example, disjoint prefixes, and the builder on disk."""

import itertools
import sys

import numpy as np
import pytest

from rope_lab.data.pipeline import batches
from rope_lab.data.posgen import (
    SPLITS,
    SUBTASKS,
    PosGenConfig,
    PosGenTask,
    distinct_prefixes,
    generate_splits,
    overlap,
    sequences,
)
from rope_lab.data.posgen_source import (
    PosGen,
    PosGenSource,
    PosGenVocabulary,
    load_posgen,
)

SMALL = {"modulus": 7, "train_length": 12, "test_length": 30}
SMALL |= {"num_train": 40, "num_validation": 8, "num_test": 10}

# arXiv:2403.00071, figure 2: modulus 7, seed 2 0 3 1.
EXAMPLE = {
    "recursive": [6, 3, 6, 2, 3, 0, 4, 2],
    "cot": [6, 5, 0, 6, 6, 0, 0, 1],
    "semi_recursive": [6, 5, 5, 2, 1, 4, 1, 0],
}


def token_by_token(subtask, prefix, length, j, k, h):
    """The sub-tasks as a machine that moves a pointer, one sequence, plain lists."""
    tokens, pointer, held = list(prefix), 0, 0
    while len(tokens) < length:
        near = tokens[len(tokens) - k :]
        if subtask == "recursive":
            far = tokens[len(tokens) - k - j : len(tokens) - k]
        elif subtask == "cot":
            far = tokens[:j]
        else:
            far = tokens[pointer : pointer + j]
            held += 1
            if held == 2:
                pointer, held = pointer + 1, 0
        tokens.append(h(far + near))
    return tokens


@pytest.mark.parametrize("subtask", SUBTASKS)
def test_the_sequences_are_those_of_the_papers_figure(subtask):
    seed = [2, 0, 3, 1]
    found = sequences(PosGenTask(subtask, modulus=7), np.array([seed]), 12)
    assert found.tolist() == [seed + EXAMPLE[subtask]]


@pytest.mark.parametrize("subtask", SUBTASKS)
@pytest.mark.parametrize(("j", "k"), [(1, 3), (2, 2), (3, 1), (2, 4), (1, 1), (0, 2)])
def test_any_far_and_near_agree_with_a_pointer_that_moves(subtask, j, k):
    rng = np.random.default_rng(0)
    prefixes = rng.integers(0, 11, size=(5, j + k))
    found = sequences(PosGenTask(subtask, 11, j, k), prefixes, 60)
    for prefix, row in zip(prefixes.tolist(), found.tolist(), strict=True):
        expected = token_by_token(subtask, prefix, 60, j, k, lambda s: sum(s) % 11)
        assert row == expected


def test_a_rule_of_ones_own_sees_the_far_tokens_first():
    def weighted(states, modulus):
        return (states * np.arange(1, 5)).sum(axis=1) % modulus

    task = PosGenTask("semi_recursive", 13, rule=weighted)
    prefix = [3, 1, 4, 12]

    def one(state):
        return sum((n + 1) * value for n, value in enumerate(state)) % 13

    expected = token_by_token("semi_recursive", prefix, 40, 1, 3, one)
    assert sequences(task, np.array([prefix]), 40).tolist() == [expected]


def test_sequences_repeat_after_the_periods_of_their_sub_task():
    # The sum of 4 mod 17 has the period 4912 (or 16), cot's last three tokens 96.
    prefixes = distinct_prefixes(PosGenTask("cot"), 30, seed=0)
    tokens = sequences(PosGenTask("cot"), prefixes, 300)
    np.testing.assert_array_equal(tokens[:, 1:-96], tokens[:, 97:])
    tokens = sequences(PosGenTask("recursive"), prefixes[:3], 5000)
    np.testing.assert_array_equal(tokens[:, :-4912], tokens[:, 4912:])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"subtask": "recurrent"}, "recursive, cot, semi_recursive"),
        ({"modulus": 1}, "at least 2"),
        ({"far": 0, "near": 0}, "a state needs a token"),
        ({"prefixes": "shared"}, "disjoint, released"),
        ({"train_length": 4}, "far . near = 4 < train_length"),
        ({"test_length": 8}, "train_length <= test_length"),
        ({"num_test": 0}, "at least one sequence"),
    ],
)
def test_settings_that_cannot_be_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        PosGenConfig(**SMALL | change)


@pytest.mark.parametrize(
    ("prefixes", "length", "message"),
    [
        ([[1, 2, 3]], 9, r"expected \[N, 4\]"),
        ([[1, 2, 3, 4]], 3, "at least as many tokens"),
        ([[1, 2, 3, 7]], 9, "the prefixes hold 7; tokens are 0 to 6"),
    ],
)
def test_prefixes_that_begin_no_sequence_are_refused(prefixes, length, message):
    with pytest.raises(ValueError, match=message):
        sequences(PosGenTask("cot", modulus=7), np.array(prefixes), length)


def test_a_rule_that_leaves_the_tokens_is_refused():
    task = PosGenTask("cot", 7, rule=lambda states, modulus: states.sum(axis=1))
    with pytest.raises(ValueError, match="the rule gave 8; tokens are 0 to 6"):
        sequences(task, np.array([[2, 2, 2, 2]]), 9)


@pytest.mark.parametrize("subtask", SUBTASKS)
def test_no_prefix_stands_in_two_sequences(subtask):
    splits = generate_splits(PosGenConfig(**SMALL, subtask=subtask, seed=3))
    prefixes = np.concatenate([splits[name][:, :4] for name in SPLITS])
    assert len(np.unique(prefixes, axis=0)) == len(prefixes) == 40 + 8 + 10
    assert splits["train"].shape == (40, 12) and splits["test"].shape == (10, 30)


def test_all_prefixes_of_a_modulus_can_be_used_and_not_one_more():
    sizes = {"num_train": 600, "num_validation": 12, "num_test": 13}
    splits = generate_splits(PosGenConfig(**SMALL | sizes | {"modulus": 5}))
    used = np.concatenate([splits[name][:, :4] for name in SPLITS])
    assert {*map(tuple, used)} == {*itertools.product(range(5), repeat=4)}
    with pytest.raises(ValueError, match="modulus 5 has 625 .* the 626 sequences"):
        PosGenConfig(**SMALL | sizes | {"modulus": 5, "num_test": 14})


def test_the_published_sizes_need_a_modulus_above_seven():
    with pytest.raises(ValueError, match="2401 prefixes .* the 12000 sequences"):
        PosGenConfig(modulus=7)


def test_the_released_enumeration_tests_on_sequences_it_trained_on():
    config = PosGenConfig(prefixes="released")
    splits = generate_splits(config)
    known = {row.tobytes() for row in splits["train"]}
    assert len(known) == 2380  # combinations of 4 in 17, of 10,000 sequences
    for name in ("validation", "test"):
        assert all(row[:64].tobytes() in known for row in splits[name])
    assert splits["train"][:3, :4].tolist() == [
        [0, 1, 2, 3],
        [0, 1, 2, 4],
        [0, 1, 2, 5],
    ]
    assert splits["test"][0, :4].tolist() == splits["train"][1000, :4].tolist()
    assert overlap(config, splits)["prefixes"] == 1.0


def test_the_overlap_counts_states_by_the_values_that_decide():
    config = PosGenConfig(**SMALL, subtask="cot")
    splits = generate_splits(config)
    shares = overlap(config, splits)
    assert shares["prefixes"] == 0.0

    def states(rows, start):
        return [
            (row[0], *row[place - 3 : place])
            for row in rows.tolist()
            for place in range(start, len(row))
        ]

    known = set(states(splits["train"], 4))
    within = [s in known for s in states(splits["test"][:, :12], 4)]
    beyond = [s in known for s in states(splits["test"], 12)]
    assert shares["states_within"] == pytest.approx(np.mean(within))
    assert shares["states_beyond"] == pytest.approx(np.mean(beyond))
    assert 0 < shares["states_beyond"] < 1


def test_the_seed_draws_other_prefixes():
    first, second = (generate_splits(PosGenConfig(**SMALL, seed=s)) for s in (0, 1))
    assert not np.array_equal(first["test"], second["test"])
    again = generate_splits(PosGenConfig(**SMALL, seed=0))
    np.testing.assert_array_equal(first["test"], again["test"])


def test_the_builder_gives_back_what_was_generated(tmp_path):
    config = PosGenConfig(**SMALL, subtask="semi_recursive")
    expected = generate_splits(config)
    for _ in range(2):  # written, then read
        found = load_posgen(config, tmp_path)
        for name in SPLITS:
            np.testing.assert_array_equal(found[name], expected[name])
    assert len(list((tmp_path / "posgen").glob("*[0-9a-f]"))) == 1


def test_another_rule_is_another_data_set(tmp_path):
    config = PosGenConfig(**SMALL)

    def product(states, modulus):
        return states.prod(axis=1) % modulus

    added, multiplied = (
        load_posgen(config, tmp_path),
        load_posgen(config, tmp_path, product),
    )
    np.testing.assert_array_equal(added["test"][:, :4], multiplied["test"][:, :4])
    assert not np.array_equal(added["test"], multiplied["test"])


def test_the_builder_reads_and_writes_without_tensorflow(tmp_path):
    builder = PosGen(settings=PosGenConfig(**SMALL), data_dir=tmp_path)
    builder.download_and_prepare()
    assert builder.info.features["tokens"].np_dtype == np.int32
    assert len(builder.as_data_source("validation")) == 8
    assert list(tmp_path.rglob("*.array_record*"))
    assert "tensorflow" not in sys.modules


def test_a_sequence_begins_with_the_start_token_and_weighs_what_is_computed():
    config = PosGenConfig(**SMALL)
    train = generate_splits(config)["train"]
    vocabulary = PosGenVocabulary(7)
    assert (vocabulary.size, vocabulary.start) == (12, 11)
    sequence = PosGenSource(config, train, seeds=[0, 1])[0]
    inputs, targets, weights = sequence.values()
    assert inputs.shape == targets.shape == weights.shape == (2, 12)
    assert (inputs[:, 0] == 11).all()
    np.testing.assert_array_equal(inputs[:, 1:], targets[:, :-1])
    np.testing.assert_array_equal(weights, [[0] * 4 + [1] * 8] * 2)
    assert {tuple(row) for row in targets} <= {tuple(row) for row in train}


def test_every_seed_sees_every_sequence_once_an_epoch_in_its_own_order():
    config = PosGenConfig(**SMALL)
    train = generate_splits(config)["train"]
    source = PosGenSource(config, train, seeds=[0, 5])
    epochs = [
        np.stack([source[epoch * 40 + n]["targets"] for n in range(40)])
        for epoch in range(2)
    ]
    alone = PosGenSource(config, train, seeds=[5])
    for epoch, rows in enumerate(epochs):
        for order in range(2):
            seen = {tuple(row) for row in rows[:, order]}
            assert seen == {tuple(row) for row in train}
        single = np.stack([alone[epoch * 40 + n]["targets"][0] for n in range(40)])
        np.testing.assert_array_equal(rows[:, 1], single)
    assert not np.array_equal(epochs[0][:, 0], epochs[0][:, 1])
    assert not np.array_equal(epochs[0][:, 0], epochs[1][:, 0])


def test_batches_continue_where_a_run_stopped():
    config = PosGenConfig(**SMALL)
    source = PosGenSource(config, generate_splits(config)["train"], seeds=[0])
    straight = batches(source, 16)
    rows = [next(straight)["inputs"] for _ in range(6)]
    assert rows[0].shape == (16, 1, 12)
    later = batches(source, 16, start=4)
    np.testing.assert_array_equal(next(later)["inputs"], rows[4])
    np.testing.assert_array_equal(next(later)["inputs"], rows[5])


@pytest.mark.parametrize(
    ("subtask", "distance", "every"),
    [("recursive", 5, 1), ("cot", 4, 1), ("semi_recursive", 4, 2)],
)
def test_two_neighbouring_sums_leave_a_short_cut(subtask, distance, every):
    # x_l - x_{l-1} loses every term that both sums have: experiments/posgen/reading.md.
    task = PosGenTask(subtask)
    tokens = sequences(task, distinct_prefixes(task, 20, seed=0), 256).astype(int)
    places = np.arange(5, 256, every)
    short_cut = (2 * tokens[:, places - 1] - tokens[:, places - distance]) % 17
    np.testing.assert_array_equal(tokens[:, places], short_cut)
    others = np.setdiff1d(np.arange(5, 256), places)
    wrong = (2 * tokens[:, others - 1] - tokens[:, others - distance]) % 17
    assert (tokens[:, others] == wrong).mean() < 0.1 if len(others) else every == 1
