"""Flash attention over bands in plain XLA: any platform, memory linear in the length.

Scores exist one tile at a time. A tile that one band holds costs one product, as under
plain RoPE; only where a boundary cuts a tile are there two. The backward pass walks the
same tiles and recomputes their probabilities from the log-sum-exp of each query.

Keys are turned once and kept, as often as there are bands; queries are turned when
their tile is walked, and values stay where they are: fresh memory costs a page fault
for every 4 KiB, more than the arithmetic on it.

Legend: as in `tiles`; besides B batch, H query heads, K key heads, G = H / K, n key
heads computed at once, D and C head dims of keys and values, P bands.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp

from rope_lab.attention.amplified import key_factors, recentred, with_centres
from rope_lab.attention.exponential import exp
from rope_lab.attention.operands import Layout
from rope_lab.attention.scores import (
    BandScores,
    CallableScores,
    Operands,
    Place,
    dot,
    turn_heads,
)
from rope_lab.attention.tiles import Tiles, cut_tokens, make_tiles, tile_length
from rope_lab.logic import PositionLogic
from rope_lab.rotary.exact import is_traced

QUERY_TILE, KEY_TILE = 256, 256  # tokens
SCORES = 4 * 256 * 256  # scores computed at once: more leave a core's cache
_LOWEST = -1e30  # below every logit, and finite: differences of two are numbers


def tiled(
    q_BTHD: jax.Array,
    k_BSKD: jax.Array,
    v_BSKC: jax.Array,
    logic,
    layout: Layout,
    query_tile: int = QUERY_TILE,
    key_tile: int = KEY_TILE,
) -> jax.Array:
    """softmax(logic(q, k)) v over visible keys: [B, T, H, C], like q.

    Equal to `dense`; float32 throughout, O(T + S) memory forward and backward.
    query_tile, key_tile: the most tokens a tile has.
    """
    if isinstance(logic, PositionLogic):
        logic.check_heads(*q_BTHD.shape[2:])
        arrays = q_BTHD, k_BSKD, v_BSKC, logic, layout
        # Under a transformation the maps of bands may close over what it traces.
        run = _banded if is_traced(*jax.tree.leaves(arrays)) else _compiled
        return run(*arrays, query_tile, key_tile)
    t, s = _tile_lengths(q_BTHD, k_BSKD, query_tile, key_tile)
    function, learned = _hoisted(logic, q_BTHD, k_BSKD, t, s)
    key_heads = k_BSKD.shape[2]
    scores = CallableScores(function, q_BTHD.shape[2] // key_heads, key_heads)
    tiles = make_tiles(layout, t, s)
    k = _by_tile(k_BSKD, len(tiles.count_RM), s)[:, :, None]
    return _walked(scores, q_BTHD, k, v_BSKC, learned, tiles)


def _banded(q_BTHD, k_BSKD, v_BSKC, logic, layout, query_tile, key_tile):
    """tiled of a position logic."""
    lengths = _tile_lengths(q_BTHD, k_BSKD, query_tile, key_tile)
    scores, tiles = _planned(q_BTHD, k_BSKD, logic, layout, *lengths)
    k = _turned_keys(logic, k_BSKD, tiles)
    return _walked(scores, q_BTHD, k, v_BSKC, logic, tiles)


def tiled_over_turned(
    q_BTHD: jax.Array,
    keys: Sequence[jax.Array],
    v_BSKC: jax.Array,
    logic: PositionLogic,
    layout: Layout,
) -> jax.Array:
    """`tiled` over keys that are turned already: [B, S, K, D] for each band.

    As `operands.turned_keys` gives them and a cache stores them. Queries are not turned
    yet. Forward only: a cache is not differentiated.
    """
    lengths = _tile_lengths(q_BTHD, keys[0], QUERY_TILE, KEY_TILE)
    scores, tiles = _planned(q_BTHD, keys[0], logic, layout, *lengths)
    rows, _, tile = tiles.keys_RNs.shape
    k = jnp.stack([_by_tile(each, rows, tile) for each in keys], axis=2)
    if logic.amplitude is not None:
        k = recentred(logic.amplitude, logic.layout, k, tiles)
    return _walked(scores, q_BTHD, k, v_BSKC, logic, tiles)


def _planned(q_BTHD, k_BSKD, logic, layout: Layout, t: int, s: int):
    """The scores of a position logic, and the tiles of this layout."""
    key_heads = k_BSKD.shape[2]
    group = q_BTHD.shape[2] // key_heads
    at_once = math.gcd(key_heads, max(1, SCORES // (group * t * s)))
    scores = BandScores(len(logic.bands), group, key_heads, at_once)
    tiles = make_tiles(layout, t, s)
    if logic.amplitude is not None:
        tiles = with_centres(tiles, logic.amplitude.near)
    return scores, tiles


# Called as it is, without jit, all of the same bands and shapes share one program.
_compiled = jax.jit(_banded, static_argnums=(5, 6))


def _tile_lengths(q_BTHD, k_BSKD, query_tile: int, key_tile: int) -> tuple[int, int]:
    """Tokens of a query tile, of which each key head has G rows, and of a key tile."""
    group = q_BTHD.shape[2] // k_BSKD.shape[2]
    t = tile_length(q_BTHD.shape[1], max(1, query_tile // group))
    return t, tile_length(k_BSKD.shape[1], key_tile)


def _walked(scores, q_BTHD, k, v_BSKC, logic, tiles: Tiles) -> jax.Array:
    """[B, T, H, C] from keys that are turned and tiled already."""
    batch, queries, heads, dim = q_BTHD.shape
    rows, _, t = tiles.queries_RMt.shape
    q = cut_tokens(q_BTHD, 1, t).reshape(rows, batch // rows, -1, heads, dim)
    v = _by_tile(v_BSKC, rows, tiles.keys_RNs.shape[-1])
    out = _attention(scores, Operands(q, k, v, logic), tiles)
    return out.reshape(batch, -1, *out.shape[3:])[:, :queries]


def _by_tile(x_BSKD: jax.Array, rows: int, tile: int) -> jax.Array:
    """float32[R, N, B/R*K, s, D] of [B, S, K, D]."""
    x = cut_tokens(x_BSKD.astype(jnp.float32), 1, tile)
    x = x.reshape(rows, -1, *x.shape[1:]).transpose(0, 2, 1, 4, 3, 5)
    return x.reshape(*x.shape[:2], -1, *x.shape[4:])


def _turned_keys(logic, k_BSKD: jax.Array, tiles: Tiles) -> jax.Array:
    """float32[R, N, P, B/R*K, s, D]; the angles of one tile in memory at a time."""
    rows, count, tile = tiles.keys_RNs.shape
    k_BNsKD = cut_tokens(k_BSKD, 1, tile)
    k_RBNsKD = k_BNsKD.reshape(rows, -1, *k_BNsKD.shape[1:])

    @jax.checkpoint
    def turn(k_BsKD, row, n):
        angles = [band.key_angles(tiles.keys_RNs[row, n]) for band in logic.bands]
        decay = None
        if logic.amplitude is not None:
            decay = key_factors(logic.amplitude, tiles, row, n)
        k_BKsD = k_BsKD.swapaxes(1, 2)
        k_HsD = k_BKsD.reshape(-1, *k_BKsD.shape[2:])
        return turn_heads(k_HsD, angles, logic.layout, decay=decay)

    def tile_of(number):
        row, n = number // count, number % count
        return turn(k_RBNsKD[row, :, n], row, n)

    turned = jax.lax.map(tile_of, jnp.arange(rows * count))
    return turned.reshape(rows, count, *turned.shape[1:])


def _hoisted(function, q_BTHD, k_BSKD, query_tile: int, key_tile: int):
    """The callable with the arrays it closes over, if differentiated, as arguments."""
    examples = []
    for x, tokens in ((q_BTHD, query_tile), (k_BSKD, key_tile)):
        shape = (1, tokens, *x.shape[2:])
        examples.append(jax.ShapeDtypeStruct(shape, jnp.float32))
    for tokens in (query_tile, key_tile):
        examples.append(jax.ShapeDtypeStruct((1, tokens), jnp.int32))
    return jax.closure_convert(function, *examples)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _attention(scores, operands: Operands, tiles: Tiles) -> jax.Array:
    """[R, B, M*t, H, C], differentiable in the operands [R, ...]."""
    return _attention_forward(scores, operands, tiles)[0]


def _attention_forward(scores, operands: Operands, tiles: Tiles):
    out, lse = _map_rows(functools.partial(_forward, scores), operands, tiles)
    return out, (operands, tiles, out, lse)


def _attention_backward(scores, saved, dout):
    operands, tiles, out, lse = saved
    walk = functools.partial(_backward, scores)
    slopes = _map_rows(walk, operands, tiles, lse, out, dout)
    return slopes._replace(logic=jax.tree.map(_sum, slopes.logic)), None


_attention.defvjp(_attention_forward, _attention_backward)


def _sum(x: jax.Array) -> jax.Array:
    return x.sum(0)


def _map_rows(walk, operands: Operands, tiles: Tiles, *more):
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


def _forward(scores, x: Operands, tiles: Tiles):
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
            jnp.full((scores.heads, tokens), _LOWEST),
            jnp.zeros((scores.heads, tokens)),
            jnp.zeros((scores.heads, tokens, x.v.shape[-1])),
        )
        largest, total, out = _each_key_tile(tiles, at, visit, start)
        seen = total > 0
        out = out / jnp.where(seen, total, 1.0)[..., None]
        lse = jnp.where(seen, largest + jnp.log(total), jnp.inf)
        return (mine.write(outputs[0], out), mine.write(outputs[1], lse)), None

    outputs = (
        jnp.zeros((*x.q.shape[:3], x.v.shape[-1]), x.q.dtype),
        jnp.zeros((*x.q.shape[:3], 1)),
    )
    return jax.lax.scan(row, outputs, _places(scores, x, tiles))[0]


def _backward(scores, x: Operands, tiles: Tiles, lse, out, dout) -> Operands:
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
