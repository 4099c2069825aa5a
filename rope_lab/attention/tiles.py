"""Which tiles of the score matrix there is work in, and which bands are in them.

A tile is a block of queries times a block of keys. From the intervals of a `Layout`,
the smallest and largest of each block say, for any order of positions and any map of
positions, whether a band holds no pair of the tile, some pairs, or all of them. The
three fast paths (XLA, GPU, TPU) walk this one plan.

Legend: R rows of positions, P bands, M query tiles, N key tiles, t tokens of a query
tile, s of a key tile.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp

from rope_lab.attention.operands import NOWHERE, Layout


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Tiles:
    """A layout cut into tiles; int32 unless said otherwise.

    Attributes:
      queries_RMt, keys_RNs, marks_RNs, first_RPMt, last_RPMt: as in `Layout`, padded
        with queries that see nothing and keys that nobody sees.
      segments: None or ([R, M, t], [R, N, s]).
      count_RM, order_RMN: query tile m has work in the key tiles
        order[m, :count[m]], in that order: those that band 0 alone holds, those that
        band 1 alone holds, ..., those that are cut with one band in them, and those
        with several.
      stops_RMQ: Q = P + 2; where in order[m] each of these runs ends.
      bands_RMN, band_RMNP: bands that hold a pair of the tile: how many, and their
        numbers in front.
      cut_RMN: 1 where some pair of the tile is hidden or is in another band, so that
        products need a mask; 0 where one band holds all of it.
      centres_RN, wide_RN: None, or what `amplified` needs to know of each key tile.
    """

    queries_RMt: jax.Array
    keys_RNs: jax.Array
    marks_RNs: jax.Array
    first_RPMt: jax.Array
    last_RPMt: jax.Array
    segments: tuple[jax.Array, jax.Array] | None
    count_RM: jax.Array
    order_RMN: jax.Array
    stops_RMQ: jax.Array
    bands_RMN: jax.Array
    band_RMNP: jax.Array
    cut_RMN: jax.Array
    centres_RN: jax.Array | None = None
    wide_RN: jax.Array | None = None


def tile_length(length: int, longest: int, multiple: int = 8) -> int:
    """Tokens per tile: at most `longest`, even parts of the length, little padding."""
    if length <= multiple:
        return length
    parts = -(-length // longest)
    return -(-length // (parts * multiple)) * multiple


def cut_tokens(x: jax.Array, axis: int, tile: int, fill=0) -> jax.Array:
    """Axis of tokens into two: tiles and tokens of a tile; padded with `fill`."""
    count = -(-x.shape[axis] // tile)
    widths = [(0, 0)] * x.ndim
    widths[axis] = (0, count * tile - x.shape[axis])
    if widths[axis][1]:
        x = jnp.pad(x, widths, constant_values=fill)
    return x.reshape(*x.shape[:axis], count, tile, *x.shape[axis + 1 :])


def make_tiles(layout: Layout, query_tile: int, key_tile: int) -> Tiles:
    """The plan for tiles of query_tile times key_tile tokens."""
    lowest = -NOWHERE - 1
    first_RPMt = cut_tokens(layout.first_RPT, 2, query_tile, NOWHERE)
    last_RPMt = cut_tokens(layout.last_RPT, 2, query_tile, lowest)
    marks_RNs = cut_tokens(layout.marks_RS, 1, key_tile, NOWHERE)
    least_RN = marks_RNs.min(-1)[:, None, None]  # over tokens; [R, 1, 1, N]
    # Padding keys are no reason to visit a tile, but they cut it.
    seen_RNs = jnp.where(marks_RNs == NOWHERE, lowest, marks_RNs)
    largest_RN = marks_RNs.max(-1)[:, None, None]
    largest_seen_RN = seen_RNs.max(-1)[:, None, None]
    first, last = first_RPMt[..., None], last_RPMt[..., None]
    touched_RPMN = (least_RN <= last.max(3)) & (largest_seen_RN >= first.min(3))
    whole_RPMN = (least_RN >= first.max(3)) & (largest_RN <= last.min(3))
    segments = None
    if layout.segments is not None:
        queries_RMt = cut_tokens(layout.segments[0], 1, query_tile)
        keys_RNs = cut_tokens(layout.segments[1], 1, key_tile)
        segments = queries_RMt, keys_RNs
        low_q, high_q = queries_RMt.min(2)[..., None], queries_RMt.max(2)[..., None]
        low_k, high_k = keys_RNs.min(2)[:, None], keys_RNs.max(2)[:, None]
        touched_RPMN &= ((low_q <= high_k) & (low_k <= high_q))[:, None]
        whole_RPMN &= ((low_q == high_k) & (low_k == high_q))[:, None]
    # Bands are disjoint: what one holds whole, no other touches, whatever the bounds
    # of a block, which are those of its extremes, leave possible.
    touched_RPMN &= whole_RPMN | ~whole_RPMN.any(1, keepdims=True)
    bands_RMN = touched_RPMN.sum(1, dtype=jnp.int32)
    cut_RMN = 1 - whole_RPMN.any(1).astype(jnp.int32)
    band_RMNP = _in_front(jnp.moveaxis(touched_RPMN, 1, -1))
    # The run a tile belongs to: its band; P or P + 1 where cut; P + 2 without work.
    bands = touched_RPMN.shape[1]
    run_RMN = jnp.where(cut_RMN == 1, bands + (bands_RMN > 1), band_RMNP[..., 0])
    run_RMN = jnp.where(bands_RMN == 0, bands + 2, run_RMN)
    upto = jnp.arange(bands + 2).reshape(1, 1, 1, -1)
    stops_RMQ = (run_RMN[..., None] <= upto).sum(2, dtype=jnp.int32)
    return Tiles(
        queries_RMt=cut_tokens(layout.queries_RT, 1, query_tile),
        keys_RNs=cut_tokens(layout.keys_RS, 1, key_tile),
        marks_RNs=marks_RNs,
        first_RPMt=first_RPMt,
        last_RPMt=last_RPMt,
        segments=segments,
        count_RM=stops_RMQ[..., -1],
        order_RMN=jnp.argsort(run_RMN, axis=-1, stable=True).astype(jnp.int32),
        stops_RMQ=stops_RMQ,
        bands_RMN=bands_RMN,
        band_RMNP=band_RMNP,
        cut_RMN=cut_RMN,
    )


def _in_front(chosen: jax.Array) -> jax.Array:
    """Indices along the last axis, the chosen ones first, else in order: int32."""
    return jnp.argsort(~chosen, axis=-1, stable=True).astype(jnp.int32)
