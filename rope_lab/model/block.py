"""One Llama-style layer: attention under a position logic, then a gated feed-forward.

Legend: B batch, T tokens, E width, H heads, K key/value heads, D head dim, F ff width.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from flax import nnx

from rope_lab.attention import attend
from rope_lab.attention.cache import Cache, extend
from rope_lab.model.config import ModelConfig
from rope_lab.model.products import linear_product


class Block(nnx.Module):
    """x + attention(norm(x)), then x + feed_forward(norm(x)) (pre-norm, as Llama)."""

    def __init__(self, config: ModelConfig, *, rngs: nnx.Rngs):
        self.attention_norm = _norm(config.width, config, rngs)
        self.attention = Attention(config, rngs=rngs)
        self.feed_forward_norm = _norm(config.width, config, rngs)
        self.feed_forward = FeedForward(config, rngs=rngs)

    def __call__(self, x_BTE: jax.Array, logic, positions, segment_ids) -> jax.Array:
        """[B, T, E] to [B, T, E]; positions and segment_ids as `attend` takes them."""
        x_BTE = x_BTE + self.attention(
            self.attention_norm(x_BTE), logic, positions, segment_ids
        )
        return x_BTE + self.feed_forward(self.feed_forward_norm(x_BTE))

    def extend(
        self, x_BTE: jax.Array, logic, cache: Cache, counts, fresh: bool
    ) -> tuple[jax.Array, Cache]:
        """The same for tokens behind those in the cache; see `cache.extend`."""
        mixed_BTE, cache = self.attention.extend(
            self.attention_norm(x_BTE), logic, cache, counts, fresh
        )
        x_BTE = x_BTE + mixed_BTE
        return x_BTE + self.feed_forward(self.feed_forward_norm(x_BTE)), cache


class Attention(nnx.Module):
    """Grouped-query attention whose logits a position logic gives."""

    def __init__(self, config: ModelConfig, *, rngs: nnx.Rngs):
        self.config = config
        queries = config.num_heads * config.head_dim
        keys = config.num_kv_heads * config.head_dim
        self.query = _linear(config.width, queries, config, rngs)
        self.key = _linear(config.width, keys, config, rngs)
        self.value = _linear(config.width, keys, config, rngs)
        self.out = _linear(queries, config.width, config, rngs, residual=True)
        if config.qk_norm:
            self.query_norm = _norm(config.head_dim, config, rngs)
            self.key_norm = _norm(config.head_dim, config, rngs)

    def __call__(self, x_BTE: jax.Array, logic, positions, segment_ids) -> jax.Array:
        """[B, T, E] to [B, T, E]."""
        o_BTHD = attend(
            *self._heads(x_BTE),
            logic,
            query_positions=positions,
            key_positions=positions,
            segment_ids=segment_ids,
        )
        return self.out(o_BTHD.reshape(*x_BTE.shape[:2], -1))

    def extend(
        self, x_BTE: jax.Array, logic, cache: Cache, counts, fresh: bool
    ) -> tuple[jax.Array, Cache]:
        """The same for tokens behind those in the cache."""
        o_BTHD, cache = extend(
            cache, logic, *self._heads(x_BTE), counts=counts, fresh=fresh
        )
        return self.out(o_BTHD.reshape(*x_BTE.shape[:2], -1)), cache

    def _heads(self, x_BTE: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Queries [B, T, H, D], keys and values [B, T, K, D], not rotated."""
        heads = (*x_BTE.shape[:2], -1, self.config.head_dim)
        q_BTHD = self.query(x_BTE).reshape(heads)
        k_BTKD = self.key(x_BTE).reshape(heads)
        v_BTKD = self.value(x_BTE).reshape(heads)
        if self.config.qk_norm:
            q_BTHD, k_BTKD = self.query_norm(q_BTHD), self.key_norm(k_BTKD)
        return q_BTHD, k_BTKD, v_BTKD


class FeedForward(nnx.Module):
    """SwiGLU: (silu(x gate) * (x up)) down."""

    def __init__(self, config: ModelConfig, *, rngs: nnx.Rngs):
        self.gate = _linear(config.width, config.ff_width, config, rngs)
        self.up = _linear(config.width, config.ff_width, config, rngs)
        self.down = _linear(config.ff_width, config.width, config, rngs, residual=True)

    def __call__(self, x_BTE: jax.Array) -> jax.Array:
        """[B, T, E] to [B, T, E]."""
        return self.down(nnx.silu(self.gate(x_BTE)) * self.up(x_BTE))


def _norm(size: int, config: ModelConfig, rngs: nnx.Rngs) -> nnx.RMSNorm:
    return nnx.RMSNorm(
        size,
        epsilon=config.norm_epsilon,
        dtype=config.compute_dtype,
        param_dtype=jnp.float32,
        rngs=rngs,
    )


def _linear(
    fan_in: int,
    fan_out: int,
    config: ModelConfig,
    rngs: nnx.Rngs,
    residual: bool = False,
) -> nnx.Linear:
    """normal(1/sqrt(fan_in)); projections onto the residual stream 1/sqrt(2L) of it."""
    scale = 1.0 / math.sqrt(fan_in)
    if residual:
        scale /= math.sqrt(2 * config.num_layers)
    return nnx.Linear(
        fan_in,
        fan_out,
        use_bias=config.biases,
        kernel_init=nnx.initializers.normal(scale),
        dtype=config.compute_dtype,
        param_dtype=jnp.float32,
        dot_general=linear_product,
        rngs=rngs,
    )
