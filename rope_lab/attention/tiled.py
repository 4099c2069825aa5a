"""Flash attention over bands in plain XLA: any platform, memory linear in the length.

Here the operands are prepared; `walk` goes through the tiles. Keys are turned once and
kept, as often as there are bands; queries are turned when their tile is walked, and
values stay where they are: fresh memory costs a page fault for every 4 KiB, more than
the arithmetic on it.

Legend: as in `tiles`; besides B batch, H query heads, K key heads, G = H / K, D and C
head dims of keys and values, P bands.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp

from rope_lab.attention.amplified import key_factors, recentred, with_centres
from rope_lab.attention.operands import Layout
from rope_lab.attention.scores import (
    BandScores,
    CallableScores,
    Operands,
    turn_heads,
)
from rope_lab.attention.tiles import Tiles, cut_tokens, make_tiles, tile_length
from rope_lab.attention.walk import walked
from rope_lab.logic import PositionLogic
from rope_lab.rotary.exact import is_traced

QUERY_TILE, KEY_TILE = 256, 256  # tokens
SCORES = 4 * 256 * 256  # scores computed at once: more leave a core's cache


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
    t, s = tile_lengths(q_BTHD, k_BSKD, query_tile, key_tile)
    function, learned = hoisted(logic, q_BTHD, k_BSKD, layout, t, s)
    key_heads = k_BSKD.shape[2]
    scores = CallableScores(function, q_BTHD.shape[2] // key_heads, key_heads)
    tiles = make_tiles(layout, t, s)
    k = by_tile(k_BSKD, len(tiles.count_RM), s)[:, :, None]
    return _of_turned(scores, q_BTHD, k, v_BSKC, learned, tiles)


def _banded(q_BTHD, k_BSKD, v_BSKC, logic, layout, query_tile, key_tile):
    """tiled of a position logic."""
    lengths = tile_lengths(q_BTHD, k_BSKD, query_tile, key_tile)
    scores, tiles = _planned(q_BTHD, k_BSKD, logic, layout, *lengths)
    k = turned_tiles(logic, k_BSKD, tiles)
    return _of_turned(scores, q_BTHD, k, v_BSKC, logic, tiles)


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
    lengths = tile_lengths(q_BTHD, keys[0], QUERY_TILE, KEY_TILE)
    scores, tiles = _planned(q_BTHD, keys[0], logic, layout, *lengths)
    rows, _, tile = tiles.keys_RNs.shape
    k = jnp.stack([by_tile(each, rows, tile) for each in keys], axis=2)
    if logic.amplitude is not None:
        k = recentred(logic.amplitude, logic.layout, k, tiles)
    return _of_turned(scores, q_BTHD, k, v_BSKC, logic, tiles)


def _planned(q_BTHD, k_BSKD, logic, layout: Layout, t: int, s: int):
    """The scores of a position logic, and the tiles of this layout."""
    scores = band_scores(logic, q_BTHD.shape[2], k_BSKD.shape[2], t, s)
    return scores, planned_tiles(logic, layout, t, s)


def band_scores(logic, heads: int, key_heads: int, t: int, s: int) -> BandScores:
    """The scores of a position logic in tiles of t times s."""
    group = heads // key_heads
    at_once = math.gcd(key_heads, max(1, SCORES // (group * t * s)))
    return BandScores(len(logic.bands), group, key_heads, at_once)


def planned_tiles(logic, layout: Layout, t: int, s: int) -> Tiles:
    """The tiles of a layout, with what an amplitude needs to know of them."""
    tiles = make_tiles(layout, t, s)
    if isinstance(logic, PositionLogic) and logic.amplitude is not None:
        tiles = with_centres(tiles, logic.amplitude.near)
    return tiles


# Called as it is, without jit, all of the same bands and shapes share one program.
_compiled = jax.jit(_banded, static_argnums=(5, 6))


def tile_lengths(q_BTHD, k_BSKD, query_tile: int, key_tile: int) -> tuple[int, int]:
    """Tokens of a query tile, of which each key head has G rows, and of a key tile."""
    group = q_BTHD.shape[2] // k_BSKD.shape[2]
    t = tile_length(q_BTHD.shape[1], max(1, query_tile // group))
    return t, tile_length(k_BSKD.shape[1], key_tile)


def _of_turned(scores, q_BTHD, k, v_BSKC, logic, tiles: Tiles) -> jax.Array:
    """[B, T, H, C] from keys that are turned and tiled already."""
    v = by_tile(v_BSKC, len(tiles.count_RM), tiles.keys_RNs.shape[-1])
    q = queries_by_row(q_BTHD, tiles)
    out = walked(scores, Operands(q, k, v, logic), tiles)
    return queries_of_rows(out, q_BTHD.shape[1])


def queries_by_row(q_BTHD: jax.Array, tiles: Tiles) -> jax.Array:
    """[R, B/R, M*t, H, D] of [B, T, H, D]."""
    rows, _, t = tiles.queries_RMt.shape
    q = cut_tokens(q_BTHD, 1, t)
    return q.reshape(rows, len(q_BTHD) // rows, -1, *q_BTHD.shape[2:])


def queries_of_rows(x: jax.Array, queries: int) -> jax.Array:
    """[B, T, H, C] of [R, B/R, M*t, H, C]."""
    return x.reshape(-1, *x.shape[2:])[:, :queries]


def by_tile(x_BSKD: jax.Array, rows: int, tile: int) -> jax.Array:
    """float32[R, N, B/R*K, s, D] of [B, S, K, D]."""
    x = cut_tokens(x_BSKD.astype(jnp.float32), 1, tile)
    x = x.reshape(rows, -1, *x.shape[1:]).transpose(0, 2, 1, 4, 3, 5)
    return x.reshape(*x.shape[:2], -1, *x.shape[4:])


def turned_tiles(
    logic, k_BSKD: jax.Array, tiles: Tiles, where_needed: bool = False
) -> jax.Array:
    """float32[R, N, P, B/R*K, s, D]; the angles of one tile in memory at a time.

    where_needed: a tile stays zero in a band that shows none of it to any query.
    """
    rows, count, tile = tiles.keys_RNs.shape
    k_BNsKD = cut_tokens(k_BSKD, 1, tile)
    k_RBNsKD = k_BNsKD.reshape(rows, -1, *k_BNsKD.shape[1:])

    @jax.checkpoint
    def turn(k_BsKD, row, n):
        k_BKsD = k_BsKD.swapaxes(1, 2)
        k_HsD = k_BKsD.reshape(-1, *k_BKsD.shape[2:])
        decay = None
        if logic.amplitude is not None:
            decay = key_factors(logic.amplitude, tiles, row, n)

        def by(bands):
            angles = [band.key_angles(tiles.keys_RNs[row, n]) for band in bands]
            return turn_heads(k_HsD, angles, logic.layout, decay=decay)

        if not where_needed:
            return by(logic.bands)
        shape = (1, *k_HsD.shape)
        nothing = jax.lax.full_like(k_HsD, 0, jnp.float32, shape=shape)
        turned = [
            jax.lax.cond(needed, functools.partial(by, [band]), lambda: nothing)
            for band, needed in zip(logic.bands, _shown(tiles, row, n), strict=True)
        ]
        return jnp.concatenate(turned)

    def tile_of(number):
        row, n = number // count, number % count
        return turn(k_RBNsKD[row, :, n], row, n)

    turned = jax.lax.map(tile_of, jnp.arange(rows * count))
    return turned.reshape(rows, count, *turned.shape[1:])


def _shown(tiles: Tiles, row, n) -> list[jax.Array]:
    """For each band, whether it shows some key of the tile to some query."""
    bands_M, band_MP = tiles.bands_RMN[row, :, n], tiles.band_RMNP[row, :, n]
    count = jnp.arange(band_MP.shape[-1])
    listed_MP = count[None] < bands_M[:, None]
    return [jnp.any(listed_MP & (band_MP == band)) for band in count]


def hoisted(function, q_BTHD, k_BSKD, layout: Layout, query_tile: int, key_tile: int):
    """The callable with the arrays it closes over, if differentiated, as arguments."""
    positions = (layout.queries_RT, query_tile), (layout.keys_RS, key_tile)
    examples = [
        # Of a tile, and under jax.shard_map of the type that differs as the whole does.
        jax.lax.full_like(x, 0, dtype, shape=(1, tokens, *x.shape[2:]))
        for arrays, dtype in (
            (((q_BTHD, query_tile), (k_BSKD, key_tile)), jnp.float32),
            (positions, jnp.int32),
        )
        for x, tokens in arrays
    ]
    return jax.closure_convert(function, *examples)
