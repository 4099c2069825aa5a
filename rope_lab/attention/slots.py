"""Where a cache keeps which position, and how it is written.

Position j lies in slot j mod length. So the position in a slot is never stored: it is
the latest one, of those written so far, that is congruent to the slot.

Legend: B batch, K key heads, N = B * K, D and C head dims of keys and values, M slots
of the values, R rows of lengths (1 where all sequences are equally long, else B).
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from rope_lab.logic import PositionLogic


@dataclasses.dataclass(frozen=True)
class Plan:
    """How many slots each store of a cache has; static.

    Attributes:
      capacity: tokens a sequence may have; rings are long enough up to there.
      length: slots of the values, and of the bands' masks.
      key_lengths: slots of each store of keys; a length, or a shorter ring, and then
        slot m of the values and slot m mod ring hold the same position.
      store_of_band: the store a band reads; None for one that shows no key at all.
    """

    capacity: int
    length: int
    key_lengths: tuple[int, ...]
    store_of_band: tuple[int | None, ...]


def make_plan(logic, capacity: int) -> Plan:
    """The shortest stores for sequences of up to `capacity` tokens.

    Any other callable than a PositionLogic may look at every key: one full store.
    """
    if capacity < 1:
        raise ValueError(f"capacity must be at least one token, got {capacity}")
    if not isinstance(logic, PositionLogic):
        return Plan(capacity, capacity, (capacity,), (0,))
    reach_of_set: dict[int, int] = {}
    reaches = [_reach(band, capacity) for band in logic.bands]
    if logic.amplitude is not None:
        # A slot that is written again would change the centre of a block half way.
        reaches = [reach and capacity for reach in reaches]
    for number, reach in zip(logic.key_set_of_band, reaches, strict=True):
        if reach:
            reach_of_set[number] = max(reach, reach_of_set.get(number, 0))
    if not reach_of_set:
        raise ValueError(f"this {logic.name} logic shows no key to any query")
    rings, length = _divisible(reach_of_set, capacity)
    numbers = {number: store for store, number in enumerate(reach_of_set)}
    return Plan(
        capacity,
        length,
        tuple(rings[number] for number in reach_of_set),
        tuple(
            numbers[number] if reach else None
            for number, reach in zip(logic.key_set_of_band, reaches, strict=True)
        ),
    )


def _reach(band, capacity: int) -> int:
    """How far back a query of this band looks at most, itself included: tokens."""
    queries = np.arange(capacity, dtype=np.int32)
    with jax.ensure_compile_time_eval():
        first = 0 if band.first_key is None else np.asarray(band.first_key(queries))
        last = queries if band.last_key is None else np.asarray(band.last_key(queries))
    first, last = np.maximum(first, 0), np.minimum(last, queries)
    return int(np.max(np.where(last >= first, queries - first + 1, 0)))


def _divisible(reach_of_set: dict[int, int], capacity: int):
    """(slots by key set, slots of the longest), so that rings line up with it.

    A store as long as the capacity never wraps, so any ring lines up with it. One that
    wraps has to be a multiple of every shorter ring.
    """
    longest = max(reach_of_set.values())
    if longest == capacity:
        return reach_of_set, capacity
    rounded, shorter = {}, 1
    for reach in sorted(set(reach_of_set.values())):
        shorter = rounded[reach] = -(-reach // shorter) * shorter
    if shorter >= capacity:
        full = {k: capacity if v == longest else v for k, v in reach_of_set.items()}
        return full, capacity
    return {number: rounded[reach] for number, reach in reach_of_set.items()}, shorter


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Cache:
    """Keys and values of one layer. A pytree: jit, donate, stack, scan it.

    Attributes:
      keys: per key rotation [N, D, slots]; tokens last, because the product of a query
        with all keys is then twice as fast on a CPU.
      values: [N, M, C]. bfloat16 lies here, and in keys, as its bits in uint16: XLA's
        CPU backend would convert the whole array to float32 to write one token.
      lengths_R: int32[R], tokens held so far, those that rings have dropped included.
      plan: how many slots, static.
    """

    keys: tuple[jax.Array, ...]
    values: jax.Array
    lengths_R: jax.Array
    plan: Plan = dataclasses.field(metadata={"static": True})

    @property
    def dtype(self) -> jnp.dtype:
        """Of keys and values."""
        held = self.values.dtype
        return jnp.dtype(jnp.bfloat16) if held == jnp.uint16 else held

    @property
    def nbytes(self) -> int:
        """Bytes of keys and values."""
        return sum(x.nbytes for x in (*self.keys, self.values))


def to_bits(x: jax.Array) -> jax.Array:
    """float32 as it is, bfloat16 as uint16."""
    if x.dtype == jnp.bfloat16:
        return jax.lax.bitcast_convert_type(x, jnp.uint16)
    return x


def to_floats(x: jax.Array) -> jax.Array:
    """The inverse."""
    if x.dtype == jnp.uint16:
        return jax.lax.bitcast_convert_type(x, jnp.bfloat16)
    return x


def latest(lengths_R: jax.Array, slots: int) -> jax.Array:
    """int32[R, slots]: the position in each slot after so many tokens; -1: none."""
    newest_R1 = lengths_R[:, None] - 1
    # The turn of the ring that the newest position is in, or the turn before.
    held = newest_R1 // slots * slots + jnp.arange(slots, dtype=jnp.int32)[None]
    return jnp.maximum(jnp.where(held > newest_R1, held - slots, held), -1)


def put(
    store: jax.Array,
    new: jax.Array,
    lengths_R: jax.Array,
    counts_R: jax.Array | None,
    axis: int,
) -> jax.Array:
    """store [N, ...] with new [N, ...] behind what it holds, along `axis`.

    lengths_R: tokens held so far. counts_R: how many of the new tokens are real, the
    first ones; None for all. Of more tokens than slots the last ones stay.
    """
    if lengths_R.shape[0] == 1:
        count = None if counts_R is None else counts_R[0]
        return _put(store, new, lengths_R[0], count, axis)
    heads = store.shape[0] // lengths_R.shape[0]
    starts_N = jnp.repeat(lengths_R, heads)
    if counts_R is None:
        each = jax.vmap(lambda x, y, start: _put(x, y, start, None, axis - 1))
        return each(store, new, starts_N)
    each = jax.vmap(lambda x, y, start, count: _put(x, y, start, count, axis - 1))
    return each(store, new, starts_N, jnp.repeat(counts_R, heads))


def _put(store, new, start, count, axis: int) -> jax.Array:
    slots, tokens = store.shape[axis], new.shape[axis]
    slot = start % slots
    if tokens == 1 and count is None:
        return jax.lax.dynamic_update_slice_in_dim(store, new, slot, axis)
    # What is written lies in at most two windows: it may go on at the other end.
    width = min(tokens, slots)
    begins = [jnp.minimum(slot, slots - width)]
    if 1 < width < slots:
        begins.append(jnp.int32(0))
    end = start + (tokens if count is None else count)
    for begin in begins:
        here = begin + jnp.arange(width, dtype=jnp.int32)
        positions = end - 1 - (end - 1 - here) % slots
        rows = jnp.take(new, jnp.clip(positions - start, 0, tokens - 1), axis)
        old = jax.lax.dynamic_slice_in_dim(store, begin, width, axis)
        fresh = jnp.expand_dims(
            positions >= start, [k for k in range(store.ndim) if k != axis]
        )
        store = jax.lax.dynamic_update_slice_in_dim(
            store, jnp.where(fresh, rows, old), begin, axis
        )
    return store
