"""Piecewise relative-position matrices: what the figures of the sources show."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

PositionMap = Callable[[jax.Array], jax.Array]
Piece = tuple[
    PositionMap, PositionMap, PositionMap | None, PositionMap | None, float, float
]


def piecewise_relative(length: int, pieces: Sequence[Piece]) -> jax.Array:
    """The matrix of relative positions that a query i sees at key j, in tokens.

    Args:
      length: rows and columns, static.
      pieces: tuples (alpha, beta, first_key, last_key, offset, position_unit). A piece
        holds keys first_key(i) <= j <= last_key(i) (None: no bound) and gives
        (alpha(i) - beta(j) + offset) * position_unit. Maps take and return int32
        arrays. Where pieces overlap the first one counts.

    Returns:
      float32[length, length]; NaN outside every piece and for j > i.

    ReRoPE with window 2 (kexue.fm 9708, its matrix for k -> infinity):

    >>> near = (lambda i: i, lambda j: j, lambda i: i - 1, None, 0.0, 1.0)
    >>> far = (lambda i: 0 * i + 2, lambda j: 0 * j, None, lambda i: i - 2, 0.0, 1.0)
    >>> print(piecewise_relative(4, [near, far])[3])
    [2. 2. 1. 0.]
    """
    return piecewise_relative_at(jnp.arange(length, dtype=jnp.int32), pieces)


def piecewise_relative_at(positions: jax.Array, pieces: Sequence[Piece]) -> jax.Array:
    """The entries of `piecewise_relative` at these positions, int32[N], alone."""
    queries, keys = positions[:, None], positions[None, :]
    matrix = jnp.full((len(positions), len(positions)), jnp.nan, jnp.float32)
    for alpha, beta, first_key, last_key, offset, position_unit in reversed(pieces):
        inside = keys <= queries
        if first_key is not None:
            inside &= keys >= first_key(queries)
        if last_key is not None:
            inside &= keys <= last_key(queries)
        tokens = (alpha(queries) - beta(keys)).astype(jnp.float32)
        matrix = jnp.where(inside, (tokens + offset) * position_unit, matrix)
    return matrix
