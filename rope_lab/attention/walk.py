"""The walk through the tiles of tiled attention, forward and backward.

Scores exist one tile at a time. A tile that one band holds costs one product, as under
plain RoPE; only where a boundary cuts a tile are there two. The backward pass walks the
same tiles and recomputes their probabilities from the log-sum-exp of each query.

Legend: as in `tiled`; besides n key heads computed at once.
"""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp

from rope_lab.attention.exponential import exp
from rope_lab.attention.scores import Operands, Place, dot
from rope_lab.attention.tiles import Tiles

_LOWEST = -1e30  # below every logit, and finite: differences of two are numbers


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def walked(scores, operands: Operands, tiles: Tiles) -> jax.Array:
    """[R, B, M*t, H, C], differentiable in the operands [R, ...]."""
    return _keep(scores, operands, tiles)[0]


def _keep(scores, operands: Operands, tiles: Tiles):
    out, lse = map_rows(functools.partial(walk_forward, scores), operands, tiles)
    return out, (operands, tiles, out, lse)


def _pull_back(scores, saved, dout):
    operands, tiles, out, lse = saved
    walk = functools.partial(walk_backward, scores)
    slopes = map_rows(walk, operands, tiles, lse, out, dout)
    return slopes._replace(logic=jax.tree.map(_sum, slopes.logic)), None


walked.defvjp(_keep, _pull_back)


def _sum(x: jax.Array) -> jax.Array:
    return x.sum(0)


def map_rows(walk, operands: Operands, tiles: Tiles, *more):
    """walk(operands, tiles, *more) for each row of positions, one after another."""
    logic = operands.logic

    def one(row):
        arrays, tiles, more = row
        return walk(Operands(*arrays, logic), tiles, *more)

    mapped = (operands[:3], tiles, more)
    if tiles.count_RM.shape[0] == 1:
        result = one(jax.tree.map(lambda x: x[0], mapped))
        return jax.tree.map(lambda x: x[None], result)
    return jax.lax.map(one, mapped)


def _places(scores, x: Operands, tiles: Tiles) -> Place:
    """Every (batch row, heads at once, query tile), the last the quickest, as arrays"""
    counts = len(x.q), scores.key_heads // scores.heads, len(tiles.count_RM)
    b, head, m = jnp.meshgrid(*map(jnp.arange, counts), indexing="ij")
    return Place(b.ravel(), head.ravel() * scores.heads, m.ravel())


def _each_key_tile(tiles: Tiles, at: Place, visit, carry):
    """visit(run, at, carry) over the key tiles in which query tile at.m has work.

    One loop for each run of the plan: what does not change with the key tile, such as
    the queries of a band, is read once.
    """
    start, runs = 0, tiles.stops_RMQ.shape[-1]
    for run in range(runs if runs > 3 else 2):  # one band: none of several
        stop = tiles.stops_RMQ[at.m, run]

        def step(i, carry, run=run):
            return visit(run, at._replace(n=tiles.order_RMN[at.m, i]), carry)

        carry = jax.lax.fori_loop(start, stop, step, carry)
        start = stop
    return carry


class _Queries:
    """Reads and writes one tile of [B, tokens, H, dim] as [n*G, t, dim]."""

    def __init__(self, scores, tiles: Tiles, at: Place):
        tokens = tiles.queries_RMt.shape[-1]
        self.start = (at.b, at.m * tokens, at.head * scores.group, 0)
        self.sizes = (1, tokens, scores.heads * scores.group)

    def read(self, x: jax.Array) -> jax.Array:
        tile = jax.lax.dynamic_slice(x, self.start, (*self.sizes, x.shape[-1]))
        return tile[0].swapaxes(0, 1)

    def write(self, x: jax.Array, tile: jax.Array) -> jax.Array:
        tile = tile.reshape(self.sizes[2], self.sizes[1], -1).swapaxes(0, 1)
        return jax.lax.dynamic_update_slice(x, tile[None].astype(x.dtype), self.start)


