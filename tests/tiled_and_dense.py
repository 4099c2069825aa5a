"""Tiled attention beside dense: the same data through both, with gradients.

Compiling takes seconds, running milliseconds: what can be drawn is an argument, and one
program a shape serves all draws. Letters as in `rope_lab.attention.tiled`.
"""

import functools
from typing import NamedTuple

import jax
import numpy as np

from rope_lab import attend
from rope_lab.attention.operands import make_layout
from rope_lab.attention.tiled import tiled


class Shape(NamedTuple):
    """Sizes, the most tokens of a tile, and whether sequences share positions."""

    B: int = 1
    T: int = 19
    S: int = 19
    H: int = 2
    K: int = 1
    D: int = 8
    C: int = 8
    query_tile: int = 8  # tokens
    key_tile: int = 8
    shared: bool = True


class Data(NamedTuple):
    """Arguments of attention; positions and segments are of queries and of keys."""

    q: np.ndarray
    k: np.ndarray
    v: np.ndarray
    positions: tuple
    segments: tuple | None = None


def vectors(shape, seed=0):
    rng = np.random.default_rng(seed)
    B, T, S, H, K, D, C = shape[:7]
    sizes = (B, T, H, D), (B, S, K, D), (B, S, K, C)
    return [rng.normal(size=size).astype(np.float32) for size in sizes]


def in_order(shape, seed=0):
    """The queries are the last of the keys; where they are more, both begin at 0."""
    queries = np.arange(shape.T) + max(shape.S - shape.T, 0)
    rows = [x.astype(np.int32)[None] for x in (queries, np.arange(shape.S))]
    return Data(*vectors(shape, seed), tuple(rows))


def int32(arrays):
    return tuple(x.astype(np.int32) for x in arrays)


def some_layout(shape, seed):
    """Positions and segments in order, packed with padding, or in no order at all."""
    rng = np.random.default_rng(seed)
    lengths, rows = (shape.T, shape.S), 1 if shape.shared else shape.B
    longest = max(lengths)
    if seed % 3 == 0:
        positions = np.tile(np.arange(longest), (rows, 1))
        segments = np.ones_like(positions)
    elif seed % 3 == 1:
        segments = np.sort(rng.integers(0, 4, (rows, longest)))[:, ::-1]
        starts = np.array([[np.argmax(row == x) for x in row] for row in segments])
        positions = np.arange(longest) - starts
    else:
        pairs = [[rng.integers(0, x, (rows, n)) for n in lengths] for x in (60, 3)]
        return Data(*vectors(shape, seed), *map(int32, pairs))
    pairs = [[x[:, longest - n :] for n in lengths] for x in (positions, segments)]
    return Data(*vectors(shape, seed), *map(int32, pairs))


def dense(logic, data):
    return attend(
        *data[:3],
        logic,
        query_positions=data.positions[0],
        key_positions=data.positions[1],
        segment_ids=data.segments,
        implementation="dense",
    )


def in_tiles(logic, data, shape):
    """As attend calls it, in tiles of this shape's size."""
    layout = make_layout(logic, *data.positions, data.segments)
    query_tile = shape.query_tile * (shape.H // shape.K)
    return tiled(*data[:3], logic, layout, query_tile, shape.key_tile)


def with_slopes(function, logic, data):
    """Output, and gradients of its weighted sum in (logic, q, k, v)."""

    def attended(logic, *qkv):
        return function(logic, Data(*qkv, *data[3:]))

    out, pull = jax.vjp(attended, logic, *data[:3])
    weights = jax.random.normal(jax.random.key(0), out.shape)
    return out, pull(weights.astype(out.dtype))


@functools.partial(jax.jit, static_argnames="shape")
def both(logic, data, shape):
    """Tiled and dense, each with its gradients."""
    return (
        with_slopes(functools.partial(in_tiles, shape=shape), logic, data),
        with_slopes(dense, logic, data),
    )


def assert_equal(found, expected, case=""):
    """Outputs to 1e-5; gradients to 1e-4 of the largest of their array, or to 1e-5."""
    np.testing.assert_allclose(found[0], expected[0], atol=1e-5, err_msg=str(case))
    pairs = zip(*(jax.tree.leaves(side[1]) for side in (found, expected)), strict=True)
    for ours, theirs in pairs:
        bound = 1e-4 * np.max(np.abs(theirs), initial=0.1)
        np.testing.assert_allclose(
            ours, theirs, rtol=0, atol=bound, err_msg=f"gradient, {case}"
        )
