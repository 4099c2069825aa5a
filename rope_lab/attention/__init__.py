"""Attention for every position logic. `attend` picks the implementation.

Legend: B batch, T queries, S keys, H query heads, K key/value heads, D head dim of
queries and keys, C head dim of values.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from rope_lab.attention.dense import dense
from rope_lab.attention.operands import make_layout
from rope_lab.attention.platform import target_platform
from rope_lab.attention.ring import ring
from rope_lab.attention.tiled import tiled
from rope_lab.attention.zigzag import zigzag
from rope_lab.logic import PositionLogic

__all__ = ["attend", "attend_by_heads", "dense", "ring", "tiled", "zigzag"]

_KNOWN = ("auto", "dense", "tiled", "gpu", "tpu")
# Pairs of a query and a key from which on tiles are faster than a whole matrix on a
# CPU; measured by `python -m benchmarks.crossover`.
TILED_FROM = 512 * 512
Segments = Int[Array, "B S"] | tuple[Int[Array, "B T"], Int[Array, "B S"]]


def attend(
    q_BTHD: Float[Array, "B T H D"],
    k_BSKD: Float[Array, "B S K D"],
    v_BSKC: Float[Array, "B S K C"],
    logic: PositionLogic | Callable[..., jax.Array],
    *,
    query_positions: Int[Array, "*B T"] | None = None,
    key_positions: Int[Array, "*B S"] | None = None,
    segment_ids: Segments | None = None,
    implementation: str = "auto",
    context_axis: str | None = None,
) -> Float[Array, "B T H C"]:
    """Causal attention under a position logic, or under any callable of its signature.

    Args:
      q_BTHD, k_BSKD, v_BSKC: H a multiple of K; any float dtype.
      logic: PositionLogic, or ``logic(q, k, query_positions, key_positions)`` returning
        float32[B, H, T, S] logits, pointwise in query and key, -inf where it hides one.
        It gets positions as [B, T] and [B, S], or [1, T] and [1, S].
      query_positions, key_positions: int32 [B, T] and [B, S], or [T] and [S]; default
        keys 0..S-1 and queries S-T..S-1. In any order.
      segment_ids: int32 [B, S] (queries are the last T), or a pair for queries and
        keys. A query sees keys of its own segment; 0 is padding, seen by nobody.
      implementation: "auto" (on a GPU or TPU its kernels, where they take the call),
        "dense", "tiled", "gpu" or "tpu".
      context_axis: mesh axis over which the sequence is sharded: the call is inside
        jax.shard_map, q, k, v are shards of equal size (padded by segment 0), and
        query_positions and key_positions, those of the local tokens in any order, are
        required; segment_ids is a pair. Keys travel around the axis, see `ring`; the
        tiles are those of plain XLA. `zigzag` gives every shard the same work.

    Returns:
      [B, T, H, C] in the dtype of q; 0, with gradient 0, for a query that sees no key,
      and so for all where there is none. A logit that is NaN or infinite, but not -inf,
      makes NaN of its query's row.

    Raises:
      ValueError: shapes or dtypes that do not fit; "gpu" or "tpu" does not take the
        call; a context_axis without what it needs.
    """
    if implementation not in _KNOWN:
        raise ValueError(f"implementation must be one of {_KNOWN}: {implementation!r}")
    if context_axis is not None:
        given = query_positions, key_positions, segment_ids
        _check_context(context_axis, implementation, *given)
    if not callable(logic):
        raise ValueError(
            f"attend needs a position logic or a function, got {logic!r}: make one by "
            "position_logic(name, head_dim=...)"
        )
    q_BTHD, k_BSKD, v_BSKC = map(jnp.asarray, (q_BTHD, k_BSKD, v_BSKC))
    _check_shapes(q_BTHD, k_BSKD, v_BSKC)
    queries, keys = q_BTHD.shape[1], k_BSKD.shape[1]
    query_positions, key_positions = _positions(
        query_positions, key_positions, q_BTHD.shape[0], queries, keys
    )
    segments = None
    if segment_ids is not None:
        segments = _segment_pair(segment_ids, q_BTHD.shape[0], queries, keys)
    if 0 in (q_BTHD.shape[0], queries, keys):
        shape = (*q_BTHD.shape[:3], v_BSKC.shape[-1])
        return jax.lax.full_like(q_BTHD, 0, shape=shape)
    if context_axis is not None:
        layout = make_layout(logic, query_positions, key_positions, segments)
        return ring(q_BTHD, k_BSKD, v_BSKC, logic, layout, context_axis)
    chosen = _chosen(implementation, q_BTHD, k_BSKD, v_BSKC, logic)
    if chosen == "dense":
        visible_BTS = query_positions[:, :, None] >= key_positions[:, None, :]
        if segments is not None:
            visible_BTS = visible_BTS & _same_segment(*segments)
        return dense(
            q_BTHD, k_BSKD, v_BSKC, logic, query_positions, key_positions, visible_BTS
        )
    layout = make_layout(logic, query_positions, key_positions, segments)
    run = tiled if chosen == "tiled" else getattr(_kernels(chosen), chosen)
    return run(q_BTHD, k_BSKD, v_BSKC, logic, layout)


def attend_by_heads(
    q_BTHD: Float[Array, "B T H D"],
    k_BSKD: Float[Array, "B S K D"],
    v_BSKC: Float[Array, "B S K C"],
    logic: PositionLogic,
    *,
    query_positions: Int[Array, "*B T"],
    key_positions: Int[Array, "*B S"],
    segment_ids: tuple[jax.Array, jax.Array] | None = None,
    implementation: str = "auto",
    context_axis: str,
) -> Float[Array, "B T H C"]:
    """`attend` over the shards of a mesh axis by exchange of heads, not around a ring.

    Two all-to-all exchanges give each device all tokens of some heads, and back. Every
    implementation takes it, the accelerators' kernels too, but a device holds all of
    the sequence for its heads, and the key heads have to be a multiple of the devices.

    Raises:
      ValueError: too few heads, or a logic that differs from head to head.
    """
    devices = jax.lax.axis_size(context_axis)
    if k_BSKD.shape[2] % devices:
        raise ValueError(
            f"{k_BSKD.shape[2]} key heads cannot be shared out to the {devices} "
            f"devices of {context_axis!r}; use the ring, `attend(context_axis=...)`"
        )
    if not isinstance(logic, PositionLogic) or logic.bias is not None:
        raise ValueError(
            "an exchange of heads does not take biases or callables, which may differ "
            "from head to head; use the ring, `attend(context_axis=...)`"
        )
    to_heads, to_tokens = (
        functools.partial(
            jax.lax.all_to_all,
            axis_name=context_axis,
            split_axis=split,
            concat_axis=3 - split,
            tiled=True,
        )
        for split in (2, 1)
    )

    def everywhere(x_RT):
        return jax.lax.all_gather(x_RT, context_axis, axis=x_RT.ndim - 1, tiled=True)

    if segment_ids is not None:
        segment_ids = tuple(everywhere(jnp.asarray(x)) for x in segment_ids)
    out = attend(
        to_heads(q_BTHD),
        to_heads(k_BSKD),
        to_heads(v_BSKC),
        logic,
        query_positions=everywhere(query_positions),
        key_positions=everywhere(key_positions),
        segment_ids=segment_ids,
        implementation=implementation,
    )
    return to_tokens(out)


def _check_context(axis: str, implementation, query_positions, key_positions, segments):
    """Raises ValueError unless attention can be over the shards of a mesh axis."""
    if implementation not in ("auto", "tiled"):
        raise ValueError(
            f"context_axis={axis!r} runs implementation 'tiled' on every platform, not "
            f"{implementation!r}; leave it 'auto'"
        )
    if query_positions is None or key_positions is None:
        raise ValueError(
            f"context_axis={axis!r}: a shard does not know where its tokens stand; "
            "give query_positions and key_positions"
        )
    if segments is not None and not isinstance(segments, (tuple, list)):
        raise ValueError(
            f"context_axis={axis!r}: segment_ids has to be a pair, those of the local "
            "queries and of the local keys"
        )
    try:
        jax.lax.axis_size(axis)
    except NameError:
        raise ValueError(
            f"context_axis={axis!r} is no axis of a mesh here: call attend inside "
            "jax.shard_map over a mesh that has it"
        ) from None


def _chosen(implementation: str, q_BTHD, k_BSKD, v_BSKC, logic) -> str:
    """The implementation to run; what is asked for by name runs, or says why not."""
    if implementation in ("gpu", "tpu"):
        reason = _kernels(implementation).refusal(q_BTHD, k_BSKD, v_BSKC, logic)
        if reason is not None:
            raise ValueError(f"implementation={implementation!r}: {reason}")
    if implementation != "auto":
        return implementation
    backend = target_platform()
    if (
        backend in ("gpu", "tpu")
        and _kernels(backend).refusal(q_BTHD, k_BSKD, v_BSKC, logic) is None
    ):
        return backend
    pairs = q_BTHD.shape[1] * k_BSKD.shape[1]
    return "tiled" if pairs >= TILED_FROM else "dense"


def _kernels(name: str):
    """The module of an accelerator's kernels; Pallas takes time to import."""
    return importlib.import_module(f"rope_lab.attention.{name}")


