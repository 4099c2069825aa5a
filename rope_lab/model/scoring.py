"""Losses of given targets, without the logits of a whole long text in memory.

Legend: B batch, T positions, C positions of a chunk, E width, V vocabulary.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from rope_lab.model.decoder import Decoder, model_and_logic

# Logits that are alive at once, B * C * V: 64 MiB in float32.
LOGIT_ENTRIES = 2**24


def target_scores(
    graphdef: nnx.GraphDef,
    params: nnx.State,
    inputs_BT: jax.Array,
    targets_BT: jax.Array,
    logic: Any,
    positions: jax.Array | None = None,
    wanted_BT: jax.Array | None = None,
    logit_entries: int = LOGIT_ENTRIES,
) -> tuple[jax.Array, jax.Array]:
    """Loss of each target in nats, float32[B, T], and whether it was the most likely.

    The vocabulary is scored for a chunk of positions at a time, so memory does not grow
    with T * V. A chunk in which nothing is wanted is skipped; its losses are 0.

    Args:
      graphdef, params: from `init_model`.
      inputs_BT, targets_BT: int32; target t stands behind input t.
      logic: for all layers, or a sequence with one per layer.
      positions: int32 [B, T] or [T]; default 0 .. T-1.
      wanted_BT: bool, the targets that matter; default all.
      logit_entries: B * C * V to stay within, where C can be 1 at least.
    """
    model, logic = model_and_logic(graphdef, params, logic)
    x_BTE = model.states(inputs_BT, logic, positions)
    batch, length = targets_BT.shape
    if wanted_BT is None:
        wanted_BT = jnp.ones((batch, length), bool)
    size = max(1, logit_entries // (batch * model.config.vocab_size))
    if size >= length:
        return _scored(model, x_BTE, targets_BT, wanted_BT)
    chunks = tuple(_chunks(x, size) for x in (x_BTE, targets_BT, wanted_BT))

    def chunk(parts):
        x_BCE, targets_BC, wanted_BC = parts
        nothing = jnp.zeros(targets_BC.shape)
        return jax.lax.cond(
            wanted_BC.any(),
            lambda: _scored(model, x_BCE, targets_BC, wanted_BC),
            lambda: (nothing, nothing.astype(bool)),
        )

    found = jax.lax.map(chunk, chunks)
    loss_BT, hit_BT = (_joined(x, length) for x in found)
    return loss_BT, hit_BT


def _scored(model: Decoder, x_BCE, targets_BC, wanted_BC):
    logits_BCV = model.scores(x_BCE)
    total_BC = jax.nn.logsumexp(logits_BCV, axis=-1)
    target_BC = jnp.take_along_axis(logits_BCV, targets_BC[..., None], axis=-1)[..., 0]
    hit_BC = jnp.argmax(logits_BCV, axis=-1) == targets_BC
    return jnp.where(wanted_BC, total_BC - target_BC, 0.0), hit_BC & wanted_BC


def _chunks(x_BT: jax.Array, size: int) -> jax.Array:
    """[B, T, ...] to [chunks, B, C, ...], the last chunk filled up with zeros."""
    batch, length = x_BT.shape[:2]
    count = -(-length // size)
    padding = [(0, 0)] * x_BT.ndim
    padding[1] = (0, count * size - length)
    padded = jnp.pad(x_BT, padding).reshape(batch, count, size, *x_BT.shape[2:])
    return jnp.moveaxis(padded, 1, 0)


def _joined(x_NBC: jax.Array, length: int) -> jax.Array:
    """The inverse of `_chunks`."""
    return jnp.moveaxis(x_NBC, 0, 1).reshape(x_NBC.shape[1], -1)[:, :length]
