"""What the kernels of both accelerators share: operands, plan, tile mathematics.

A kernel sees one step at a time: a tile of queries and one of keys as one band turned
them. The functions here are written for either orientation of a tile: `axis` is that of
the keys, and what belongs to queries has length 1 along it.

Legend: as in `tiles`; besides B batch, T queries, S keys (both whole tiles), H query
heads, K key heads, D and C head dims of keys and values.
"""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp

from rope_lab.attention.operands import Layout, turned_keys, turned_queries
from rope_lab.attention.steps import Steps, by_key, by_query
from rope_lab.attention.tiles import make_tiles
from rope_lab.logic import PositionLogic
from rope_lab.logic.biases import LinearBias

LOWEST = -1e30  # below every logit, and finite: differences of two are numbers


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Plan:
    """Who sees what and in which order to look; int32.

    Attributes:
      queries_RPxT: of each query in each band first and last key, its segment and its
        position, as far as `segmented` and `biased` need them.
      keys_RyS: of each key its mark and segment.
      queries_first, keys_first: the walks of the kernels for dq and for dk.
    """

    queries_RPxT: jax.Array
    keys_RyS: jax.Array
    queries_first: Steps
    keys_first: Steps
    query_tile: int = dataclasses.field(metadata={"static": True})
    key_tile: int = dataclasses.field(metadata={"static": True})
    segmented: bool = dataclasses.field(metadata={"static": True})
    biased: bool = dataclasses.field(metadata={"static": True})


class Operands(NamedTuple):
    """What attention is differentiable in.

    q_PBTHD and k_PBSKD are turned by each band, q also times the temperature; slopes_H
    are those of a linear bias, or None.
    """

    q: jax.Array
    k: jax.Array
    v: jax.Array
    slopes: jax.Array | None


def refused(q_BTHD, k_BSKD, v_BSKC, logic, dtypes: tuple[str, ...]) -> str | None:
    """Why no kernel takes this call on any platform, or None."""
    if not isinstance(logic, PositionLogic):
        return f"it needs a PositionLogic with bands, got the callable {logic!r}"
    if logic.bias is not None and not isinstance(logic.bias, LinearBias):
        return (
            f"the bias of {logic.name}, a {type(logic.bias).__name__}, is not built "
            "into the kernels; linear biases (ALiBi) are"
        )
    if logic.amplitude is not None:
        return f"amplitudes ({logic.name}) are not built into the kernels"
    names = [str(x.dtype) for x in (q_BTHD, k_BSKD, v_BSKC)]
    if len(set(names)) > 1:
        return f"q, k and v need one dtype, got {', '.join(names)}"
    if names[0] not in dtypes:
        return f"it computes in {' or '.join(dtypes)}, got {names[0]}"
    return None


def make_plan(
    layout: Layout, query_tile: int, key_tile: int, biased: bool
) -> tuple[Plan, jax.Array, jax.Array]:
    """The plan of a layout, and the padded positions [R, T] and [R, S]."""
    tiles = make_tiles(layout, query_tile, key_tile)
    rows = tiles.queries_RMt.shape[0]
    shape = tiles.first_RPMt.shape
    queries, keys = [tiles.first_RPMt, tiles.last_RPMt], [tiles.marks_RNs]
    if tiles.segments is not None:
        queries.append(jnp.broadcast_to(tiles.segments[0][:, None], shape))
        keys.append(tiles.segments[1])
    if biased:
        queries.append(jnp.broadcast_to(tiles.queries_RMt[:, None], shape))
    plan = Plan(
        queries_RPxT=jnp.stack(queries, 2).reshape(rows, shape[1], len(queries), -1),
        keys_RyS=jnp.stack(keys, 1).reshape(rows, len(keys), -1),
        queries_first=by_query(tiles),
        keys_first=by_key(tiles),
        query_tile=query_tile,
        key_tile=key_tile,
        segmented=tiles.segments is not None,
        biased=biased,
    )
    queries_RT = tiles.queries_RMt.reshape(rows, -1)
    return plan, queries_RT, tiles.keys_RNs.reshape(rows, -1)


