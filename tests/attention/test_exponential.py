"""The exponential of softmax weights, against float64."""

import jax
import numpy as np

from rope_lab.attention.exponential import exp

# Compiled: XLA may rearrange what an eager call computes term by term.
compiled = jax.jit(exp)


def test_it_is_right_to_a_few_units_in_the_last_place():
    x = np.linspace(-87.2, 2.0, 200_001, dtype=np.float32)
    x = np.concatenate([x, -np.logspace(-8, 1, 10_001, dtype=np.float32)])
    error = np.abs(np.asarray(compiled(x), np.float64) / np.exp(np.float64(x)) - 1)
    assert np.all(error <= 4e-7 + 7e-8 * np.abs(x))


def test_the_largest_logit_weighs_exactly_one_and_hidden_ones_exactly_nothing():
    x = np.array([0.0, -88.0, -1e30, -np.inf], np.float32)
    np.testing.assert_array_equal(compiled(x), [1.0, 0.0, 0.0, 0.0])


def test_what_is_not_a_number_stays_so():
    x = np.array([np.nan, -np.nan] * 9, np.float32)  # more than a vector register
    assert np.isnan(compiled(x)).all() and np.isnan(exp(x[0]))
