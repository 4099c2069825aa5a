"""Positions of the randomized encoding: who draws them, and which."""

import jax
import numpy as np
import pytest

from rope_lab import position_logic
from rope_lab.logic.draws import (
    PositionDraw,
    evaluation_positions,
    spread,
    training_positions,
)

M, T = 12, 5


def randomized(**options):
    return position_logic("randomized", head_dim=4, draw_from=M, **options)


def test_a_draw_is_an_ascending_subset_and_each_position_as_likely_as_another():
    draw, keys = PositionDraw(M), jax.random.split(jax.random.key(0), 3000)
    drawn = np.asarray(jax.vmap(lambda key: draw.drawn(key, T))(keys))
    assert drawn.dtype == np.int32 and drawn.min() >= 0 and drawn.max() < M
    assert np.all(np.diff(drawn) > 0)
    share = np.bincount(drawn.ravel(), minlength=M) / len(drawn)
    # Each is in a subset with probability T/M: within five standard errors.
    error = (T / M * (1 - T / M) / len(drawn)) ** 0.5
    assert np.abs(share - T / M).max() < 5 * error


def test_each_sequence_has_a_draw_of_its_own_and_one_key_always_gives_the_same():
    key = jax.random.key(1)
    first, again = (training_positions(randomized(), key, None, (3, T)) for _ in "12")
    np.testing.assert_array_equal(first, again)
    assert len(np.unique(first, axis=0)) == 3
    other = training_positions(randomized(), jax.random.key(2), None, (3, T))
    assert np.any(other != first)


def test_documents_packed_together_stand_at_the_first_positions_of_the_draw():
    key, places = jax.random.key(1), np.array([[0, 1, 2, 0, 1], [0, 1, 2, 3, 4]])
    whole = np.asarray(training_positions(randomized(), key, None, (2, T)))
    packed = training_positions(randomized(), key, places, (2, T))
    np.testing.assert_array_equal(packed, [whole[0, places[0]], whole[1]])


def test_a_window_is_measured_at_the_same_positions_in_any_batch():
    together = evaluation_positions(randomized(), np.arange(6), T)
    alone = [evaluation_positions(randomized(), np.array([n]), T)[0] for n in range(6)]
    np.testing.assert_array_equal(together, alone)
    assert len(np.unique(together, axis=0)) > 1


def test_evenly_spread_positions_are_a_whole_number_of_tokens_apart():
    logic = randomized(at_test="even")
    np.testing.assert_array_equal(
        evaluation_positions(logic, np.arange(2), T), [[0, 2, 4, 6, 8]] * 2
    )
    # As the bands of a logic for who counts positions.
    (band,) = spread(logic, T).bands
    counted = np.arange(T, dtype=np.int32)
    np.testing.assert_array_equal(band.alpha(counted), [0, 2, 4, 6, 8])
    np.testing.assert_array_equal(band.beta(counted), [0, 2, 4, 6, 8])


def test_a_logic_that_draws_nothing_keeps_the_positions_it_is_given():
    rope, key = position_logic("rope", head_dim=4), jax.random.key(0)
    places = np.array([[0, 1, 2]])
    assert training_positions(rope, key, places, (1, 3)) is places
    assert training_positions([rope, rope], key, None, (1, 3)) is None
    assert evaluation_positions(lambda *_: None, np.arange(2), 3) is None


@pytest.mark.parametrize("at_test", ["drawn", "even"])
def test_more_tokens_than_positions_are_refused(at_test):
    with pytest.raises(ValueError, match="draw_from=13"):
        evaluation_positions(randomized(at_test=at_test), np.arange(2), M + 1)


def test_layers_that_would_stand_at_different_positions_are_refused():
    mixed = [randomized(), position_logic("rope", head_dim=4)]
    with pytest.raises(ValueError, match="every layer"):
        training_positions(mixed, jax.random.key(0), None, (1, 3))
