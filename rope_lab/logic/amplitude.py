"""xPos: what a plane adds to a logit decays with the distance (arXiv 2212.10554).

    amplitude_p(i, j) = zeta_p ** ((i - j) / scale_base),  zeta_p = (2p/d + 0.4) / 1.4

As a factor of a query times a factor of a key it needs a centre c near both, as in
zeta ** (i - c) * zeta ** (c - j): with one centre for all, float32 ends at 36,000
tokens. So there are two forms: `amplified_products` takes the difference of every pair
and needs no centre; the fast paths use `apply` where a centre is near.

Legend: B batch, T queries, S keys, H query heads, K key heads, D head dim, P planes.
"""

from __future__ import annotations

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np

from rope_lab import rotary
from rope_lab.rotary.rotate import Layout

_FARTHEST = 2**29  # tokens; sums and differences of a few of them are int32


@dataclasses.dataclass(frozen=True)
class Amplitude:
    """The decay of each plane. Static: it is compiled in.

    Attributes:
      planes: P = d/2.
      scale_base: tokens in which plane p decays by zeta_p.
    """

    planes: int
    scale_base: float

    @property
    def rates_P(self) -> np.ndarray:
        """float32[P], nats per token of distance; below 0."""
        zeta_P = (np.arange(self.planes) / self.planes + 0.4) / 1.4
        return (np.log(zeta_P) / self.scale_base).astype(np.float32)

    @property
    def near(self) -> int:
        """Tokens from a centre within which factors stay between e^-10 and e^10."""
        return min(max(1, math.floor(8 * self.scale_base)), _FARTHEST)

    @property
    def block(self) -> int:
        """Tokens of neighbouring keys that a cache stores relative to one centre."""
        return min(max(1, math.floor(2 * self.scale_base)), _FARTHEST)

    def centre(self, key_positions: jax.Array) -> jax.Array:
        """int32[...]: the middle of the block that a key is in."""
        return key_positions // self.block * self.block + self.block // 2

    def factors(self, tokens: jax.Array) -> jax.Array:
        """float32[..., P]: zeta_p ** (tokens / scale_base) for int32[...] tokens."""
        rates = self.rates_P.reshape(*(1,) * tokens.ndim, -1)
        return jnp.exp(tokens.astype(jnp.float32)[..., None] * rates)

    def apply(self, x: jax.Array, tokens: jax.Array, layout: Layout) -> jax.Array:
        """x [..., D] with each plane times its factor; tokens int32 of x's rank - 1."""
        factors = self.factors(tokens)
        return rotary.turn(x, factors, jnp.zeros_like(factors), layout)


def amplified_products(
    amplitude: Amplitude,
    q_BTHD: jax.Array,
    k_BSKD: jax.Array,
    tokens_BTS: jax.Array,
    layout: str,
) -> jax.Array:
    """Sum over planes of zeta_p ** (tokens / scale_base) q_p . k_p: [B, H, T, S].

    q and k are rotated, the result is float32; tokens int32[1 or B, T, S] is i - j. By
    plane, so exact for any positions, and no array exceeds the result. O(T * S * P).
    """
    shape = (q_BTHD.shape[0], q_BTHD.shape[2], q_BTHD.shape[1], k_BSKD.shape[1])
    distance_BTS = tokens_BTS.astype(jnp.float32)

    @jax.checkpoint
    def plane(q_BTHx, k_BSKx, rate):
        products = grouped_products(q_BTHx, k_BSKx)
        return products * jnp.exp(rate * distance_BTS)[:, None]

    def add(total, given):
        return total + plane(*given), None

    given = (
        _by_plane(q_BTHD, layout),
        _by_plane(k_BSKD, layout),
        jnp.asarray(amplitude.rates_P),
    )
    # Like q in what devices it differs on, too.
    start = jax.lax.full_like(q_BTHD, 0, jnp.float32, shape=shape)
    return jax.lax.scan(add, start, given)[0]


def _by_plane(x_BTHD: jax.Array, layout: str) -> jax.Array:
    """[P, B, T, H, 2]"""
    if layout == "half":
        pairs = x_BTHD.reshape(*x_BTHD.shape[:-1], 2, -1)
        return jnp.moveaxis(pairs, -1, 0)
    pairs = x_BTHD.reshape(*x_BTHD.shape[:-1], -1, 2)
    return jnp.moveaxis(pairs, -2, 0)


def grouped_products(q_BTHD: jax.Array, k_BSKD: jax.Array) -> jax.Array:
    """q . k for every query head and its key head: float32[B, H, T, S]."""
    batch, queries, heads, head_dim = q_BTHD.shape
    key_heads = k_BSKD.shape[2]
    q_BTKGD = q_BTHD.reshape(batch, queries, key_heads, heads // key_heads, head_dim)
    products = jnp.einsum(
        "BTKGD,BSKD->BKGTS",
        q_BTKGD,
        k_BSKD,
        precision=jax.lax.Precision.HIGHEST,
        preferred_element_type=jnp.float32,
    )
    return products.reshape(batch, heads, queries, k_BSKD.shape[1])
