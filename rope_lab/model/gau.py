"""The gated attention unit: attention and feed-forward as one gated layer.

    u, v, z = silu(x W)                 F, F and D wide
    x       = norm(x + (u * attention(z * gain_q, z * gain_k, v)) W_out)

One head, so queries, keys and rotation are D wide and values F, post-norm without
learned gains: Su's variant (kexue.fm 8934 and 9052, GAU-alpha) of arXiv 2202.10447,
with softmax in place of squared ReLU. Queries and keys have a gain each and neither
offset nor bias.

Legend: B batch, T tokens, E width, F ff width, D head dim.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx

from rope_lab.attention.cache import Cache, extend
from rope_lab.model.config import ModelConfig
from rope_lab.model.parts import linear, make_qk_norms, norm
from rope_lab.model.sharding import attend_on_mesh

Heads = tuple[jax.Array, jax.Array, jax.Array]


class GatedAttentionUnit(nnx.Module):
    """norm(x + unit(x)), the whole layer."""

    def __init__(self, config: ModelConfig, *, rngs: nnx.Rngs):
        self.config = config
        # u, v, z of one matrix, as published: its mean square is what Tiger reads.
        self.inputs = linear(
            config.width, 2 * config.ff_width + config.head_dim, config, rngs
        )
        self.query = Gain(config.head_dim)
        self.key = Gain(config.head_dim)
        self.query_norm, self.key_norm = make_qk_norms(config, rngs)
        self.out = linear(config.ff_width, config.width, config, rngs, residual=True)
        self.norm = norm(config.width, config, rngs, gains=False)

    def __call__(self, x_BTE: jax.Array, logic, positions, segment_ids) -> jax.Array:
        """[B, T, E] to [B, T, E]; positions and segment_ids as `attend` takes them."""
        u_BTF, heads = self._parts(x_BTE)
        exchange = self.config.context_exchange
        o_BT1F = attend_on_mesh(*heads, logic, positions, segment_ids, exchange)
        return self._gated(x_BTE, u_BTF, o_BT1F)

    def extend(
        self, x_BTE: jax.Array, logic, cache: Cache, counts, fresh: bool
    ) -> tuple[jax.Array, Cache]:
        """The same for tokens behind those in the cache; see `cache.extend`."""
        u_BTF, heads = self._parts(x_BTE)
        o_BT1F, cache = extend(cache, logic, *heads, counts=counts, fresh=fresh)
        return self._gated(x_BTE, u_BTF, o_BT1F), cache

    def _parts(self, x_BTE: jax.Array) -> tuple[jax.Array, Heads]:
        """Gates [B, T, F]; queries and keys [B, T, 1, D], values [B, T, 1, F]."""
        F = self.config.ff_width
        parts = jnp.split(nnx.silu(self.inputs(x_BTE)), (F, 2 * F), axis=-1)
        u_BTF, v_BT1F, z_BT1D = parts[0], parts[1][:, :, None], parts[2][:, :, None]
        q_BT1D = self.query_norm(self.query(z_BT1D))
        k_BT1D = self.key_norm(self.key(z_BT1D))
        return u_BTF, (q_BT1D, k_BT1D, v_BT1F)

    def _gated(self, x_BTE, u_BTF, o_BT1F) -> jax.Array:
        return self.norm(x_BTE + self.out(u_BTF * o_BT1F[:, :, 0]))


class Gain(nnx.Module):
    """A learned factor for each dimension, 1 at first."""

    def __init__(self, size: int):
        self.scale = nnx.Param(jnp.ones(size, jnp.float32))

    def __call__(self, x: jax.Array) -> jax.Array:
        """[..., size] to [..., size]."""
        scale = self.scale[...].astype(x.dtype)
        return x * scale.reshape(*(1,) * (x.ndim - 1), -1)
