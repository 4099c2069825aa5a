"""One Llama-style layer: attention under a position logic, then a gated feed-forward.

Legend: B batch, T tokens, E width, H heads, K key/value heads, D head dim, F ff width.
"""

from __future__ import annotations

import jax
from flax import nnx

from rope_lab.attention.cache import Cache, extend
from rope_lab.model.config import ModelConfig
from rope_lab.model.parts import linear, make_qk_norms, norm
from rope_lab.model.sharding import attend_on_mesh


class Block(nnx.Module):
    """x + attention(norm(x)), then x + feed_forward(norm(x)) (pre-norm, as Llama)."""

    def __init__(self, config: ModelConfig, *, rngs: nnx.Rngs):
        self.attention_norm = norm(config.width, config, rngs)
        self.attention = Attention(config, rngs=rngs)
        self.feed_forward_norm = norm(config.width, config, rngs)
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
        inward = {"biases": config.has_bias("qkv")}
        self.query = linear(config.width, queries, config, rngs, **inward)
        self.key = linear(config.width, keys, config, rngs, **inward)
        self.value = linear(config.width, keys, config, rngs, **inward)
        outward = {"biases": config.has_bias("out"), "residual": True}
        self.out = linear(queries, config.width, config, rngs, **outward)
        self.query_norm, self.key_norm = make_qk_norms(config, rngs)

    def __call__(self, x_BTE: jax.Array, logic, positions, segment_ids) -> jax.Array:
        """[B, T, E] to [B, T, E]."""
        heads, exchange = self._heads(x_BTE), self.config.context_exchange
        o_BTHD = attend_on_mesh(*heads, logic, positions, segment_ids, exchange)
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
        return self.query_norm(q_BTHD), self.key_norm(k_BTKD), v_BTKD


class FeedForward(nnx.Module):
    """SwiGLU: (silu(x gate) * (x up)) down."""

    def __init__(self, config: ModelConfig, *, rngs: nnx.Rngs):
        width, ff_width = config.width, config.ff_width
        own = {"biases": config.has_bias("feed_forward")}
        self.gate = linear(width, ff_width, config, rngs, **own)
        self.up = linear(width, ff_width, config, rngs, **own)
        self.down = linear(ff_width, width, config, rngs, **own, residual=True)

    def __call__(self, x_BTE: jax.Array) -> jax.Array:
        """[B, T, E] to [B, T, E]."""
        return self.down(nnx.silu(self.gate(x_BTE)) * self.up(x_BTE))
