"""Flash attention over bands in plain XLA: any platform, memory linear in the length.

Scores exist one tile at a time. A tile that one band holds costs one product, as under
plain RoPE; only where a boundary cuts a tile are there two. The backward pass walks the
same tiles and recomputes their probabilities from the log-sum-exp of each query.

Legend: as in `tiles`; besides B batch, K key heads, G query heads per key head, n heads
computed at once (of B * K / R), D and C head dims of keys and values.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rope_lab.attention.operands import Layout, turned_keys, turned_queries
from rope_lab.attention.tiles import Tiles, cut_tokens, make_tiles, tile_length
from rope_lab.logic import PositionLogic

QUERY_TILE, KEY_TILE = 256, 256  # tokens
_LOWEST = -1e30  # below every logit, and finite: differences of two are numbers
_dot = functools.partial(
    jnp.einsum,
    precision=jax.lax.Precision.HIGHEST,
    preferred_element_type=jnp.float32,
)


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
    batch, queries, heads, _ = q_BTHD.shape
    keys, key_heads = k_BSKD.shape[1:3]
    group = max(1, heads // key_heads)
    t = tile_length(queries, max(1, query_tile // group))
    s = tile_length(keys, key_tile)
    tiles = make_tiles(layout, t, s)
    rows = tiles.queries_RMt.shape[0]
    if isinstance(logic, PositionLogic):
        logic.check_heads(heads, q_BTHD.shape[-1])
        scores: Any = _Bands(len(logic.bands), group)
        q_PBTHD = turned_queries(logic, q_BTHD, layout.queries_RT)
        k_PBSKD = turned_keys(logic, k_BSKD, layout.keys_RS)
        learned = logic.bias
    else:
        pure, learned = _hoisted(logic, q_BTHD, k_BSKD, rows, t, s)
        scores = _Callable(pure, group, key_heads)
        q_PBTHD = q_BTHD.astype(jnp.float32)[None]
        k_PBSKD = k_BSKD.astype(jnp.float32)[None]
    operands = Operands(
        q=_by_head(q_PBTHD, rows, key_heads, t),
        k=_by_head(k_PBSKD, rows, key_heads, s),
        v=_by_head(v_BSKC.astype(jnp.float32)[None], rows, key_heads, s),
        learned=learned,
    )
    out_RnMtC = _attention(scores, operands, tiles)
    out = out_RnMtC.reshape(
        rows, batch // rows, key_heads, -1, group, t, v_BSKC.shape[-1]
    )
    out = out.transpose(0, 1, 3, 5, 2, 4, 6)
    out = out.reshape(batch, -1, heads, v_BSKC.shape[-1])[:, :queries]
    return out.astype(q_BTHD.dtype)


class Operands(NamedTuple):
    """What attention is differentiable in.

    q: [R, P, n, M, G*t, D], turned by each band and times the temperature; k:
    [R, P, n, N, s, D]; v: [R, 1, n, N, s, C]; learned: leaves of the bias.
    """

    q: jax.Array
    k: jax.Array
    v: jax.Array
    learned: Any


def _by_head(x_PBTHD: jax.Array, rows: int, key_heads: int, tile: int) -> jax.Array:
    """[P, B, T, K*G, D] to [R, P, B/R*K, tiles, G*tile, D]."""
    parts, batch, _, heads, dim = x_PBTHD.shape
    x = cut_tokens(x_PBTHD, 2, tile)
    shape = (parts, rows, batch // rows, x.shape[2], tile, key_heads, -1, dim)
    x = x.reshape(shape).transpose(1, 0, 2, 5, 3, 6, 4, 7)
    return x.reshape(rows, parts, -1, x.shape[4], x.shape[5] * tile, dim)


class _Bands:
    """Scores of a position logic from turned operands."""

    def __init__(self, bands: int, group: int):
        self.bands, self.group = bands, group

    def _product(self, x: Operands, m, n, band) -> jax.Array:
        """[n, G*t, s]: tile (m, n) as one band sees it."""
        return _dot("hqd,hkd->hqk", _take(x.q, band, m), _take(x.k, band, n))

    def _where(self, tiles: Tiles, m, n, band, chosen, other) -> jax.Array:
        """chosen where the band shows the key to the query, else other."""
        inside_ts = _inside(tiles, m, n, band)
        shape = (chosen.shape[0], self.group, *inside_ts.shape)
        chosen = jnp.where(inside_ts, chosen.reshape(shape), _fit(other, shape))
        return chosen.reshape(shape[0], -1, shape[-1])

    def scores(self, x: Operands, tiles: Tiles, m, n) -> jax.Array:
        bands = tiles.band_RMNP[m, n]
        s = self._product(x, m, n, bands[0])
        # Loops of no or one round: a condition would copy the tile.
        s = jax.lax.fori_loop(
            0,
            tiles.cut_RMN[m, n],
            lambda _, s: self._where(tiles, m, n, bands[0], s, -jnp.inf),
            s,
        )
        if self.bands > 1:
            s = jax.lax.fori_loop(
                1,
                tiles.bands_RMN[m, n],
                lambda i, s: self._where(
                    tiles, m, n, bands[i], self._product(x, m, n, bands[i]), s
                ),
                s,
            )
        if x.learned is not None:
            s = s + self._bias(x.learned, tiles, m, n, s.shape)
        return s

    def _bias(self, bias, tiles: Tiles, m, n, shape) -> jax.Array:
        queries, keys = tiles.queries_RMt[m], tiles.keys_RNs[n]
        values_1Hts = bias(queries[None, :, None], keys[None, None])
        values = values_1Hts.reshape(1, -1, shape[1], shape[2])
        copies = shape[0] // values.shape[1]  # of the heads, one per batch row
        values = jnp.broadcast_to(values, (copies, *values.shape[1:]))
        return values.reshape(shape)

    def backward(self, x: Operands, slopes: _Slopes, ds, tiles: Tiles, m, n):
        """slopes with the part of this tile, given the slope of its scores."""
        bands = tiles.band_RMNP[m, n]
        if x.learned is not None:
            _, pull = jax.vjp(
                lambda bias: self._bias(bias, tiles, m, n, ds.shape), x.learned
            )
            learned = jax.tree.map(jnp.add, slopes.learned, pull(ds)[0])
            slopes = slopes._replace(learned=learned)
        if self.bands == 1:
            return self._pull(x, slopes, ds, m, n, 0)

        def visit(i, slopes):
            mine = self._where(tiles, m, n, bands[i], ds, 0.0)
            return self._pull(x, slopes, mine, m, n, bands[i])

        return jax.lax.fori_loop(0, tiles.bands_RMN[m, n], visit, slopes)

    def _pull(self, x: Operands, slopes: _Slopes, ds, m, n, band):
        dq = _dot("hqk,hkd->hqd", ds, _take(x.k, band, n))
        dk = _dot("hqk,hqd->hkd", ds, _take(x.q, band, m))
        return slopes._replace(
            q=_add(slopes.q, dq, band, 0), k=_add(slopes.k, dk, band, n)
        )


class _Callable:
    """Scores of any callable with the signature of a logic, tile by tile."""

    def __init__(self, function, group: int, key_heads: int):
        self.function, self.group, self.key_heads = function, group, key_heads

    def _scores(self, q, k, learned, tiles: Tiles, m, n) -> jax.Array:
        """[n, G*t, s] from tiles [n, G*t, D] and [n, s, D] of queries and keys."""
        heads, (_, keys, dim) = self.key_heads, k.shape
        batch = q.shape[0] // heads
        q = q.reshape(batch, heads * self.group, -1, dim).transpose(0, 2, 1, 3)
        k = k.reshape(batch, heads, keys, dim).transpose(0, 2, 1, 3)
        queries, key_positions = tiles.queries_RMt[m][None], tiles.keys_RNs[n][None]
        s = self.function(q, k, queries, key_positions, *learned)
        if s.shape != (batch, q.shape[2], q.shape[1], keys):
            raise ValueError(
                f"the position logic returned logits of shape {s.shape} for queries "
                f"{q.shape} and keys {k.shape}; expected [batch, heads, queries, keys]"
            )
        s = jnp.where(_inside(tiles, m, n, 0)[None, None], s, -jnp.inf)
        return s.astype(jnp.float32).reshape(batch * heads, -1, keys)

    def scores(self, x: Operands, tiles: Tiles, m, n) -> jax.Array:
        return self._scores(_take(x.q, 0, m), _take(x.k, 0, n), x.learned, tiles, m, n)

    def backward(self, x: Operands, slopes: _Slopes, ds, tiles: Tiles, m, n):
        """slopes with the part of this tile, given the slope of its scores."""
        _, pull = jax.vjp(
            lambda q, k, learned: self._scores(q, k, learned, tiles, m, n),
            _take(x.q, 0, m),
            _take(x.k, 0, n),
            x.learned,
        )
        dq, dk, learned = pull(ds)
        return slopes._replace(
            q=_add(slopes.q, dq, 0, 0),
            k=_add(slopes.k, dk, 0, n),
            learned=jax.tree.map(jnp.add, slopes.learned, learned),
        )


def _hoisted(function, q_BTHD, k_BSKD, rows: int, query_tile: int, key_tile: int):
    """The callable with the arrays it closes over, if differentiated, as arguments."""
    examples = []
    for x, tokens in ((q_BTHD, query_tile), (k_BSKD, key_tile)):
        shape = (x.shape[0] // rows, tokens, *x.shape[2:])
        examples.append(jax.ShapeDtypeStruct(shape, jnp.float32))
    for tokens in (query_tile, key_tile):
        examples.append(jax.ShapeDtypeStruct((1, tokens), jnp.int32))
    return jax.closure_convert(function, *examples)


def _take(x: jax.Array, part, tile) -> jax.Array:
    """[n, tokens, D] of [parts, n, tiles, tokens, D]."""
    x = jax.lax.dynamic_index_in_dim(x, part, 0, keepdims=False)
    return jax.lax.dynamic_index_in_dim(x, tile, 1, keepdims=False)


def _add(x: jax.Array, more: jax.Array, part, tile) -> jax.Array:
    """x [parts, n, tiles, tokens, D] with more [n, tokens, D] added to one tile."""
    start = (part, 0, tile, 0, 0)
    shape = (1, x.shape[1], 1, *x.shape[3:])
    old = jax.lax.dynamic_slice(x, start, shape)
    return jax.lax.dynamic_update_slice(x, old + more.reshape(shape), start)


def _inside(tiles: Tiles, m, n, band) -> jax.Array:
    """bool[t, s]: who sees whom in one tile and band."""
    marks = tiles.marks_RNs[n][None]
    inside = marks >= tiles.first_RPMt[band, m][:, None]
    inside &= marks <= tiles.last_RPMt[band, m][:, None]
    if tiles.segments is not None:
        queries, keys = tiles.segments
        inside &= queries[m][:, None] == keys[n][None]
    return inside


def _fit(other, shape) -> jax.Array:
    return other.reshape(shape) if isinstance(other, jax.Array) else jnp.float32(other)


class _Slopes(NamedTuple):
    """Gradients that grow tile by tile; q is that of one query tile."""

    q: jax.Array
    k: jax.Array
    v: jax.Array
    learned: Any


def _attention(scores, operands: Operands, tiles: Tiles) -> jax.Array:
    """[R, n, M, G*t, C], differentiable in the operands."""

    @jax.custom_vjp
    def attention(operands, tiles):
        return forward(operands, tiles)[0]

    def forward(operands, tiles):
        out, lse = _map_rows(functools.partial(_forward, scores), operands, tiles)
        return out, (operands, tiles, out, lse)

    def backward(saved, dout):
        operands, tiles, out, lse = saved
        delta = (out * dout).sum(-1)
        slopes = _map_rows(
            functools.partial(_backward, scores), operands, tiles, lse, delta, dout
        )
        if operands.learned is not None:
            learned = jax.tree.map(lambda x: x.sum(0), slopes.learned)
            slopes = slopes._replace(learned=learned)
        return slopes, None

    attention.defvjp(forward, backward)
    return attention(operands, tiles)


def _map_rows(walk, operands: Operands, tiles: Tiles, *more):
    """walk(operands, tiles, *more) for each row of positions, one after another."""
    learned = operands.learned

    def one(row):
        arrays, tiles, more = row
        return walk(Operands(*arrays, learned), tiles, *more)

    mapped = (operands[:3], tiles, more)
    if tiles.count_RM.shape[0] == 1:
        result = one(jax.tree.map(lambda x: x[0], mapped))
        return jax.tree.map(lambda x: x[None], result)
    return jax.lax.map(one, mapped)


def _forward(scores, x: Operands, tiles: Tiles):
    """Output [n, M, G*t, C] and log-sum-exp [n, M, G*t] of one row of positions."""
    heads, count, tokens = x.q.shape[1:4]

    def row(m):
        def visit(step, carry):
            largest, total, out = carry
            n = tiles.order_RMN[m, step]
            s = scores.scores(x, tiles, m, n)
            larger = jnp.maximum(largest, s.max(-1))
            p = jnp.exp(s - larger[..., None])
            shrink = jnp.exp(largest - larger)
            more = _dot("hqk,hkc->hqc", p, _take(x.v, 0, n))
            return larger, total * shrink + p.sum(-1), out * shrink[..., None] + more

        start = (
            jnp.full((heads, tokens), _LOWEST),
            jnp.zeros((heads, tokens)),
            jnp.zeros((heads, tokens, x.v.shape[-1])),
        )
        largest, total, out = jax.lax.fori_loop(0, tiles.count_RM[m], visit, start)
        seen = total > 0
        out = out / jnp.where(seen, total, 1.0)[..., None]
        return out, jnp.where(seen, largest + jnp.log(total), jnp.inf)

    out, lse = jax.lax.map(row, jnp.arange(count))
    return jnp.moveaxis(out, 0, 1), jnp.moveaxis(lse, 0, 1)


def _backward(scores, x: Operands, tiles: Tiles, lse, delta, dout):
    """Gradients of the operands of one row of positions, shaped like them."""
    parts, heads, count, tokens, dim = x.q.shape

    def row(slopes, m):
        def visit(step, slopes):
            n = tiles.order_RMN[m, step]
            p = jnp.exp(scores.scores(x, tiles, m, n) - lse[:, m][..., None])
            dp = _dot("hqc,hkc->hqk", dout[:, m], _take(x.v, 0, n))
            dv = _dot("hqk,hqc->hkc", p, dout[:, m])
            slopes = slopes._replace(v=_add(slopes.v, dv, 0, n))
            ds = p * (dp - delta[:, m][..., None])
            return scores.backward(x, slopes, ds, tiles, m, n)

        slopes = slopes._replace(q=jnp.zeros((parts, heads, 1, tokens, dim)))
        slopes = jax.lax.fori_loop(0, tiles.count_RM[m], visit, slopes)
        return slopes._replace(q=()), slopes.q

    start = _Slopes((), *jax.tree.map(jnp.zeros_like, (x.k, x.v, x.learned)))
    slopes, dq = jax.lax.scan(row, start, jnp.arange(count))
    dq = jnp.moveaxis(dq[:, :, :, 0], 0, 2)
    return Operands(dq, slopes.k, slopes.v, slopes.learned)
