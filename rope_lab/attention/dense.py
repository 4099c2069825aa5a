"""Attention by its definition: every logit in memory, float32, obviously right."""

from __future__ import annotations

import jax
import jax.numpy as jnp


def dense(
    q_BTHD: jax.Array,
    k_BSKD: jax.Array,
    v_BSKC: jax.Array,
    logic,
    query_positions: jax.Array,
    key_positions: jax.Array,
    visible_BTS: jax.Array,
) -> jax.Array:
    """softmax(logic(q, k)) v over visible keys: [B, T, H, C], like q.

    visible_BTS: bool, [B or 1, T, S]: causality and segments; the logic hides further
    keys with -inf. A row without any key gives 0, and gradient 0. O(T * S) memory.
    """
    logits_BHTS = logic(q_BTHD, k_BSKD, query_positions, key_positions)
    expected = (q_BTHD.shape[0], q_BTHD.shape[2], q_BTHD.shape[1], k_BSKD.shape[1])
    if logits_BHTS.shape != expected:
        raise ValueError(
            f"the position logic returned logits of shape {logits_BHTS.shape}; "
            f"expected [batch, heads, queries, keys] = {expected}"
        )
    logits_BHTS = logits_BHTS.astype(jnp.float32)
    logits_BHTS = jnp.where(visible_BTS[:, None], logits_BHTS, -jnp.inf)
    largest = jax.lax.stop_gradient(logits_BHTS.max(axis=-1, keepdims=True))
    weights_BHTS = jnp.exp(logits_BHTS - jnp.where(largest > -jnp.inf, largest, 0.0))
    total_BHT = weights_BHTS.sum(axis=-1)
    batch, heads, queries, keys = weights_BHTS.shape
    key_heads = v_BSKC.shape[2]
    out_BTKGC = jnp.einsum(
        "BKGTS,BSKC->BTKGC",
        weights_BHTS.reshape(batch, key_heads, heads // key_heads, queries, keys),
        v_BSKC.astype(jnp.float32),
        precision=jax.lax.Precision.HIGHEST,
    )
    out_BTHC = out_BTKGC.reshape(batch, queries, heads, v_BSKC.shape[-1])
    total_BTH1 = total_BHT.transpose(0, 2, 1)[..., None]
    return (out_BTHC / jnp.where(total_BTH1 > 0, total_BTH1, 1.0)).astype(q_BTHD.dtype)