def banded(
    kernels,
    q_BTHD: jax.Array,
    k_BSKD: jax.Array,
    v_BSKC: jax.Array,
    logic: PositionLogic,
    layout: Layout,
    tiles: tuple[int, int],
    backward_tiles: tuple[int, int] | None = None,
) -> jax.Array:
    """softmax(logic(q, k)) v over visible keys by the kernels given: [B, T, H, C].

    kernels: `forward(operands, plan)` returns the output [B, T, H, C] and the
    log-sum-exp float32[B, H, T], +inf where a query sees no key; `backward(operands,
    plan, lse, delta, dout)` the slopes of the operands, float32.
    """
    logic.check_heads(q_BTHD.shape[2], q_BTHD.shape[3])
    queries = q_BTHD.shape[1]
    slopes = (
        None
        if logic.bias is None
        else jnp.asarray(cast(LinearBias, logic.bias).slopes_H)
    )
    plan, queries_RT, keys_RS = make_plan(layout, *tiles, slopes is not None)
    plans = plan, plan
    if backward_tiles not in (None, tiles):
        plans = plan, make_plan(layout, *backward_tiles, slopes is not None)[0]
    q_BTHD = _padded(q_BTHD, queries_RT.shape[1])
    k_BSKD, v_BSKC = (_padded(x, keys_RS.shape[1]) for x in (k_BSKD, v_BSKC))
    operands = Operands(
        turned_queries(logic, q_BTHD, queries_RT),
        turned_keys(logic, k_BSKD, keys_RS),
        v_BSKC,
        slopes,
    )
    return _attention(kernels, operands, plans)[:, :queries]


def _padded(x_BTHD: jax.Array, length: int) -> jax.Array:
    missing = length - x_BTHD.shape[1]
    return (
        jnp.pad(x_BTHD, ((0, 0), (0, missing), (0, 0), (0, 0))) if missing else x_BTHD
    )


def _attention(kernels, operands: Operands, plans: tuple[Plan, Plan]) -> jax.Array:
    """[B, T, H, C] like v, differentiable in the operands; plans: forward, backward.

    The turned operands arrive in float32 and are cast inside, so that their slopes,
    which still have to be turned back and summed over bands, stay float32.
    """

    @jax.custom_vjp
    def attention(operands, plans):
        return forward(operands, plans)[0]

    def forward(operands, plans):
        cast = [x.astype(operands.v.dtype) for x in operands[:3]]
        operands = Operands(*cast, operands.slopes)
        out, lse = kernels.forward(operands, plans[0])
        return out, (operands, plans[1], out, lse)

    def backward(saved, dout):
        operands, plan, out, lse = saved
        delta_BTH = (out.astype(jnp.float32) * dout.astype(jnp.float32)).sum(-1)
        delta = delta_BTH.transpose(0, 2, 1)
        dq, dk, dv, slopes = kernels.backward(operands, plan, lse, delta, dout)
        return Operands(dq, dk, dv.astype(operands.v.dtype), slopes), None

    attention.defvjp(forward, backward)
    return attention(operands, plans)


def visible(plan: Plan, queries: list[Any], keys: list[Any]) -> jax.Array:
    """bool tile: who sees whom in the band that the rows of queries are of."""
    inside = (keys[0] >= queries[0]) & (keys[0] <= queries[1])
    if plan.segmented:
        inside &= queries[2] == keys[1]
    return inside


def distance(queries: list[Any], keys: list[Any]) -> jax.Array:
    """float32 tile: query position minus key position, subtracted as integers.

    Keys that nobody sees have a mark for a position, and a mask in every tile.
    """
    return (queries[-1] - keys[0]).astype(jnp.float32)


def softmax_step(s, largest, total, axis: int):
    """New largest and total, the tile's weights, and what shrinks earlier sums."""
    larger = jnp.maximum(largest, s.max(axis, keepdims=True))
    p = jnp.exp(s - larger)
    shrink = jnp.exp(largest - larger)
    return larger, total * shrink + p.sum(axis, keepdims=True), p, shrink


def softmax_end(largest, total):
    """What the summed values are multiplied by, and the log-sum-exp."""
    seen = ~(total <= 0)  # NaN is of a row that sees something, and stays
    total = jnp.where(seen, total, 1.0)
    return jnp.where(seen, 1.0 / total, 0.0), jnp.where(
        seen, largest + jnp.log(total), jnp.inf
    )


def dot(x: jax.Array, y: jax.Array, axes: tuple[int, int]) -> jax.Array:
    """float32 product of two matrices over one axis of each.

    Narrow operands need no help; those of float32 are multiplied as such.
    """
    single = x.dtype == jnp.float32
    return jax.lax.dot_general(
        x,
        y,
        (((axes[0],), (axes[1],)), ((), ())),
        precision=jax.lax.Precision.HIGHEST if single else jax.lax.Precision.DEFAULT,
        preferred_element_type=jnp.float32,
    )
