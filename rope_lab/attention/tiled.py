"""Flash attention over bands in plain XLA: any platform, memory linear in the length.

Here the operands are prepared; `walk` goes through the tiles. Keys are turned once and
kept, as often as there are bands; queries are turned when their tile is walked, and
values stay where they are: fresh memory costs a page fault for every 4 KiB, more than
the arithmetic on it.

Legend: as in `tiles`; besides B batch, H query heads, K key heads, G = H / K, D and C
head dims of keys and values, P bands.
"""

from __future__ import annotations

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
    t, s = _tile_lengths(q_BTHD, k_BSKD, query_tile, key_tile)
    function, learned = _hoisted(logic, q_BTHD, k_BSKD, t, s)
    key_heads = k_BSKD.shape[2]
    scores = CallableScores(function, q_BTHD.shape[2] // key_heads, key_heads)
    tiles = make_tiles(layout, t, s)
    k = _by_tile(k_BSKD, len(tiles.count_RM), s)[:, :, None]
    return _of_turned(scores, q_BTHD, k, v_BSKC, learned, tiles)


def _banded(q_BTHD, k_BSKD, v_BSKC, logic, layout, query_tile, key_tile):
    """tiled of a position logic."""
    lengths = _tile_lengths(q_BTHD, k_BSKD, query_tile, key_tile)
    scores, tiles = _planned(q_BTHD, k_BSKD, logic, layout, *lengths)
    k = _turned_keys(logic, k_BSKD, tiles)
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
    lengths = _tile_lengths(q_BTHD, keys[0], QUERY_TILE, KEY_TILE)
    scores, tiles = _planned(q_BTHD, keys[0], logic, layout, *lengths)
    rows, _, tile = tiles.keys_RNs.shape
    k = jnp.stack([_by_tile(each, rows, tile) for each in keys], axis=2)
    if logic.amplitude is not None:
        k = recentred(logic.amplitude, logic.layout, k, tiles)
    return _of_turned(scores, q_BTHD, k, v_BSKC, logic, tiles)


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


def _of_turned(scores, q_BTHD, k, v_BSKC, logic, tiles: Tiles) -> jax.Array:
    """[B, T, H, C] from keys that are turned and tiled already."""
    batch, queries, heads, dim = q_BTHD.shape
    rows, _, t = tiles.queries_RMt.shape
    q = cut_tokens(q_BTHD, 1, t).reshape(rows, batch // rows, -1, heads, dim)
    v = _by_tile(v_BSKC, rows, tiles.keys_RNs.shape[-1])
    out = walked(scores, Operands(q, k, v, logic), tiles)
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
