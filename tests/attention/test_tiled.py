"""Tiled attention equals dense: random logics in random layouts, edges of tiles."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rope_lab import position_logic, rotary
from rope_lab.logic import Band, PositionLogic, Temperature
from rope_lab.logic.biases import LinearBias
from tiled_and_dense import (
    Shape,
    assert_equal,
    both,
    dense,
    in_order,
    in_tiles,
    some_layout,
    with_slopes,
)

FAR = 2**20

# Random logics in random layouts. A logic drawn as numbers is no other program.


def banded(numbers, frequencies, slopes_H):
    """Two bands that meet `near` tokens before the query's chunk, `width` in all."""
    chunk, near, width = numbers["bounds"]

    def before(tokens):
        return lambda i: i // chunk * chunk - tokens

    def placed(divide, moving, shift):
        return lambda i: i // divide * moving + shift

    bounds = [(before(near), None), (before(width), before(near + 1))]
    bands = [
        Band(frequencies, placed(*alpha), placed(*beta), *bound, offset=0.25 * p)
        for p, (alpha, beta, bound) in enumerate(
            zip(numbers["alpha"], numbers["beta"], bounds, strict=True)
        )
    ]
    temperature = Temperature(0.5, log_n="test", train_length=16)
    return PositionLogic(tuple(bands), temperature, bias=LinearBias(slopes_H))


def drawn(shape, seed):
    """Bands, a bias, positions and segments, of every kind in turn."""
    rng = np.random.default_rng(seed)
    near, width = np.cumsum(rng.integers(0, [16, 60]))
    moves = rng.integers([1, 0, 0], [4, 2, 20], (2, 2, 3))
    numbers = {
        "bounds": np.array([rng.integers(1, 9), near, width], np.int32),
        "alpha": moves[0].astype(np.int32),
        "beta": moves[1].astype(np.int32),
    }
    scale = rng.uniform(1, 8)
    frequencies = jax.tree.map(jnp.asarray, rotary.interpolated(shape.D, 50.0, scale))
    slopes_H = rng.uniform(0, 0.3, shape.H).astype(np.float32) * (seed % 2)
    return (numbers, frequencies, jnp.asarray(slopes_H)), some_layout(shape, seed)


@functools.partial(jax.jit, static_argnames="shape")
def both_drawn(leaves, numbers, data, shape):
    def of_leaves(function):
        return lambda leaves, data: function(banded(numbers, *leaves), data)

    return (
        with_slopes(of_leaves(functools.partial(in_tiles, shape=shape)), leaves, data),
        with_slopes(of_leaves(dense), leaves, data),
    )


SHAPES = {
    "no multiple of a tile": Shape(),
    "grouped in twos, last queries": Shape(2, 21, 43, H=4, K=2, C=5, shared=False),
    "grouped in fours, wide values": Shape(2, 40, 40, H=4, C=20, key_tile=16),
    "ungrouped, more queries than keys": Shape(2, 37, 11, K=2, query_tile=16),
}


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_random_bands_in_random_layouts_equal_dense(shape):
    for seed in range(15):
        (numbers, *leaves), data = drawn(shape, seed)
        found, expected = both_drawn(leaves, numbers, data, shape)
        chex.assert_trees_all_equal_structs(found, expected)
        assert_equal(found, expected, f"seed {seed}")


def test_the_random_draws_reach_every_band_and_hide_some_rows():
    """Otherwise the comparison above would say less than it seems to."""
    shape = SHAPES["grouped in twos, last queries"]
    reached, empty = np.zeros(2, bool), 0
    for seed in range(15):
        (numbers, *leaves), data = drawn(shape, seed)
        queries, keys = data.positions[0][:, :, None], data.positions[1][:, None]
        shown = [band.holds(queries, keys) for band in banded(numbers, *leaves).bands]
        same = data.segments[0][:, :, None] == data.segments[1][:, None]
        shown = np.array(shown) & same & (data.segments[1] != 0)[:, None]
        assert shown.sum(0).max() <= 1, "bands overlap"
        reached |= shown.any((1, 2, 3))
        empty += np.sum(~shown.any((0, 3)))
    assert reached.all() and empty > 10


