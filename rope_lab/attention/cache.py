"""Cached decoding for every logic: keys are turned once, when they are written.

A band turns a key by an angle of the key's position alone, so a cache holds keys as
their band sees them, one store for each key rotation of the logic, and never turns one
again. A band that looks back at most w tokens (the near band of ReRoPE, Leaky ReRoPE
and Self-Extend, any sliding window) needs only a ring of w keys; `slots.make_plan`
finds that out from the bands' intervals. Values are kept once.

    cache = init_cache(logic, batch, capacity, key_heads, head_dim)
    o_BTHC, cache = extend(cache, logic, q_BTHD, k_BTKD, v_BTKC)   # any T, any time

Legend: B batch, T new tokens, H query heads, K key heads, G = H / K, N = B * K, D and C
head dims of keys and values, M slots, R rows of lengths (1 where all sequences are
equally long, else B).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp

from rope_lab.attention import attend
from rope_lab.attention.operands import turned_keys
from rope_lab.attention.slots import Cache, make_plan, put, to_bits
from rope_lab.attention.stored import many_tokens, one_token
from rope_lab.logic import PositionLogic

Logic = PositionLogic | Callable[..., jax.Array]


def init_cache(
    logic: Logic,
    batch: int,
    capacity: int,
    key_heads: int,
    head_dim: int,
    value_dim: int | None = None,
    dtype=jnp.float32,
    ragged: bool = False,
) -> Cache:
    """An empty cache for one layer under `logic`.

    Args:
      logic: PositionLogic, or any callable with its signature: then keys stay as they
        are, all of them, and the callable sees them at each step.
      capacity: tokens that a sequence may have in all. Not checked when writing, which
        is compiled: past it the oldest tokens would be lost.
      value_dim: C; D by default.
      dtype: of stored keys and values. Angles and rotation are float32 in any case.
      ragged: whether sequences have lengths of their own.
    """
    plan = make_plan(logic, capacity)
    if jnp.dtype(dtype) not in (jnp.float32, jnp.bfloat16):
        raise ValueError(f"a cache is float32 or bfloat16, got {jnp.dtype(dtype)}")
    held = jnp.uint16 if jnp.dtype(dtype) == jnp.bfloat16 else jnp.float32
    heads = batch * key_heads
    return Cache(
        keys=tuple(jnp.zeros((heads, head_dim, n), held) for n in plan.key_lengths),
        values=jnp.zeros((heads, plan.length, value_dim or head_dim), held),
        lengths_R=jnp.zeros(batch if ragged else 1, jnp.int32),
        plan=plan,
    )


def extend(
    cache: Cache,
    logic: Logic,
    q_BTHD: jax.Array,
    k_BTKD: jax.Array,
    v_BTKC: jax.Array,
    counts: jax.Array | None = None,
    *,
    fresh: bool = False,
) -> tuple[jax.Array, Cache]:
    """Attention of T new tokens over all tokens so far and themselves, and the cache.

    Equal to the last T rows of one `attend` over the whole sequence. A single token
    costs one pass over the cache, whatever the logic; more tokens cost memory linear in
    M + T.

    Args:
      cache: its memory is reused if the caller's jit donates it.
      logic: the one the cache was made for; its frequencies must not have changed.
      q_BTHD, k_BTKD, v_BTKC: not rotated; they stand behind what the cache holds.
      counts: int32[R], how many of the T tokens are real (the first ones), for prompts
        of different lengths; R is 1 or, in a ragged cache, B. Default: all.
      fresh: the caller knows that the cache is empty: T tokens cost what `attend` does.

    Returns:
      [B, T, H, C] in the dtype of q, 0 for tokens that are not real; the new cache.
    """
    _check(cache, logic, q_BTHD, k_BTKD, v_BTKC, counts)
    tokens = q_BTHD.shape[1]
    positions_RT = cache.lengths_R[:, None] + jnp.arange(tokens, dtype=jnp.int32)[None]
    real_RT = None if counts is None else _real(tokens, counts)
    turned = _turned(cache, logic, k_BTKD, positions_RT)
    values_BTKC = v_BTKC.astype(cache.dtype)
    written = _write(cache, turned, values_BTKC, counts)
    if fresh:
        out = attend(
            q_BTHD,
            k_BTKD,
            v_BTKC,
            logic,
            query_positions=positions_RT,
            key_positions=positions_RT,
            segment_ids=None if real_RT is None else real_RT.astype(jnp.int32),
        )
    elif tokens == 1 and isinstance(logic, PositionLogic):
        out = one_token(written, logic, q_BTHD, positions_RT)
        if real_RT is not None:
            out = jnp.where(real_RT[..., None, None], out, 0.0)
    else:
        out = many_tokens(
            cache, logic, q_BTHD, turned, values_BTKC, positions_RT, real_RT
        )
    return out.astype(q_BTHD.dtype), written


def _real(tokens: int, counts_R: jax.Array) -> jax.Array:
    """bool[R, T]"""
    return jnp.arange(tokens, dtype=jnp.int32)[None] < counts_R[:, None]


def _turned(cache: Cache, logic, k_BTKD, positions_RT) -> tuple[jax.Array, ...]:
    """[B, T, K, D] for each store, in its dtype."""
    if isinstance(logic, PositionLogic):
        readers = [cache.plan.store_of_band.index(s) for s in range(len(cache.keys))]
        one_each = dataclasses.replace(
            logic, bands=tuple(logic.bands[band] for band in readers), key_sets=None
        )
        turned = tuple(turned_keys(one_each, k_BTKD, positions_RT))
    else:
        turned = (k_BTKD,)
    return tuple(x.astype(cache.dtype) for x in turned)


def _write(cache: Cache, turned, values_BTKC, counts) -> Cache:
    def stored(x_BTKD, *order):
        x = x_BTKD.transpose(0, 2, *order)
        return to_bits(x.reshape(-1, *x.shape[2:]))

    tokens = values_BTKC.shape[1]
    lengths_R = cache.lengths_R
    return dataclasses.replace(
        cache,
        keys=tuple(
            put(store, stored(new, 3, 1), lengths_R, counts, axis=2)
            for store, new in zip(cache.keys, turned, strict=True)
        ),
        values=put(cache.values, stored(values_BTKC, 1, 3), lengths_R, counts, axis=1),
        lengths_R=lengths_R + (tokens if counts is None else counts),
    )


def _check(cache: Cache, logic, q_BTHD, k_BTKD, v_BTKC, counts) -> None:
    shapes = f"q {q_BTHD.shape}, k {k_BTKD.shape}, v {v_BTKC.shape}"
    if not q_BTHD.ndim == k_BTKD.ndim == v_BTKC.ndim == 4:
        raise ValueError(f"extend needs [batch, tokens, heads, dims] arrays: {shapes}")
    if not q_BTHD.shape[:2] == k_BTKD.shape[:2] == v_BTKC.shape[:2]:
        raise ValueError(f"batch or tokens disagree: {shapes}")
    stores = cache.values.shape[0], cache.keys[0].shape[1], cache.values.shape[-1]
    given = k_BTKD.shape[0] * k_BTKD.shape[2], k_BTKD.shape[-1], v_BTKC.shape[-1]
    if given != stores or k_BTKD.shape[2] != v_BTKC.shape[2]:
        raise ValueError(
            f"the cache holds batch * key heads, head dim, value dim = {stores}, but "
            f"these keys and values are {given}: {shapes}"
        )
    if q_BTHD.shape[-1] != k_BTKD.shape[-1] or q_BTHD.shape[2] % k_BTKD.shape[2]:
        raise ValueError(
            f"queries need the keys' head dim and a multiple of their heads: {shapes}"
        )
    rows = cache.lengths_R.shape[0]
    if rows not in (1, q_BTHD.shape[0]):
        raise ValueError(f"the cache has {rows} lengths for a batch of {q_BTHD.shape}")
    if counts is not None and counts.shape != (rows,):
        raise ValueError(
            f"counts must be int32[{rows}], one for each length of the cache, got "
            f"{counts.shape}; init_cache(..., ragged=True) keeps one a sequence"
        )
    bands = len(logic.bands) if isinstance(logic, PositionLogic) else 1
    if bands != len(cache.plan.store_of_band):
        raise ValueError(
            f"the cache was made for a logic of {len(cache.plan.store_of_band)} bands, "
            f"this one has {bands}"
        )
    if isinstance(logic, PositionLogic):
        logic.check_heads(q_BTHD.shape[2], q_BTHD.shape[3])
