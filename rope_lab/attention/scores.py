"""Scores of one tile, and how their slopes flow back to what they were made from.

Two kinds, of one shape: those of a position logic, from vectors turned by each band,
and those of any other callable. Both compute n of the K key heads at once.

Legend: as in `tiles`; besides B batch, K key heads, G query heads per key head,
H = K * G, D head dim, C value dim.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rope_lab import rotary
from rope_lab.attention import amplified
from rope_lab.attention.tiles import Tiles

dot = functools.partial(
    jnp.einsum,
    precision=jax.lax.Precision.HIGHEST,
    preferred_element_type=jnp.float32,
)


class Place(NamedTuple):
    """A tile: batch row, first of the key heads computed at once, query, key tile."""

    b: Any
    head: Any
    m: Any
    n: Any = None


class Operands(NamedTuple):
    """What attention is differentiable in, for one row of positions.

    q: [B, M*t, H, D], as it came; k: float32[N, P, B*K, s, D], turned by each band;
    v: float32[N, B*K, s, C]; logic: a position logic, or what a callable learns.
    """

    q: jax.Array
    k: jax.Array
    v: jax.Array
    logic: Any


@dataclasses.dataclass(frozen=True)
class BandScores:
    """Scores of a position logic.

    by_key: the tile transposed, [n, s, G*t]. The backward pass wants it so: of its five
    products one instead of two then contract the first axis of their first factor,
    which runs at half the speed on a CPU.
    """

    bands: int
    group: int
    key_heads: int
    heads: int
    by_key: bool = False

    def queries(self, logic, q_HtD: jax.Array, tiles: Tiles, at: Place) -> jax.Array:
        """float32[P, n, G*t, D]: as each band sees them, times their temperature."""
        positions = tiles.queries_RMt[at.m]
        factor_t1 = logic.query_temperature(q_HtD.shape[-1], positions)[:, None]
        angles = [band.query_angles(positions) for band in logic.bands]
        turned = turn_heads(q_HtD, angles, logic.layout, factor_t1)
        return turned.reshape(self.bands, self.heads, -1, q_HtD.shape[-1])

    def scores(self, x: Operands, q, tiles: Tiles, at: Place, run: int) -> jax.Array:
        """[n, G*t, s] of a tile of one of the runs of `Tiles`; by key [n, s, G*t]."""
        if run < self.bands:
            s = self._product(x, q, tiles, at, run)
        else:
            bands = tiles.band_RMNP[at.m, at.n]

            def also(i, s):
                product = self._product(x, q, tiles, at, bands[i])
                return self._where(tiles, at, bands[i], product, s)

            s = also(0, -jnp.inf)
            if run > self.bands:
                s = also(1, s)
            if run > self.bands and self.bands > 2:
                s = jax.lax.fori_loop(2, tiles.bands_RMN[at.m, at.n], also, s)
        if x.logic.bias is not None:
            s = s + self._bias(x.logic.bias, tiles, at)
        return s

    def backward(self, x: Operands, q, slopes, ds, tiles: Tiles, at: Place, run: int):
        """slopes (of q, k, logic) with the part of this tile, given ds of its scores.

        By key only; the slope of q is transposed, [P, n, D, G*t].
        """
        if x.logic.bias is not None:
            _, pull = jax.vjp(lambda bias: self._bias(bias, tiles, at), x.logic.bias)
            _, _, logic = slopes
            bias = jax.tree.map(jnp.add, logic.bias, pull(ds)[0])
            slopes = (*slopes[:2], dataclasses.replace(logic, bias=bias))
        if run < self.bands:
            return self._pull(x, q, slopes, ds, tiles, at, run)
        bands = tiles.band_RMNP[at.m, at.n]
        if run == self.bands:  # what is hidden has no slope
            return self._pull(x, q, slopes, ds, tiles, at, bands[0])

        def visit(i, slopes):
            mine = self._where(tiles, at, bands[i], ds, 0.0)
            return self._pull(x, q, slopes, mine, tiles, at, bands[i])

        # A loop even for two: XLA copies the whole of k's where two updates follow.
        return jax.lax.fori_loop(0, tiles.bands_RMN[at.m, at.n], visit, slopes)

    def _keys(self, x: jax.Array, at: Place, band) -> jax.Array:
        """[n, s, D] of [N, P, B*K, s, D]."""
        sizes = (1, 1, self.heads, *x.shape[3:])
        return jax.lax.dynamic_slice(x, self._start(at, band), sizes)[0, 0]

    def _start(self, at: Place, band):
        return (at.n, band, at.b * self.key_heads + at.head, 0, 0)

    def _product(self, x: Operands, q, tiles: Tiles, at: Place, band) -> jax.Array:
        q = jax.lax.dynamic_index_in_dim(q, band, 0, keepdims=False)
        k = self._keys(x.k, at, band)
        if x.logic.amplitude is not None:
            return self._amplified(x.logic, q, k, tiles, at)
        if self.by_key:
            return dot("hkd,hqd->hkq", k, q)
        return dot("hqd,hkd->hqk", q, k)

    def _amplified(self, logic, q, k, tiles: Tiles, at: Place) -> jax.Array:
        given = logic.amplitude, logic.layout, q, k, tiles, at
        return amplified.product(*given, self.by_key)

    def _pull(self, x: Operands, q, slopes, ds, tiles: Tiles, at: Place, band):
        q_slope, k_slope, logic = slopes
        q = jax.lax.dynamic_index_in_dim(q, band, 0, keepdims=False)
        k = self._keys(x.k, at, band)
        if x.logic.amplitude is None:
            dq, dk = dot("hkq,hkd->hdq", ds, k), dot("hkq,hqd->hkd", ds, q)
        else:
            _, pull = jax.vjp(
                lambda q, k: self._amplified(x.logic, q, k, tiles, at), q, k
            )
            dq, dk = pull(ds)
            dq = dq.swapaxes(1, 2)
        dk = dk + self._keys(k_slope, at, band)
        k_slope = jax.lax.dynamic_update_slice(
            k_slope, dk[None, None], self._start(at, band)
        )
        dq = dq + jax.lax.dynamic_index_in_dim(q_slope, band, 0, keepdims=False)
        q_slope = jax.lax.dynamic_update_index_in_dim(q_slope, dq, band, 0)
        return q_slope, k_slope, logic

    def _where(self, tiles: Tiles, at: Place, band, chosen, other) -> jax.Array:
        """chosen where the band shows the key to the query, else other."""
        visible = inside(tiles, at, band, self.by_key)
        if self.by_key:
            shape = (len(chosen), visible.shape[0], self.group, visible.shape[1])
            visible = visible[None, :, None]
        else:
            shape = (len(chosen), self.group, *visible.shape)
            visible = visible[None, None]
        if isinstance(other, jax.Array):
            other = other.reshape(shape)
        result = jnp.where(visible, chosen.reshape(shape), other)
        return result.reshape(chosen.shape)

    def _bias(self, bias, tiles: Tiles, at: Place) -> jax.Array:
        queries, keys = tiles.queries_RMt[at.m], tiles.keys_RNs[at.n]
        if self.by_key:
            values_Hst = bias(queries[None, None], keys[None, :, None])[0]
            values = values_Hst.reshape(self.key_heads, -1, *values_Hst.shape[1:])
            values = values.swapaxes(1, 2).reshape(self.key_heads, len(keys), -1)
        else:
            values_Hts = bias(queries[None, :, None], keys[None, None])[0]
            values = values_Hts.reshape(self.key_heads, -1, len(keys))
        return jax.lax.dynamic_slice_in_dim(values, at.head, self.heads)


@dataclasses.dataclass(frozen=True)
class CallableScores:
    """Scores of any callable with the signature of a logic, all heads at once."""

    function: Callable[..., jax.Array]
    group: int
    key_heads: int
    by_key: bool = False

    @property
    def heads(self) -> int:
        """All key heads."""
        return self.key_heads

    def queries(self, logic, q_HtD: jax.Array, tiles: Tiles, at: Place) -> jax.Array:
        """float32[1, K, G*t, D]."""
        return q_HtD.astype(jnp.float32).reshape(1, self.heads, -1, q_HtD.shape[-1])

    def scores(self, x: Operands, q, tiles: Tiles, at: Place, run: int) -> jax.Array:
        """[K, G*t, s] of a tile, by key [K, s, G*t]; run 0: nothing is hidden in it."""
        s = self._scores(q, self._keys(x.k, at), x.logic, tiles, at, run)
        return s.swapaxes(1, 2) if self.by_key else s

    def backward(self, x: Operands, q, slopes, ds, tiles: Tiles, at: Place, run: int):
        """As that of `BandScores`."""
        q_slope, k_slope, logic = slopes
        _, pull = jax.vjp(
            lambda q, k, logic: self._scores(q, k, logic, tiles, at, run),
            q,
            self._keys(x.k, at),
            x.logic,
        )
        dq, dk, more = pull(ds.swapaxes(1, 2))
        start = (at.n, 0, at.b * self.heads, 0, 0)
        dk = dk + self._keys(k_slope, at)
        k_slope = jax.lax.dynamic_update_slice(k_slope, dk[None], start)
        return q_slope + dq.swapaxes(2, 3), k_slope, jax.tree.map(jnp.add, logic, more)

    def _keys(self, x: jax.Array, at: Place) -> jax.Array:
        """[1, K, s, D] of [N, 1, B*K, s, D]."""
        return jax.lax.dynamic_slice_in_dim(x[at.n], at.b * self.heads, self.heads, 1)

    def _scores(self, q, k, learned, tiles: Tiles, at: Place, run) -> jax.Array:
        keys, dim = k.shape[2:]
        q_BTHD = q.reshape(1, self.heads * self.group, -1, dim).transpose(0, 2, 1, 3)
        k_BSKD = k.reshape(1, self.heads, keys, dim).transpose(0, 2, 1, 3)
        positions = tiles.queries_RMt[at.m][None], tiles.keys_RNs[at.n][None]
        s = self.function(q_BTHD, k_BSKD, *positions, *learned)
        if s.shape != (1, *q_BTHD.shape[2:0:-1], keys):
            raise ValueError(
                f"the position logic returned logits of shape {s.shape} for queries "
                f"{q_BTHD.shape} and keys {k_BSKD.shape}; expected [batch, heads, "
                "queries, keys]"
            )
        if run > 0:
            s = jnp.where(inside(tiles, at, 0)[None, None], s, -jnp.inf)
        return s.astype(jnp.float32).reshape(self.heads, -1, keys)


def turn_heads(
    x_HtD, angles: list[jax.Array], layout: str, factor=None, decay=None
) -> jax.Array:
    """float32[P, H, t, D]: heads turned by each of the angles [t, planes].

    factor: [t, 1], of every dimension; decay: [t, planes], of each plane.

    A loop over the heads: fusion on a CPU would compute the sines anew for each.
    """
    tables = [rotary.cos_sin(angle) for angle in angles]
    if decay is not None:
        tables = [(cos * decay, sin * decay) for cos, sin in tables]

    def turn(x_tD):
        bands = [
            rotary.turn(x_tD.astype(jnp.float32), *table, layout) for table in tables
        ]
        return jnp.stack(bands if factor is None else [b * factor for b in bands])

    return jax.lax.map(turn, x_HtD).swapaxes(0, 1)


def inside(tiles: Tiles, at: Place, band, by_key: bool = False) -> jax.Array:
    """bool[t, s], by key bool[s, t]: who sees whom in one tile and band."""

    def queries(x_t):
        return x_t[None] if by_key else x_t[:, None]

    def keys(x_s):
        return x_s[:, None] if by_key else x_s[None]

    marks = keys(tiles.marks_RNs[at.n])
    visible = marks >= queries(tiles.first_RPMt[band, at.m])
    visible &= marks <= queries(tiles.last_RPMt[band, at.m])
    if tiles.segments is not None:
        visible &= queries(tiles.segments[0][at.m]) == keys(tiles.segments[1][at.n])
    return visible
