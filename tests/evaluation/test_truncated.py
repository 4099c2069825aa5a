"""Truncated context against windows cut by hand."""

import numpy as np
import pytest
import tiny_model

from rope_lab import position_logic
from rope_lab.evaluation import per_token, positions
from rope_lab.evaluation import truncated as module
from rope_lab.evaluation.truncated import Cut, cuts, truncated

GRAPHDEF, PARAMS = tiny_model.GRAPHDEF, tiny_model.init(seed=1)
ROPE = position_logic("rope", head_dim=8)


@pytest.fixture(autouse=True)
def quick_model(monkeypatch):
    monkeypatch.setattr(positions, "target_scores", tiny_model.target_scores)


def windows(count, length):
    rng = np.random.default_rng(length)
    return rng.integers(0, 13, (count, length + 1)).astype(np.int32)


def test_windows_of_eight_on_twenty_four_tokens_are_those_of_the_definition():
    assert cuts(24, 8) == [Cut(0, 0), Cut(4, 4), Cut(8, 4), Cut(12, 4), Cut(16, 4)]


@pytest.mark.parametrize("length", [3, 8, 9, 11, 12, 24, 31, 64])
@pytest.mark.parametrize("train_length", [2, 3, 8, 9])
def test_every_target_is_scored_once_with_its_last_half_to_whole_window(
    length, train_length
):
    width = min(length, train_length)
    context = {}
    for start, first in cuts(length, train_length):
        for position in range(first, width):
            assert start + position not in context
            context[start + position] = position + 1
    assert sorted(context) == list(range(length))
    for target, seen in context.items():
        least = min(target + 1, train_length - train_length // 2 + 1)
        assert least <= seen <= min(target + 1, train_length)


def test_losses_equal_windows_cut_and_joined_by_hand():
    tokens = windows(3, 20)
    loss, hit = truncated(GRAPHDEF, PARAMS, tokens, ROPE, 8)
    by_hand = [per_token(GRAPHDEF, PARAMS, tokens[:, :9], ROPE)]
    for start in (4, 8, 12):
        short = tokens[:, start : start + 9]
        parts = per_token(GRAPHDEF, PARAMS, short, ROPE)
        by_hand.append([part[:, 4:] for part in parts])
    expected_loss, expected_hit = (
        np.concatenate(parts, axis=1) for parts in zip(*by_hand, strict=True)
    )
    np.testing.assert_allclose(loss, expected_loss, atol=1e-5)
    np.testing.assert_array_equal(hit, expected_hit)


@pytest.mark.parametrize("length", [5, 8])
def test_within_the_training_length_nothing_is_cut(length):
    tokens = windows(2, length)
    loss, _ = truncated(GRAPHDEF, PARAMS, tokens, ROPE, 8)
    expected, _ = per_token(GRAPHDEF, PARAMS, tokens, ROPE)
    np.testing.assert_allclose(loss, expected, atol=1e-5)


def test_targets_do_not_feel_tokens_before_their_window():
    tokens = windows(1, 24)
    changed = tokens.copy()
    changed[0, :4] = (changed[0, :4] + 1) % 13
    before, _ = truncated(GRAPHDEF, PARAMS, tokens, ROPE, 8)
    after, _ = truncated(GRAPHDEF, PARAMS, changed, ROPE, 8)
    np.testing.assert_array_equal(before[0, 8:], after[0, 8:])
    assert (before[0, 4:8] != after[0, 4:8]).any()


def test_scoring_other_targets_would_stop_the_run(monkeypatch):
    shifted = [Cut(0, 0), Cut(5, 4), Cut(8, 4), Cut(12, 4), Cut(16, 4)]
    monkeypatch.setattr(module, "cuts", lambda *_: shifted)
    with pytest.raises(RuntimeError, match="do not score the sequence's targets"):
        truncated(GRAPHDEF, PARAMS, windows(1, 24), ROPE, 8)


def test_a_training_length_of_one_token_is_refused():
    with pytest.raises(ValueError, match="at least 2 tokens"):
        truncated(GRAPHDEF, PARAMS, windows(1, 24), ROPE, 1)
