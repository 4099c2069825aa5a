"""The one place that decides what multiplies a logit."""

from __future__ import annotations

import dataclasses
import math

import jax
import jax.numpy as jnp


@dataclasses.dataclass(frozen=True)
class Temperature:
    """softmax scale * log n factor of the query; the frequencies' scale comes on top.

    Attributes:
      softmax_scale: None is 1/sqrt(head_dim).
      log_n: "off"; "train", the factor log(n)/log(L) in training and test alike
        (kexue.fm 8823); "test", max(1, that), for models trained without it (the
        dagger of kexue.fm 9708). n = position + 1, the number of keys up to the
        query, those that a sliding window hides included.
      train_length: L, tokens; None with log_n "off".
      log_n_minimum: n is at least this (bert4keras: 16).
    """

    softmax_scale: float | None = None
    log_n: str = "off"
    train_length: int | None = None
    log_n_minimum: int = 1

    def __call__(self, head_dim: int, query_positions: jax.Array) -> jax.Array:
        """float32, shaped like query_positions (int32, tokens)."""
        scale = self.softmax_scale
        if scale is None:
            scale = 1.0 / math.sqrt(head_dim)
        if self.log_n == "off":
            return jnp.full(query_positions.shape, scale, jnp.float32)
        visible = jnp.maximum(query_positions + 1, max(self.log_n_minimum, 1))
        factor = jnp.log(visible.astype(jnp.float32)) / math.log(self.train_length)
        return scale * (jnp.maximum(factor, 1.0) if self.log_n == "test" else factor)