def _check_shapes(q_BTHD: jax.Array, k_BSKD: jax.Array, v_BSKC: jax.Array) -> None:
    shapes = f"q {q_BTHD.shape}, k {k_BSKD.shape}, v {v_BSKC.shape}"
    dtypes = q_BTHD.dtype, k_BSKD.dtype, v_BSKC.dtype
    if not all(jnp.issubdtype(dtype, jnp.floating) for dtype in dtypes):
        raise ValueError(
            "attend needs arrays of a float dtype; convert q, k and v of "
            f"{', '.join(map(str, dtypes))}"
        )
    if not q_BTHD.ndim == k_BSKD.ndim == v_BSKC.ndim == 4:
        raise ValueError(f"attend needs [batch, tokens, heads, dims] arrays: {shapes}")
    if q_BTHD.shape[0] != k_BSKD.shape[0] or k_BSKD.shape[:3] != v_BSKC.shape[:3]:
        raise ValueError(f"batch, keys or key heads disagree: {shapes}")
    if q_BTHD.shape[-1] != k_BSKD.shape[-1]:
        raise ValueError(f"queries and keys need the same head dim: {shapes}")
    if q_BTHD.shape[2] % k_BSKD.shape[2]:
        raise ValueError(f"query heads must be a multiple of key heads: {shapes}")


