"""KERPLE: kernels of the distance with two learned numbers a head (arXiv 2205.09921).

Legend: B batch, T queries, S keys, H query heads.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from rope_lab.logic.learned import (
    Leaf,
    LearnedBias,
    by_head,
    distance,
    first_draw,
    pytree,
)
from rope_lab.logic.options import require_whole
from rope_lab.logic.setting import Setting


@pytree
class KerpleLog(LearnedBias):
    """-p_h ln(1 + a_h (i - j)): the logarithmic kernel.

    Attributes:
      a_H: per token; p_H: nats. Both count as 0.01 where they are less.
    """

    a_H: Leaf
    p_H: Leaf

    @property
    def num_heads(self) -> int:
        """H."""
        return self.a_H.shape[-1]

    def fresh(self, key: jax.Array) -> KerpleLog:
        """a uniform in (0, 1), p in (0, 2)."""
        return KerpleLog(*_uniform_pair(key, self.num_heads))

    def __call__(self, queries: jax.Array, keys: jax.Array) -> jax.Array:
        """float32[B, H, T, S]."""
        distance_BTS = distance(queries, keys).astype(jnp.float32)
        a_1H11, p_1H11 = by_head(_bounded(self.a_H)), by_head(_bounded(self.p_H))
        return -p_1H11 * jnp.log1p(a_1H11 * distance_BTS[:, None])


@pytree
class KerplePower(LearnedBias):
    """-a_h (i - j)**p_h: the power kernel.

    Attributes:
      a_H: nats, counts as 0.01 where it is less; p_H: within 0.01 and 2.
    """

    a_H: Leaf
    p_H: Leaf

    @property
    def num_heads(self) -> int:
        """H."""
        return self.a_H.shape[-1]

    def fresh(self, key: jax.Array) -> KerplePower:
        """a uniform in (0, 1), p in (0, 2)."""
        return KerplePower(*_uniform_pair(key, self.num_heads))

    def __call__(self, queries: jax.Array, keys: jax.Array) -> jax.Array:
        """float32[B, H, T, S]."""
        distance_B1TS = distance(queries, keys)[:, None]
        a_1H11, p_1H11 = by_head(_bounded(self.a_H)), by_head(_bounded(self.p_H, 2))
        # The logarithm of 0 would give p a slope that is no number.
        log_B1TS = jnp.log(jnp.maximum(distance_B1TS, 1).astype(jnp.float32))
        return -a_1H11 * jnp.where(distance_B1TS > 0, jnp.exp(p_1H11 * log_B1TS), 0.0)


def kerple_log(setting: Setting, *, num_heads):
    """-p ln(1 + a (i - j)), a and p of each head (arXiv 2205.09921)."""
    zeros = np.zeros(require_whole(setting.name, "num_heads", num_heads), np.float32)
    return first_draw(KerpleLog(zeros, zeros))


def kerple_power(setting: Setting, *, num_heads):
    """-a (i - j)**p, a and p of each head (arXiv 2205.09921)."""
    zeros = np.zeros(require_whole(setting.name, "num_heads", num_heads), np.float32)
    return first_draw(KerplePower(zeros, zeros))


def _uniform_pair(key: jax.Array, heads: int) -> tuple[jax.Array, jax.Array]:
    of_a, of_p = jax.random.split(key)
    a_H = jax.random.uniform(of_a, (heads,))
    return a_H, jax.random.uniform(of_p, (heads,), maxval=2.0)


def _bounded(x: Leaf, most: float | None = None) -> jax.Array:
    """x within 0.01 and `most`, with the slope of x also beyond.

    The authors clamp the stored numbers before each pass, so a number at its bound
    still has a slope; a clip of the value alone would leave it there for good.
    """
    x = jnp.asarray(x)
    return x + jax.lax.stop_gradient(jnp.clip(x, 0.01, most) - x)
