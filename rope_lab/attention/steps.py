"""The plan of `tiles` as lists of steps, in the order in which kernels walk it.

A step is one band in one tile of the score matrix. Bands share no pair of a query and
a key, so a tile that several bands touch is that many steps of online softmax, each
with a mask of its own; a kernel knows nothing of bands but which operand to read.

Legend: as in `tiles`; besides A anchor tiles, those that a walk goes through one after
another, and L the most steps there can be, P * M * N.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp

from rope_lab.attention.tiles import Tiles


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Steps:
    """Every step of a walk, by anchor tile, then band, then uncut tiles first. int32.

    Attributes:
      query_RL, key_RL, band_RL: tile of queries, tile of keys and band of each step;
        behind the last step, copies of it.
      cut_RL: 1 where some pair of the tile is hidden or of another band.
      anchor_RL: query_RL or key_RL, whichever the walk goes by.
      start_RE: where each (anchor, band, cut) starts, flattened, and the end:
        E = 2 * A * P + 1. Every anchor has at least one step, if need be one in which
        no pair is visible, so that a kernel which only writes what it visits writes
        all.
    """

    query_RL: jax.Array
    key_RL: jax.Array
    band_RL: jax.Array
    cut_RL: jax.Array
    anchor_RL: jax.Array
    start_RE: jax.Array

    @property
    def count_R(self) -> jax.Array:
        """Steps of each row of positions."""
        return self.start_RE[:, -1]


def by_query(tiles: Tiles) -> Steps:
    """The walk that ends with one tile of queries before it starts the next."""
    anchor, band, cut, other, start = _sorted_steps(_touched(tiles), _cut(tiles))
    return Steps(anchor, other, band, cut, anchor, start)


def by_key(tiles: Tiles) -> Steps:
    """The walk that ends with one tile of keys before it starts the next."""
    touched_RPNM = _touched(tiles).mT
    anchor, band, cut, other, start = _sorted_steps(touched_RPNM, _cut(tiles).mT)
    return Steps(other, anchor, band, cut, anchor, start)


def _touched(tiles: Tiles) -> jax.Array:
    """bool[R, P, M, N]: whether the band holds a pair of the tile."""
    rank_RMNP = jnp.argsort(tiles.band_RMNP, axis=-1)
    return jnp.moveaxis(rank_RMNP < tiles.bands_RMN[..., None], -1, 1)


def _cut(tiles: Tiles) -> jax.Array:
    """int32[R, M, N]: 1 where a step of the tile needs a mask."""
    return tiles.cut_RMN | (tiles.bands_RMN > 1).astype(jnp.int32)


def _sorted_steps(touched_RPAZ: jax.Array, cut_RAZ: jax.Array):
    """Anchor, band, cut, other tile [R, L] and starts [R, E]; Z tiles on the way."""
    rows, bands, anchors, others = touched_RPAZ.shape
    idle_RA1 = ~touched_RPAZ.any((1, 3))[..., None]
    idle_RAZ = idle_RA1 & (jnp.arange(others) == 0).reshape(1, 1, -1)
    first = (jnp.arange(bands) == 0).reshape(1, -1, 1, 1)
    touched_RPAZ = touched_RPAZ | (idle_RAZ[:, None] & first)
    cut_RAZ = cut_RAZ | idle_RAZ.astype(jnp.int32)
    wanted_RAPcZ = jnp.stack(
        [
            touched_RPAZ.transpose(0, 2, 1, 3) & (cut_RAZ == cut)[:, :, None]
            for cut in (0, 1)
        ],
        axis=3,
    )
    counts = wanted_RAPcZ.sum(-1, dtype=jnp.int32).reshape(rows, -1)
    start_RE = jnp.pad(jnp.cumsum(counts, axis=-1, dtype=jnp.int32), ((0, 0), (1, 0)))
    size = anchors * bands * 2 * others
    # A sort of plain numbers: those of unwanted steps are raised above all others.
    number = jnp.arange(size, dtype=jnp.int32)[None]
    number = jnp.where(wanted_RAPcZ.reshape(rows, -1), number, number + size)
    number_RL = jnp.sort(number, axis=-1)[:, : size // 2]
    last_R1 = jnp.take_along_axis(number_RL, start_RE[:, -1:] - 1, axis=1)
    number_RL = jnp.minimum(number_RL, last_R1)
    number_RL, other = jnp.divmod(number_RL, others)
    number_RL, cut = jnp.divmod(number_RL, 2)
    anchor, band = jnp.divmod(number_RL, bands)
    return anchor, band, cut, other, start_RE
