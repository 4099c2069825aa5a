"""T5's bias: a learned number for each bucket of distances (arXiv 1910.10683).

Legend: B batch, T queries, S keys, H query heads, N buckets.
"""

from __future__ import annotations

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np

from rope_lab.logic.learned import (
    Leaf,
    LearnedBias,
    distance,
    first_draw,
    pytree,
    static,
)
from rope_lab.logic.options import require_whole
from rope_lab.logic.setting import Setting


@pytree
class T5Bias(LearnedBias):
    """One number for each bucket of distances and head (arXiv 1910.10683, sec. 2.1).

    Half of the N buckets hold one distance each, 0 .. N/2-1; in the others distance
    grows by a constant factor, up to max_distance, from which on the last one holds.

    Attributes:
      table_NH: nats.
      max_distance: tokens.
      deviation: of the normal law that the table starts from.
    """

    one_for_all_layers = True

    table_NH: Leaf
    max_distance: int = static()
    deviation: float = static()

    @property
    def num_heads(self) -> int:
        """H."""
        return self.table_NH.shape[-1]

    def fresh(self, key: jax.Array) -> T5Bias:
        """Normal, with the deviation that it was built with."""
        table_NH = self.deviation * jax.random.normal(key, self.table_NH.shape)
        return dataclasses.replace(self, table_NH=table_NH)

    def __call__(self, queries: jax.Array, keys: jax.Array) -> jax.Array:
        """float32[B, H, T, S]."""
        buckets = t5_buckets(self.table_NH.shape[-2], self.max_distance)
        # First by distance, of which there are few: the gradient of the second look-up,
        # over all pairs, then goes to more places than there are buckets.
        by_distance = jnp.asarray(self.table_NH)[buckets]
        distance_BTS = jnp.minimum(distance(queries, keys), self.max_distance)
        return jnp.moveaxis(by_distance[distance_BTS], -1, 1)


@functools.cache
def t5_buckets(count: int, max_distance: int) -> np.ndarray:
    """int32[max_distance + 1]: the bucket of each distance, of a causal T5.

    Distance d >= e = count/2 lies in bucket e + floor(e ln(d/e) / ln(max_distance/e)).
    In integers, because a logarithm in float32 misses where the floor jumps.
    """
    exact = count // 2
    further = count - exact
    buckets = np.arange(max_distance + 1, dtype=np.int32)
    for d in range(exact, max_distance + 1):
        # The largest k with (d / exact)**further >= (max_distance / exact)**k.
        k = math.floor(further * math.log(d / exact) / math.log(max_distance / exact))
        while d**further * exact**k < exact**further * max_distance**k:
            k -= 1
        while d**further * exact ** (k + 1) >= exact**further * max_distance ** (k + 1):
            k += 1
        buckets[d] = exact + min(k, further - 1)
    return buckets


def t5(setting: Setting, *, num_heads, num_buckets=32, max_distance=128):
    """T5 itself leaves q . k unscaled: softmax_scale=1.0 (the default is as for all).

    Its table starts normal with deviation 1/sqrt(width), and its width is H * D.
    """
    heads = require_whole(setting.name, "num_heads", num_heads)
    count = require_whole(setting.name, "num_buckets", num_buckets)
    farthest = require_whole(setting.name, "max_distance", max_distance)
    if count < 2 or farthest <= count // 2:
        raise ValueError(
            f"{setting.name}: num_buckets {count} must be at least 2, and max_distance "
            f"{farthest} tokens beyond half of them, which hold one distance each"
        )
    zeros = np.zeros((count, heads), np.float32)
    return first_draw(T5Bias(zeros, farthest, (heads * setting.head_dim) ** -0.5))
