"""Products of one tile under xPos, whose amplitude depends on the distance.

Keys are kept times zeta ** (c - j), c the middle of their tile, and queries take
zeta ** (i - c) when they meet the tile: then both factors are of moderate size, and the
product of the two tiles is one product, as without amplitudes. Where positions in a
tile of keys lie too far apart for any centre (which takes positions in no order), its
keys are kept plain and each pair gets its own factor: as right, only slower.

Legend: as in `scores`.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp

from rope_lab.attention.operands import NOWHERE
from rope_lab.attention.tiles import Tiles
from rope_lab.logic.amplitude import Amplitude, amplified_products
from rope_lab.rotary.rotate import Layout


def with_centres(tiles: Tiles, near: int) -> Tiles:
    """The plan with a centre for each key tile; wide: a key is not `near` it, tokens.

    Padding keys, whose position says nothing, are left out.
    """
    real_RNs = tiles.marks_RNs != NOWHERE
    least_RN = jnp.where(real_RNs, tiles.keys_RNs, NOWHERE).min(-1)
    largest_RN = jnp.where(real_RNs, tiles.keys_RNs, -NOWHERE).max(-1)
    half_RN = jnp.where(real_RNs.any(-1), (largest_RN - least_RN + 1) // 2, 0)
    return dataclasses.replace(
        tiles, centres_RN=least_RN + half_RN, wide_RN=half_RN > near
    )


def key_factors(amplitude: Amplitude, tiles: Tiles, row, n) -> jax.Array:
    """float32[s, planes] of the keys in one tile; 1 where it is wide."""
    before_s = tiles.centres_RN[row, n] - tiles.keys_RNs[row, n]
    before_s = jnp.clip(before_s, -amplitude.near, amplitude.near)  # padding
    return amplitude.factors(jnp.where(tiles.wide_RN[row, n], 0, before_s))


def recentred(
    amplitude: Amplitude, layout: Layout, k_RNPBsD, tiles: Tiles
) -> jax.Array:
    """Turned keys relative to `Amplitude.centre`, as `key_factors` would have them."""
    blocks_RNs = amplitude.centre(tiles.keys_RNs)
    wanted_RNs = jnp.where(
        tiles.wide_RN[..., None], tiles.keys_RNs, tiles.centres_RN[..., None]
    )
    # A key is near its tile's centre and within a block of its own; padding is neither.
    farthest = amplitude.near + amplitude.block
    moved_RNs = jnp.clip(wanted_RNs - blocks_RNs, -farthest, farthest)
    return amplitude.apply(k_RNPBsD, moved_RNs[:, :, None, None], layout)


def product(
    amplitude: Amplitude, layout: Layout, q_hqD, k_hkD, tiles: Tiles, at, by_key: bool
) -> jax.Array:
    """[h, q, k], by key [h, k, q], of one head's queries [q = G*t] and keys [k = s]."""
    queries_t, keys_s = tiles.queries_RMt[at.m], tiles.keys_RNs[at.n]
    heads, rows, dim = q_hqD.shape
    q_htGD = q_hqD.reshape(heads, -1, len(queries_t), dim).swapaxes(1, 2)

    def around_the_centre(q_htGD, k_hkD):
        # A query further in front than its keys can be sees none of them.
        after_t = jnp.maximum(queries_t - tiles.centres_RN[at.n], -2 * amplitude.near)
        q_htGD = amplitude.apply(q_htGD, after_t[None, :, None], layout)
        q_hqD = q_htGD.swapaxes(1, 2).reshape(heads, rows, dim)
        return jnp.einsum(
            "hqd,hkd->hkq" if by_key else "hqd,hkd->hqk",
            q_hqD,
            k_hkD,
            precision=jax.lax.Precision.HIGHEST,
            preferred_element_type=jnp.float32,
        )

    def pair_by_pair(q_htGD, k_hkD):
        tokens_1ts = jnp.maximum(queries_t[:, None] - keys_s[None], 0)[None]
        k_hk1D = k_hkD[:, :, None]
        s_hGts = amplified_products(amplitude, q_htGD, k_hk1D, tokens_1ts, layout)
        s_hqk = s_hGts.reshape(heads, rows, len(keys_s))
        return s_hqk.swapaxes(1, 2) if by_key else s_hqk

    return jax.lax.cond(
        tiles.wide_RN[at.n], pair_by_pair, around_the_centre, q_htGD, k_hkD
    )
