"""How arrays of a model lie on a mesh of devices: the one table, and what reads it.

Every axis of an array that may be split has a logical name; `RULES` says which axes of
the mesh split it. Outside of a mesh (`jax.set_mesh`) nothing here does anything.

Legend: B batch, T tokens, H query heads, K key heads, D head dim, C value dim.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import AbstractMesh, PartitionSpec

from rope_lab.attention import attend, attend_by_heads
from rope_lab.logic import PositionLogic
from rope_lab.logic.biases import split_by_head

AXES = ("data", "fsdp", "tensor", "context")
RULES: dict[str, tuple[str, ...]] = {
    "batch": ("data", "fsdp"),  # sequences
    "tokens": ("context",),
    "width": ("fsdp",),  # of parameters; activations have theirs whole
    "heads": ("tensor",),  # query heads, key heads, and matrices onto either
    "ff": ("tensor",),
    "vocab": ("tensor",),
}
# A vocabulary is what a tokenizer has; all else is chosen, and has to divide.
MAY_STAY_WHOLE = ("vocab",)


def spec(*names: str | None) -> PartitionSpec:
    """Of an array whose axes have these logical names; None is never split."""
    return PartitionSpec(*(RULES[name] if name else None for name in names))


def parts(mesh: Any, name: str) -> int:
    """Into how many parts a mesh splits the axes of a logical name."""
    return math.prod(mesh.shape[axis] for axis in RULES[name])


def constrain(x: jax.Array, *names: str | None) -> jax.Array:
    """x, laid out by the rules where a mesh is set."""
    mesh = current_mesh()
    if mesh is None:
        return x
    return jax.lax.with_sharding_constraint(x, fitting(mesh, x.shape, names))


def fitting(
    mesh: Any, shape: tuple[int, ...], names: tuple[str | None, ...]
) -> PartitionSpec:
    """`spec`, without the vocabulary where that does not divide."""
    kept = [
        None if name in MAY_STAY_WHOLE and size % parts(mesh, name) else name
        for name, size in zip(names, shape, strict=True)
    ]
    return spec(*kept)


def current_mesh() -> AbstractMesh | None:
    """The mesh that is set, if it has our axes and more than one device."""
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty or set(mesh.axis_names) != set(AXES) or mesh.size == 1:
        return None
    return mesh


def attend_on_mesh(
    q_BTHD: jax.Array,
    k_BTKD: jax.Array,
    v_BTKC: jax.Array,
    logic: Any,
    positions: jax.Array | None,
    segment_ids: jax.Array | None,
    exchange: str = "keys",
) -> jax.Array:
    """`attend`, each device with its own sequences, tokens and heads: [B, T, H, C].

    The walk through tiles is loops over slices. Left to itself, XLA gathers all
    sequences on every device before such a loop; kernels it cannot split at all. A
    plain callable may have anything in it and is left to XLA.

    exchange: as `ModelConfig.context_exchange`.
    """
    mesh, run = current_mesh(), attend
    split = mesh is not None and isinstance(logic, PositionLogic)
    if split and mesh.shape["context"] > 1:
        chosen = {"keys": attend, "heads": attend_by_heads}[exchange]
        run = functools.partial(chosen, context_axis="context")
        if positions is None:  # a part does not know where it begins
            positions = jnp.arange(q_BTHD.shape[1], dtype=jnp.int32)[None]

    def local(q_BTHD, k_BTKD, v_BTKC, logic, positions, segment_ids):
        return run(
            q_BTHD,
            k_BTKD,
            v_BTKC,
            logic,
            query_positions=positions,
            key_positions=positions,
            segment_ids=None if segment_ids is None else (segment_ids, segment_ids),
        )

    arguments = q_BTHD, k_BTKD, v_BTKC, logic, positions, segment_ids
    if not split:
        return local(*arguments)
    heads = spec("batch", "tokens", "heads", None)
    tokens = [_of_tokens(x) for x in (positions, segment_ids)]
    mapped = jax.shard_map(
        local,
        in_specs=(heads, heads, heads, _of_logic(logic), *tokens),
        out_specs=heads,
        check_vma=False,
    )
    return mapped(*arguments)


def _of_tokens(x: jax.Array | None) -> PartitionSpec | None:
    """Of positions or segments: [B, T], or [1, T] or [T] that all sequences share."""
    if x is None:
        return None
    if x.ndim == 2 and x.shape[0] > 1:
        return spec("batch", "tokens")
    return spec(*(None,) * (x.ndim - 1), "tokens")


def _of_logic(logic: PositionLogic) -> PositionLogic:
    """Frequencies go to every device, the numbers of each head to who has the head."""
    whole = jax.tree.map(lambda _: PartitionSpec(), logic)
    if logic.bias is None:
        return whole
    bias = jax.tree.map(
        lambda leaf, by_head: (
            spec(*(None,) * (leaf.ndim - 1), "heads") if by_head else PartitionSpec()
        ),
        logic.bias,
        split_by_head(logic.bias),
    )
    return dataclasses.replace(whole, bias=bias)
