"""What every fast path computes with: rotated vectors, and who may see what.

A band turns queries by one angle and keys by another, so its logits are a product of
turned vectors. Here they are turned once, chunk by chunk, so that no table of angles of
the whole length is ever in memory; and the bands' intervals become two int32 numbers a
query, the first and the last key position that it sees in that band.

Legend: B batch, T queries, S keys, H query heads, K key heads, G = H / K, D head dim,
C value dim, P bands, R rows of positions: 1 where all of the batch share them, else B.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from rope_lab.logic import PositionLogic

CHUNK = 2048  # tokens whose angles are in memory at once
NOWHERE = 2**31 - 1  # position of a key that nobody sees; no interval reaches it


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Layout:
    """Who sees what, as integers. All int32.

    Attributes:
      queries_RT, keys_RS: positions.
      marks_RS: keys_RS, or NOWHERE for padding.
      first_RPT, last_RPT: a query sees keys with first <= mark <= last in band p;
        causality is part of last, and padding queries see nothing.
      segments: None, or segment ids of queries [R, T] and keys [R, S], which have to
        be equal for a key to be seen.
    """

    queries_RT: jax.Array
    keys_RS: jax.Array
    marks_RS: jax.Array
    first_RPT: jax.Array
    last_RPT: jax.Array
    segments: tuple[jax.Array, jax.Array] | None


def make_layout(
    logic,
    query_positions: jax.Array,
    key_positions: jax.Array,
    segments: tuple[jax.Array, jax.Array] | None,
) -> Layout:
    """Intervals of a logic (of any other callable: causality) at these positions.

    Positions are int32 [1 or B, T] and [1 or B, S], segments of those shapes or None.
    """
    queries_RT, keys_RS = query_positions, key_positions
    rows = max(x.shape[0] for x in (queries_RT, keys_RS, *(segments or ())))
    queries_RT = jnp.broadcast_to(queries_RT, (rows, queries_RT.shape[1]))
    keys_RS = jnp.broadcast_to(keys_RS, (rows, keys_RS.shape[1]))
    bounds: list[tuple[Any, Any]] = [(None, None)]
    if isinstance(logic, PositionLogic):
        bounds = [(band.first_key, band.last_key) for band in logic.bands]
    lowest = jnp.full_like(queries_RT, -NOWHERE - 1)
    firsts = [lowest if first is None else first(queries_RT) for first, _ in bounds]
    lasts = [
        queries_RT if last is None else jnp.minimum(last(queries_RT), queries_RT)
        for _, last in bounds
    ]
    first_RPT, last_RPT = jnp.stack(firsts, 1), jnp.stack(lasts, 1)
    marks_RS = keys_RS
    if segments is not None:
        of_queries, of_keys = (
            jnp.broadcast_to(ids, (rows, ids.shape[1])).astype(jnp.int32)
            for ids in segments
        )
        segments = of_queries, of_keys
        marks_RS = jnp.where(segments[1] == 0, NOWHERE, keys_RS)
        last_RPT = jnp.where(segments[0][:, None] == 0, -NOWHERE - 1, last_RPT)
    return Layout(queries_RT, keys_RS, marks_RS, first_RPT, last_RPT, segments)


def turned_queries(
    logic: PositionLogic, q_BTHD: jax.Array, positions_RT: jax.Array
) -> jax.Array:
    """float32[P, B, T, H, D]: queries as each band sees them, times the temperature."""

    def turn(q_BTHD, positions_RT):
        temperature_RT = logic.query_temperature(q_BTHD.shape[-1], positions_RT)
        bands = [
            logic.rotated(q_BTHD, band.query_angles(positions_RT))
            for band in logic.bands
        ]
        return jnp.stack(bands) * temperature_RT[None, :, :, None, None]

    return _by_chunk(turn, q_BTHD, positions_RT)


def turned_keys(
    logic: PositionLogic, k_BSKD: jax.Array, positions_RS: jax.Array
) -> jax.Array:
    """float32[P, B, S, K, D]: keys as each band sees them.

    An amplitude is relative to the centre of the key's block, see `Amplitude.centre`.
    """

    def turn(k_BSKD, positions_RS):
        turned = jnp.stack(
            [
                logic.rotated(k_BSKD, band.key_angles(positions_RS))
                for band in logic.bands
            ]
        )
        if logic.amplitude is None:
            return turned
        before_RS = logic.amplitude.centre(positions_RS) - positions_RS
        return logic.amplitude.apply(turned, before_RS[None, :, :, None], logic.layout)

    return _by_chunk(turn, k_BSKD, positions_RS)


def _by_chunk(turn, x_BTHD: jax.Array, positions_RT: jax.Array) -> jax.Array:
    """turn(x, positions) of the whole, made and differentiated chunk by chunk."""
    length = x_BTHD.shape[1]
    if length <= CHUNK:
        return turn(x_BTHD, positions_RT)
    count = -(-length // CHUNK)

    def chunks(x, axis):
        widths = [(0, 0)] * x.ndim
        widths[axis] = (0, count * CHUNK - length)
        x = jnp.pad(x, widths)
        shape = (*x.shape[:axis], count, CHUNK, *x.shape[axis + 1 :])
        return jnp.moveaxis(x.reshape(shape), axis, 0)

    pieces = jax.lax.map(
        jax.checkpoint(lambda piece: turn(*piece)),
        (chunks(x_BTHD, 1), chunks(positions_RT, 1)),
    )
    whole = jnp.moveaxis(pieces, 0, 2)  # [P, B, chunks, CHUNK, H, D]
    shape = (*whole.shape[:2], count * CHUNK, *whole.shape[4:])
    return whole.reshape(shape)[:, :, :length]