def _values(scores, x: jax.Array, at: Place) -> tuple[jax.Array, tuple]:
    """[n, s, C] of [N, B*K, s, C], and where it starts."""
    start = (at.n, at.b * scores.key_heads + at.head, 0, 0)
    return jax.lax.dynamic_slice(x, start, (1, scores.heads, *x.shape[2:]))[0], start


def walk_forward(scores, x: Operands, tiles: Tiles):
    """Output [B, M*t, H, C] and log-sum-exp [B, M*t, H, 1] of one row of positions."""
    tokens = scores.group * tiles.queries_RMt.shape[-1]

    def row(outputs, at):
        mine = _Queries(scores, tiles, at)
        q = scores.queries(x.logic, mine.read(x.q), tiles, at)

        def visit(run, at, carry):
            largest, total, out = carry
            s = scores.scores(x, q, tiles, at, run)
            larger = jnp.maximum(largest, s.max(-1))
            p = exp(s - larger[..., None])
            shrink = exp(largest - larger)
            v, _ = _values(scores, x.v, at)
            out = out * shrink[..., None] + dot("hqk,hkc->hqc", p, v)
            return larger, total * shrink + p.sum(-1), out

        start = (
            _full(q, _LOWEST, scores.heads, tokens),
            _full(q, 0.0, scores.heads, tokens),
            _full(q, 0.0, scores.heads, tokens, x.v.shape[-1]),
        )
        largest, total, out = _each_key_tile(tiles, at, visit, start)
        seen = ~(total <= 0)  # a sum that is NaN has seen something, and says so
        out = out / jnp.where(seen, total, 1.0)[..., None]
        lse = jnp.where(seen, largest + jnp.log(total), jnp.inf)
        return (mine.write(outputs[0], out), mine.write(outputs[1], lse)), None

    outputs = (
        jax.lax.full_like(x.q, 0, shape=(*x.q.shape[:3], x.v.shape[-1])),
        _full(x.q, 0.0, *x.q.shape[:3], 1),
    )
    return jax.lax.scan(row, outputs, _places(scores, x, tiles))[0]


def _full(reference: jax.Array, value: float, *shape: int) -> jax.Array:
    """float32; under jax.shard_map it differs where the reference does."""
    return jax.lax.full_like(reference, value, jnp.float32, shape=shape)


def walk_backward(scores, x: Operands, tiles: Tiles, lse, out, dout) -> Operands:
    """Gradients of the operands of one row of positions, shaped like them."""
    scores = dataclasses.replace(scores, by_key=True)

    def row(slopes, at):
        mine = _Queries(scores, tiles, at)
        q, pull = jax.vjp(
            lambda logic, q: scores.queries(logic, q, tiles, at),
            x.logic,
            mine.read(x.q),
        )
        shape = (scores.heads, q.shape[2], -1)
        out_m, dout_m, lse_m = (
            mine.read(y).astype(jnp.float32).reshape(shape) for y in (out, dout, lse)
        )
        delta_m = (out_m * dout_m).sum(-1)[:, None]
        lse_m = lse_m[:, None, :, 0]

        def visit(run, at, carry):
            v_slope, rest = carry
            v, start = _values(scores, x.v, at)
            p = exp(scores.scores(x, q, tiles, at, run) - lse_m)
            dv = dot("hkq,hqc->hkc", p, dout_m) + _values(scores, v_slope, at)[0]
            v_slope = jax.lax.dynamic_update_slice(v_slope, dv[None], start)
            ds = p * (dot("hkc,hqc->hkq", v, dout_m) - delta_m)
            return v_slope, scores.backward(x, q, rest, ds, tiles, at, run)

        dq = jnp.zeros_like(q.swapaxes(2, 3))
        carry = slopes.v, (dq, slopes.k, slopes.logic)
        v_slope, (dq, k_slope, logic) = _each_key_tile(tiles, at, visit, carry)
        more, dq = pull(dq.swapaxes(2, 3))
        logic = jax.tree.map(jnp.add, logic, more)
        return Operands(mine.write(slopes.q, dq), k_slope, v_slope, logic), None

    start = jax.tree.map(jnp.zeros_like, x)
    return jax.lax.scan(row, start, _places(scores, x, tiles))[0]
