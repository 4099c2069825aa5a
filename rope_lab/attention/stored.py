"""Attention of new tokens over a cache: one token, or many.

Legend: B batch, T new tokens, H query heads, K key heads, G = H / K, N = B * K, D and C
head dims of keys and values, P bands, M slots, R rows of lengths (1, or B).
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp

from rope_lab.attention import attend
from rope_lab.attention.operands import make_layout, turned_queries
from rope_lab.attention.slots import Cache, Plan, latest, to_floats
from rope_lab.attention.tiled import tiled_over_turned
from rope_lab.logic import PositionLogic

_dot = functools.partial(
    jnp.einsum,
    precision=jax.lax.Precision.HIGHEST,
    preferred_element_type=jnp.float32,
)


def one_token(cache: Cache, logic: PositionLogic, q_B1HD, positions_R1) -> jax.Array:
    """[B, 1, H, C]: one token each over a cache that holds it already.

    Every store is read once by one product, whatever the number of bands; then each
    slot takes the logit of the band that holds its key, so there is one softmax and one
    product with the values. Nothing as long as the cache is gathered or concatenated.
    """
    batch, _, heads, dim = q_B1HD.shape
    slots, key_heads = cache.plan.length, cache.values.shape[0] // batch
    fold = _fold(cache.plan)
    keys_RM = latest(positions_R1[:, 0] + 1, slots)
    queries, keys = positions_R1[:, :, None], keys_RM[:, None]

    def by_head(x):  # [R, 1 or H, 1, M] to [1 or N, 1 or G, M / fold, fold]
        if x.shape[:2] != (1, 1):
            x = x.reshape(x.shape[0], min(key_heads, x.shape[1]), -1, slots)
            x = jnp.broadcast_to(x, (batch, key_heads, *x.shape[2:]))
        return x.reshape(-1, x.shape[2], slots // fold, fold)

    q_PB1HD = turned_queries(logic, q_B1HD, positions_R1)
    q_PNGD = q_PB1HD.reshape(len(logic.bands), cache.values.shape[0], -1, dim)
    product = _dot_keys
    if logic.amplitude is not None:
        product = _amplified_dot(logic, positions_R1, key_heads)
    products = _products(cache, q_PNGD, fold, product)
    logits = jnp.float32(-jnp.inf)
    for band, product in zip(logic.bands, products, strict=True):
        if product is not None:
            inside = by_head((band.holds(queries, keys) & (keys >= 0))[:, None])
            logits = jnp.where(inside, product, logits)
    if logic.bias is not None:
        logits = logits + by_head(logic.bias(queries, jnp.maximum(keys, 0)))
    logits_NGM = logits.reshape(*logits.shape[:2], slots)
    out_NGC = _mix(logits_NGM, to_floats(cache.values))
    return out_NGC.reshape(batch, 1, heads, -1)


def _fold(plan: Plan) -> int:
    """The ring that all longer stores are multiples of, or 1: M is seen as [M/r, r].

    A ring then meets a longer store by broadcasting, without an index for each logit.
    """
    ring = min(plan.key_lengths)
    return ring if all(n % ring == 0 for n in (*plan.key_lengths, plan.length)) else 1


def _dot_keys(q_NGD: jax.Array, keys_NDM: jax.Array) -> jax.Array:
    return _dot("ngd,ndm->ngm", q_NGD, to_floats(keys_NDM).astype(jnp.float32))


def _amplified_dot(logic: PositionLogic, positions_R1: jax.Array, key_heads: int):
    """The same where keys have an amplitude relative to the centre of their block.

    Slot and position are one; queries get what is missing, block by block.
    """
    amplitude = logic.amplitude

    def dot(q_NGD, keys_NDM):
        rows = q_NGD.shape[0] // key_heads if len(positions_R1) > 1 else 1
        positions_R = jnp.broadcast_to(positions_R1[:, 0], (rows,))
        parts = []
        for start in range(0, keys_NDM.shape[-1], amplitude.block):
            after_R = positions_R - amplitude.centre(jnp.int32(start))
            after_R = jnp.maximum(after_R, -amplitude.block)  # of what is not written
            after_N1 = jnp.repeat(after_R, len(q_NGD) // rows)[:, None]
            mine_NGD = amplitude.apply(q_NGD, after_N1, logic.layout)
            parts.append(
                _dot_keys(mine_NGD, keys_NDM[..., start : start + amplitude.block])
            )
        return jnp.concatenate(parts, axis=-1)

    return dot


def _products(
    cache: Cache, q_PNGD: jax.Array, fold: int, product
) -> list[jax.Array | None]:
    """Per band [N, G, M/fold or 1, fold]: its queries times the keys in each slot."""
    store_of_band, slots = cache.plan.store_of_band, cache.plan.length
    group = q_PNGD.shape[2]
    products: list[jax.Array | None] = [None] * len(store_of_band)
    for number, store in enumerate(cache.keys):
        readers = [b for b, chosen in enumerate(store_of_band) if chosen == number]
        q_NpGD = jnp.concatenate([q_PNGD[band] for band in readers], axis=1)
        both = product(q_NpGD, store)
        for place, band in enumerate(readers):
            mine = both[:, place * group : (place + 1) * group]
            if mine.shape[-1] != fold:
                mine = _repeated(mine, slots, axis=2)
            products[band] = mine.reshape(*mine.shape[:2], -1, fold)
    return products


def _repeated(x: jax.Array, slots: int, axis: int) -> jax.Array:
    """A ring along `axis`, over and over, as long as the longest store."""
    ring = x.shape[axis]
    if ring == slots:
        return x
    turns = -(-slots // ring)
    shape = (*x.shape[:axis], turns, *x.shape[axis:])
    x = jnp.broadcast_to(jnp.expand_dims(x, axis), shape)
    x = x.reshape(*shape[:axis], turns * ring, *shape[axis + 2 :])
    return jax.lax.slice_in_dim(x, 0, slots, axis=axis)


def _mix(logits_NGM: jax.Array, values_NMC: jax.Array) -> jax.Array:
    """softmax(logits) values, float32[N, G, C]; 0 where no key is seen."""
    largest = logits_NGM.max(-1, keepdims=True)
    weights = jnp.exp(logits_NGM - jnp.where(largest > -jnp.inf, largest, 0.0))
    total = weights.sum(-1, keepdims=True)
    group = weights.shape[1]
    if group == 1:
        # On a CPU XLA's product of one row with a matrix walks down its columns, and
        # takes twice as long as that of two rows.
        weights = jnp.pad(weights, ((0, 0), (0, 1), (0, 0)))
    out = _dot("ngm,nmc->ngc", weights, values_NMC.astype(jnp.float32))
    return out[:, :group] / jnp.where(total > 0, total, 1.0)


def many_tokens(
    cache: Cache, logic, q_BTHD, turned, values_BTKC, positions_RT, real_RT
) -> jax.Array:
    """[B, T, H, C]: new tokens over the cache as it was, and over themselves."""
    batch, tokens = q_BTHD.shape[:2]
    slots, rows = cache.plan.length, cache.lengths_R.shape[0]

    def unstored(store, *order):
        x = to_floats(store).reshape(batch, -1, *store.shape[1:]).transpose(0, *order)
        return _repeated(x, slots, axis=1)

    keys = [
        jnp.concatenate([unstored(store, 3, 1, 2), new], axis=1)
        for store, new in zip(cache.keys, turned, strict=True)
    ]
    values = jnp.concatenate([unstored(cache.values, 2, 1, 3), values_BTKC], axis=1)
    held_RM = latest(cache.lengths_R, slots)
    if real_RT is None:
        real_RT = jnp.ones((rows, tokens), bool)
    real_RS = jnp.concatenate([held_RM >= 0, real_RT], axis=1)
    positions_RS = jnp.concatenate([jnp.maximum(held_RM, 0), positions_RT], axis=1)
    segments = real_RT.astype(jnp.int32), real_RS.astype(jnp.int32)
    if isinstance(logic, PositionLogic):
        layout = make_layout(logic, positions_RT, positions_RS, segments)
        of_band = [keys[store or 0] for store in cache.plan.store_of_band]
        return tiled_over_turned(q_BTHD, of_band, values, logic, layout)
    return attend(
        q_BTHD,
        keys[0],
        values,
        logic,
        query_positions=positions_RT,
        key_positions=positions_RS,
        segment_ids=segments,
    )
