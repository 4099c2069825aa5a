"""Norms and projections, which the blocks share.

Legend: E width, F ff width, H heads, K key/value heads, D head dim.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx

from rope_lab.model.config import ModelConfig
from rope_lab.model.products import linear_product

# A normal of this deviation, cut at twice as much, has a deviation of 1.
_UNIT_WHEN_CUT = 1.13684723


def norm(
    size: int, config: ModelConfig, rngs: nnx.Rngs, gains: bool = True
) -> nnx.RMSNorm:
    """RMSNorm of the last dimension, with or without learned gains."""
    return nnx.RMSNorm(
        size,
        epsilon=config.norm_epsilon,
        use_scale=gains,
        dtype=config.compute_dtype,
        param_dtype=jnp.float32,
        rngs=rngs,
    )


def make_qk_norms(config: ModelConfig, rngs: nnx.Rngs) -> tuple[Callable, ...]:
    """What `ModelConfig.qk_norm` does to [..., D] queries and keys, before rotation."""
    if config.qk_norm == "rms":
        return tuple(norm(config.head_dim, config, rngs) for _ in range(2))
    return tuple(
        unit_length if config.qk_norm in (of_one_kind, "cosine") else _unchanged
        for of_one_kind in ("queries", "keys")
    )


def unit_length(x: jax.Array) -> jax.Array:
    """x over its Euclidean length along the last dimension; 0 stays 0, slope finite."""
    square = jnp.sum(jnp.square(x.astype(jnp.float32)), axis=-1, keepdims=True)
    return (x * jax.lax.rsqrt(jnp.maximum(square, 1e-12))).astype(x.dtype)


def _unchanged(x: jax.Array) -> jax.Array:
    return x


def linear(
    fan_in: int,
    fan_out: int,
    config: ModelConfig,
    rngs: nnx.Rngs,
    biases: bool = False,
    residual: bool = False,
) -> nnx.Linear:
    """A projection with the initialisation of its block.

    Llama: normal(1/sqrt(fan_in)), and 1/sqrt(2L) of it onto the residual stream.
    """
    if config.block == "gau":
        kernel_init = gau_init(fan_in, config.num_layers)
    else:
        scale = 1.0 / math.sqrt(fan_in)
        kernel_init = nnx.initializers.normal(
            scale / math.sqrt(2 * config.num_layers) if residual else scale
        )
    return nnx.Linear(
        fan_in,
        fan_out,
        use_bias=biases,
        kernel_init=kernel_init,
        dtype=config.compute_dtype,
        param_dtype=jnp.float32,
        dot_general=linear_product,
        rngs=rngs,
    )


def embed_init(config: ModelConfig) -> nnx.Initializer:
    """Of the embedding, and of the vocabulary's matrix where that is another one."""
    if config.block == "gau":
        return gau_init(config.width, config.num_layers)
    return nnx.initializers.normal(config.width**-0.5)


def gau_init(fan: int, num_layers: int) -> nnx.Initializer:
    """Cut normal with a standard deviation of L**(-1/3) / sqrt(fan).

    GAU-alpha has it for every matrix (`initializer` of its models.py, order 3), for the
    embedding with the width as fan.
    """
    return nnx.initializers.truncated_normal(
        _UNIT_WHEN_CUT * num_layers ** (-1 / 3) / math.sqrt(fan)
    )
