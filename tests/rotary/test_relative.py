"""Piecewise relative-position matrices built by hand from position maps."""

import chex
import jax
import numpy as np

from rope_lab import rotary

LENGTH, WINDOW, STEP = 12, 4, 4


def query(i):
    return i


def key(j):
    return j


def first(i):
    return 0 * i


NEAR = (query, key, lambda i: i - WINDOW + 1, query, 0.0, 1.0)


def matrix(relative):
    """float32 matrix of relative(i, j), NaN for future keys."""
    rows = np.arange(LENGTH)
    full = np.array([[relative(i, j) for j in rows] for i in rows], np.float32)
    return np.where(rows[:, None] >= rows, full, np.float32(np.nan))


class PiecewiseTest(chex.TestCase):
    @chex.variants(with_jit=True, without_jit=True)
    def test_one_piece_is_the_toeplitz_matrix_of_rope(self):
        found = self.variant(
            lambda: rotary.piecewise_relative(
                LENGTH, [(query, key, first, query, 0.0, 1.0)]
            )
        )()
        chex.assert_shape(found, (LENGTH, LENGTH))
        chex.assert_type(found, np.float32)
        np.testing.assert_array_equal(found, matrix(lambda i, j: i - j))

    @chex.variants(with_jit=True, without_jit=True)
    def test_a_constant_far_piece_is_rerope(self):
        far = (lambda i: 0 * i + WINDOW, lambda j: 0 * j, first)
        far += (lambda i: i - WINDOW, 0.0, 1.0)
        found = self.variant(lambda: rotary.piecewise_relative(LENGTH, [NEAR, far]))()
        np.testing.assert_array_equal(found, matrix(lambda i, j: min(i - j, WINDOW)))

    @chex.variants(with_jit=True, without_jit=True)
    def test_a_far_piece_in_units_of_a_step_is_leaky_rerope(self):
        far = (lambda i: i + WINDOW * (STEP - 1), key, first)
        far += (lambda i: i - WINDOW, 0.0, 1 / STEP)
        found = self.variant(lambda: rotary.piecewise_relative(LENGTH, [NEAR, far]))()

        def leaky(i, j):
            far_away = WINDOW + (i - j - WINDOW) / STEP
            return i - j if i - j < WINDOW else far_away

        np.testing.assert_array_equal(found, matrix(leaky))


def test_the_offset_is_added_before_the_unit_is_applied():
    piece = (query, key, first, query, 0.5, 0.25)
    found = rotary.piecewise_relative(LENGTH, [piece])
    np.testing.assert_array_equal(found, matrix(lambda i, j: (i - j + 0.5) * 0.25))


def test_cells_outside_every_piece_are_nan():
    found = rotary.piecewise_relative(LENGTH, [NEAR])
    expected = matrix(lambda i, j: i - j if i - j < WINDOW else np.nan)
    np.testing.assert_array_equal(found, expected)


def test_future_keys_are_nan_even_inside_a_piece():
    everything = (query, key, first, lambda i: 0 * i + LENGTH, 0.0, 1.0)
    found = rotary.piecewise_relative(LENGTH, [everything])
    np.testing.assert_array_equal(found, matrix(lambda i, j: i - j))


def test_a_matrix_is_traced_once_for_any_offset():
    @jax.jit
    @chex.assert_max_traces(n=1)
    def build(offset):
        return rotary.piecewise_relative(6, [(query, key, first, query, offset, 1.0)])

    low, high = build(np.float32(0.0)), build(np.float32(0.25))
    np.testing.assert_array_equal(np.asarray(high - low)[5], np.full(6, 0.25))
