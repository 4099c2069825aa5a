"""Additive biases: what an encoding adds to a logit that no rotation can express.

A class is a bias as a logic holds it; a function that takes a `Setting` is what a row
of the catalogue points to, and returns one. Those that are learned are in `kerple`,
`t5` and `fire`.

Legend: B batch, T queries, S keys, H query heads.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Protocol, cast

import jax
import jax.numpy as jnp
import numpy as np

from rope_lab.logic.options import require_whole
from rope_lab.logic.setting import Setting


class Bias(Protocol):
    """A pytree of float32 leaves that is called with positions; pointwise in them."""

    @property
    def num_heads(self) -> int:
        """H, the query heads it has values for."""

    def __call__(self, queries: jax.Array, keys: jax.Array) -> jax.Array:
        """float32[B, H, T, S] for int32 positions [B, T, 1] and [B, 1, S].

        By broadcasting: [B, 1, T] and [B, S, 1] give [B, H, S, T].
        """


def split_by_head(bias: Bias) -> Bias:
    """The same bias with a bool for each leaf: whether its last axis is the heads'.

    The suffix of its name says so. A device that has some of the heads needs only their
    part of such a leaf, and all of every other.
    """
    fields = dataclasses.fields(cast(Any, bias))
    leaves = [f.name for f in fields if not f.metadata.get("static")]
    return dataclasses.replace(
        cast(Any, bias), **{name: _is_by_head(name) for name in leaves}
    )


def _is_by_head(name: str) -> bool:
    return name.rpartition("_")[2].endswith("H")


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class LinearBias:
    """-slope_h * (i - j): ALiBi (arXiv 2108.12409).

    Attributes:
      slopes_H: float32[H], nats per token; leaves, so they may be traced.
    """

    slopes_H: jax.Array | np.ndarray

    @property
    def num_heads(self) -> int:
        """H."""
        return self.slopes_H.shape[-1]

    def __call__(self, queries: jax.Array, keys: jax.Array) -> jax.Array:
        """float32[B, H, T, S]; the distance is subtracted as integers, so exact."""
        distance_BTS = (queries - keys).astype(jnp.float32)
        slopes_1H11 = jnp.asarray(self.slopes_H)[None, :, None, None]
        return -slopes_1H11 * distance_BTS[:, None]


def alibi_slopes(num_heads: int) -> np.ndarray:
    """float32[H], ALiBi's slopes: 2**(-8h/H), h = 1..H, for H a power of two.

    Otherwise the slopes of the next lower power of two, then every second slope of the
    next higher one (2108.12409, the authors' code).
    """
    below = 2 ** math.floor(math.log2(num_heads))
    slopes = 2.0 ** (-8.0 * np.arange(1, below + 1) / below)
    between = 2.0 ** (-8.0 * np.arange(1, 2 * below + 1, 2) / (2 * below))
    return np.concatenate([slopes, between])[:num_heads].astype(np.float32)


def alibi(setting: Setting, *, num_heads):
    """-slope_h (i - j), the slopes of `alibi_slopes` (arXiv 2108.12409)."""
    return LinearBias(alibi_slopes(require_whole(setting.name, "num_heads", num_heads)))