# Edges of tiles, windows and sequences.


@pytest.mark.parametrize("window", [1, 7, 8, 9, 18, 19, 20])
def test_windows_at_the_edges_of_tiles_and_of_the_sequence(window):
    """ReRoPE at T = 19, no multiple of a tile; w - 1, w and w + 1 are among them."""
    shape = Shape()
    turning, still = (1, 1, 0), (1, 0, 0)
    numbers = {
        "bounds": np.array([1, window - 1, 1000], np.int32),
        "alpha": np.array([turning, (1, 0, window)], np.int32),
        "beta": np.array([turning, still], np.int32),
    }
    leaves = jax.tree.map(jnp.asarray, rotary.rope(shape.D)), jnp.zeros(shape.H)
    rerope = position_logic("rerope", head_dim=shape.D, window=window)
    queries, keys = np.arange(shape.T)[:, None], np.arange(shape.S)
    for ours, theirs in zip(banded(numbers, *leaves).bands, rerope.bands, strict=True):
        held = (band.holds(queries, keys) for band in (ours, theirs))
        np.testing.assert_array_equal(*held)
    data = some_layout(shape, 0)  # in order, one document
    assert_equal(*both_drawn(leaves, numbers, data, shape))


RAGGED = {
    "a single query": Shape(T=1, S=37),
    "tiles longer than the sequence": Shape(
        T=9, S=17, D=32, C=48, query_tile=256, key_tile=256
    ),
    "few queries, head_dim 256": Shape(T=5, S=37, D=256, C=64),
}


@pytest.mark.parametrize("shape", RAGGED.values(), ids=RAGGED)
def test_rerope_equals_dense_in_every_shape(shape):
    logic = position_logic("rerope", head_dim=shape.D, window=4)
    assert_equal(*both(logic, in_order(shape), shape))


def test_rows_that_see_no_key_are_zero_and_so_are_their_gradients():
    """Keys in the future, of another segment or padding: alone, and beside others."""
    shape = SHAPES["grouped in twos, last queries"]
    (numbers, *leaves), data = drawn(shape, 2)
    rows = [np.zeros_like(x) for x in data.positions]
    documents = [np.ones_like(x) for x in rows]
    nothing = {
        "future": ((rows[0], rows[1] + 5), documents),
        "other segment": (rows, (documents[0], documents[1] + 1)),
        "padding keys": (rows, (documents[0], rows[1])),
        "padding queries": (rows, (rows[0], documents[1])),
        "padding of both": (rows, (rows[0], rows[1])),
    }
    numbers["bounds"][:] = [1, 9, 9]
    for case, (positions, segments) in nothing.items():
        hidden = data._replace(positions=tuple(positions), segments=tuple(segments))
        (out, slopes), _ = both_drawn(leaves, numbers, hidden, shape)
        for leaf in [out, *jax.tree.leaves(slopes)]:
            np.testing.assert_array_equal(leaf, np.zeros(leaf.shape), err_msg=case)
    # Query 3 alone is padding: nothing reaches it, everything else stays as it was.
    segments = [ids.copy() for ids in documents]
    segments[0][:, 3] = 0
    seen = data._replace(positions=tuple(rows), segments=tuple(documents))
    (before, _), _ = both_drawn(leaves, numbers, seen, shape)
    seen = seen._replace(segments=tuple(segments))
    (after, (_, q_slope, _, _)), _ = both_drawn(leaves, numbers, seen, shape)
    others = np.arange(shape.T) != 3
    np.testing.assert_array_equal(after[:, 3], np.zeros(after[:, 3].shape))
    np.testing.assert_array_equal(q_slope[:, 3], np.zeros(q_slope[:, 3].shape))
    np.testing.assert_array_equal(after[:, others], before[:, others])
    assert np.all(np.any(q_slope[:, others] != 0, (2, 3)))


