"""Relative-position matrices against the ReRoPE article's, typed out at length 12.

kexue.fm 9708 prints them with dots; here L = 12, k = 4, w = 4. The last row of its
interpolation matrix repeats (L-1)/k where (L-2)/k is meant; that slip is corrected.
"""

from fractions import Fraction

import chex
import jax.numpy as jnp
import numpy as np
import pytest

from rope_lab import position_logic, relative_positions
from rope_lab.logic.bands import relative_positions_at

LENGTH = 12

ROPE = """
0
1 0
2 1 0
3 2 1 0
4 3 2 1 0
5 4 3 2 1 0
6 5 4 3 2 1 0
7 6 5 4 3 2 1 0
8 7 6 5 4 3 2 1 0
9 8 7 6 5 4 3 2 1 0
10 9 8 7 6 5 4 3 2 1 0
11 10 9 8 7 6 5 4 3 2 1 0
"""

INTERPOLATED = """
0
1/4 0
2/4 1/4 0
3/4 2/4 1/4 0
1 3/4 2/4 1/4 0
5/4 1 3/4 2/4 1/4 0
6/4 5/4 1 3/4 2/4 1/4 0
7/4 6/4 5/4 1 3/4 2/4 1/4 0
2 7/4 6/4 5/4 1 3/4 2/4 1/4 0
9/4 2 7/4 6/4 5/4 1 3/4 2/4 1/4 0
10/4 9/4 2 7/4 6/4 5/4 1 3/4 2/4 1/4 0
11/4 10/4 9/4 2 7/4 6/4 5/4 1 3/4 2/4 1/4 0
"""

REROPE = """
0
1 0
2 1 0
3 2 1 0
4 3 2 1 0
4 4 3 2 1 0
4 4 4 3 2 1 0
4 4 4 4 3 2 1 0
4 4 4 4 4 3 2 1 0
4 4 4 4 4 4 3 2 1 0
4 4 4 4 4 4 4 3 2 1 0
4 4 4 4 4 4 4 4 3 2 1 0
"""

LEAKY = """
0
1 0
2 1 0
3 2 1 0
4 3 2 1 0
17/4 4 3 2 1 0
18/4 17/4 4 3 2 1 0
19/4 18/4 17/4 4 3 2 1 0
5 19/4 18/4 17/4 4 3 2 1 0
21/4 5 19/4 18/4 17/4 4 3 2 1 0
22/4 21/4 5 19/4 18/4 17/4 4 3 2 1 0
23/4 22/4 21/4 5 19/4 18/4 17/4 4 3 2 1 0
"""

# Chunks of 4 tokens, the local window 2: no distance exceeds 4 + 2.
DUAL_CHUNK = """
0
1 0
2 1 0
3 2 1 0
4 3 2 1 0
5 4 3 2 1 0
6 5 4 3 2 1 0
6 5 4 3 3 2 1 0
6 5 4 3 4 3 2 1 0
6 5 4 3 5 4 3 2 1 0
6 5 4 3 6 5 4 3 2 1 0
6 5 4 3 6 5 4 3 3 2 1 0
"""


def article(text):
    """Lower triangle of fractions as a float32 matrix with NaN above it."""
    matrix = np.full((LENGTH, LENGTH), np.nan, np.float32)
    for i, line in enumerate(text.split("\n")[1:-1]):
        matrix[i, : i + 1] = [float(Fraction(number)) for number in line.split()]
    return matrix


def formula(relative):
    """float32 matrix of relative(i, j) with NaN for future keys."""
    cells = [
        [relative(i, j) if j <= i else np.nan for j in range(LENGTH)]
        for i in range(LENGTH)
    ]
    return np.array(cells, np.float32)


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        ("rope", {}, ROPE),
        ("interpolated", {"scale": 4}, INTERPOLATED),
        ("rerope", {"window": 4}, REROPE),
        ("leaky_rerope", {"window": 4, "step": 4}, LEAKY),
    ],
)
def test_matrices_are_those_of_the_article(name, options, expected):
    found = relative_positions(position_logic(name, head_dim=8, **options), LENGTH)
    chex.assert_shape(found, (LENGTH, LENGTH))
    chex.assert_type(found, np.float32)
    np.testing.assert_array_equal(found, article(expected))


@pytest.mark.parametrize("group", [2, 3])
def test_self_extend_is_its_formula(group):
    """2401.01325 with whole-number floors, also where 3 does not divide 4."""

    def relative(i, j):
        far = i // group + 4 - 4 // group - j // group
        return i - j if i - j < 4 else far

    logic = position_logic("self_extend", head_dim=8, window=4, group=group)
    np.testing.assert_array_equal(relative_positions(logic, LENGTH), formula(relative))


def test_dual_chunk_is_its_three_cases():
    """2402.17463: the same chunk, the one before, and all that are further away."""
    options = {"chunk_length": 4, "local_window": 2}
    logic = position_logic("dual_chunk", head_dim=8, **options)
    np.testing.assert_array_equal(
        relative_positions(logic, LENGTH), article(DUAL_CHUNK)
    )


@pytest.mark.parametrize("step", [2.5, 0.5, 3, 0.3])
def test_leaky_far_positions_advance_by_one_over_any_step(step):
    logic = position_logic("leaky_rerope", head_dim=8, window=3, step=step)
    expected = formula(lambda i, j: i - j if i - j < 3 else 3 + (i - j - 3) / step)
    np.testing.assert_allclose(relative_positions(logic, LENGTH), expected, 1e-6)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("ntk_aware", {"scale": 4.0}),
        ("yarn", {"scale": 4.0, "train_length": 32}),
        ("dynamic_ntk", {"train_length": 8, "length": 32}),
        ("p_rope", {"fraction": 0.5}),
        ("rope", {"resonance": True}),
    ],
)
def test_scalings_of_frequencies_leave_the_matrix_of_rope(name, options):
    logic = position_logic(name, head_dim=8, **options)
    np.testing.assert_array_equal(relative_positions(logic, LENGTH), article(ROPE))


def test_keys_outside_a_sliding_window_are_nan():
    logic = position_logic("rope", head_dim=8, sliding_window=3)
    expected = formula(lambda i, j: i - j if i - j < 3 else np.nan)
    np.testing.assert_array_equal(relative_positions(logic, LENGTH), expected)


def test_a_sliding_window_cuts_the_far_band_too():
    logic = position_logic("rerope", head_dim=8, window=2, sliding_window=5)
    expected = formula(lambda i, j: min(i - j, 2) if i - j < 5 else np.nan)
    np.testing.assert_array_equal(relative_positions(logic, LENGTH), expected)


@pytest.mark.parametrize(
    ("name", "options"), [("nope", {}), ("alibi", {"num_heads": 2})]
)
def test_an_encoding_without_relative_position_raises(name, options):
    with pytest.raises(ValueError, match=name):
        relative_positions(position_logic(name, head_dim=8, **options), LENGTH)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("rope", {}),
        ("leaky_rerope", {"window": 4, "step": 2}),
        ("rope", {"sliding_window": 3}),
    ],
)
def test_some_positions_have_the_entries_of_the_whole_matrix(name, options):
    logic = position_logic(name, head_dim=8, **options)
    some = np.array([0, 3, 4, LENGTH - 1], np.int32)
    whole = np.asarray(relative_positions(logic, LENGTH))
    found = relative_positions_at(logic, jnp.asarray(some))
    np.testing.assert_array_equal(found, whole[np.ix_(some, some)])