def _positions(query_positions, key_positions, batch: int, queries: int, keys: int):
    if query_positions is None and queries > keys:
        raise ValueError(
            f"{queries} queries for {keys} keys: the default positions make the "
            "queries the last of the keys; give query_positions and key_positions"
        )
    if key_positions is None:
        key_positions = jnp.arange(keys, dtype=jnp.int32)
    if query_positions is None:
        query_positions = jnp.arange(keys - queries, keys, dtype=jnp.int32)
    checked = []
    for name, positions, length in (
        ("query_positions", query_positions, queries),
        ("key_positions", key_positions, keys),
    ):
        positions = jnp.asarray(positions)
        if not jnp.issubdtype(positions.dtype, jnp.integer):
            raise ValueError(f"{name} must be int32, got {positions.dtype}")
        if positions.shape not in ((length,), (batch, length), (1, length)):
            raise ValueError(
                f"{name} must have shape [{length}] or [{batch}, {length}], got "
                f"{positions.shape}"
            )
        checked.append(jnp.atleast_2d(positions.astype(jnp.int32)))
    return checked


def _segment_pair(segment_ids: Segments, batch: int, queries: int, keys: int):
    """Segments of queries [1 or B, T] and of keys [1 or B, S]."""
    if isinstance(segment_ids, (tuple, list)):
        query_segments, key_segments = map(jnp.asarray, segment_ids)
    else:
        key_segments = jnp.asarray(segment_ids)
        query_segments = key_segments[..., keys - queries :]
    for segments in (query_segments, key_segments):
        if not jnp.issubdtype(segments.dtype, jnp.integer):
            raise ValueError(f"segment_ids must be int32, got {segments.dtype}")
    shapes = [(queries, query_segments.shape), (keys, key_segments.shape)]
    if any(shape not in ((batch, n), (1, n)) for n, shape in shapes):
        raise ValueError(
            f"segment_ids of shapes {query_segments.shape} and {key_segments.shape} do "
            f"not fit: expected [{batch}, {queries}] and [{batch}, {keys}]"
        )
    return query_segments, key_segments


def _same_segment(queries_BT: jax.Array, keys_BS: jax.Array) -> jax.Array:
    same = queries_BT[:, :, None] == keys_BS[:, None, :]
    return same & (keys_BS[:, None, :] != 0)