def test_documents_packed_together_equal_documents_alone():
    """Two documents and padding; alone, all else is padding with wild contents."""
    shape = SHAPES["grouped in fours, wide values"]
    (numbers, *leaves), data = drawn(shape, 0)
    positions = np.r_[0:23, 0:13, 0:4].astype(np.int32)[None]
    documents = np.r_[[1] * 23, [2] * 13, [0] * 4].astype(np.int32)[None]
    data = data._replace(positions=(positions, positions))

    def attended(k, v, segments):
        changed = data._replace(k=k, v=v, segments=(segments, segments))
        return both_drawn(leaves, numbers, changed, shape)[0][0]

    packed = attended(data.k, data.v, documents)
    np.testing.assert_array_equal(packed[:, 36:], np.zeros(packed[:, 36:].shape))
    for number in (1, 2):
        mine = documents == number
        wild = np.where(mine, 1.0, 1e3).astype(np.float32)[:, :, None, None]
        found = attended(data.k * wild, data.v * wild, mine.astype(np.int32))
        np.testing.assert_allclose(found[:, mine[0]], packed[:, mine[0]], atol=2e-6)


def test_positions_a_million_tokens_in_are_as_exact_as_near_ones():
    """In tiles the angles are those of dense, to the last digits of the logits."""
    shape = SHAPES["grouped in fours, wide values"]
    (numbers, *leaves), data = drawn(shape, 0)
    data = data._replace(positions=tuple(x + np.int32(FAR) for x in data.positions))
    (found, _), (expected, _) = both_drawn(leaves, numbers, data, shape)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_logits_in_the_thousands_do_not_overflow():
    """Also where a row's largest logit falls by thousands from tile to tile."""
    shape = Shape()
    (numbers, *leaves), data = drawn(shape, 0)
    large = data._replace(q=data.q * 100, k=data.k * np.float32(100))
    found, expected = both_drawn(leaves, numbers, large, shape)
    chex.assert_tree_all_finite(found)
    np.testing.assert_allclose(found[0], expected[0], atol=1e-3)


def test_bfloat16_is_rounded_once_at_the_output():
    """Sums over tiles are float32: in bfloat16 they would lose more than 8 bits."""
    shape = Shape(T=40, S=40)
    logic = position_logic("rerope", head_dim=8, window=12)
    run = functools.partial(in_tiles, shape=shape)
    low = in_order(shape)
    low = low._replace(**{x: jnp.asarray(getattr(low, x), jnp.bfloat16) for x in "qkv"})
    exact = low._replace(**{x: getattr(low, x).astype(jnp.float32) for x in "qkv"})
    found, expected = (jax.jit(run)(logic, data) for data in (low, exact))
    np.testing.assert_array_equal(found, expected.astype(jnp.bfloat16))
    _, (of_logic, *of_vectors) = jax.eval_shape(
        functools.partial(with_slopes, run), logic, low
    )
    chex.assert_type([found, *of_vectors], jnp.bfloat16)
    chex.assert_type(jax.tree.leaves(of_logic), jnp.float32)


@pytest.mark.parametrize("case", ["NaN query", "NaN key", "infinite", "overflow"])
def test_logits_that_are_no_numbers_make_nan_of_the_rows_that_dense_does(case):
    """A diverged q or k must not look like a row that sees no key."""
    shape = Shape()
    logic = position_logic("rerope", head_dim=shape.D, window=5)
    data = in_order(shape)
    q, k = data.q.copy(), data.k.copy()
    if case == "NaN query":
        q[0, 11, 0, 3] = np.nan
    elif case == "NaN key":
        k[0, 9, 0, 3] = np.nan
    elif case == "infinite":
        q[0, 11, 0, 3] = np.inf
    else:
        q[0, 11], k[0, 9] = 1e20, 1e20
        q[0, 3], k[0, 2] = -1e20, 1e20  # -inf for its query, which is a hidden key
    (found, slopes), (expected, _) = both(logic, data._replace(q=q, k=k), shape)
    wrong = np.isnan(expected)
    assert wrong.any() and not wrong[:, :9].any()
    np.testing.assert_allclose(found, expected, atol=1e-5, equal_nan=True)
    of_q, *of_keys_and_values = (np.asarray(x) for x in slopes[1:])
    assert np.isnan(of_q[wrong.any(-1)]).any(-1).all()
    assert all(np.isnan(x).any() for x in of_keys_and_values)
