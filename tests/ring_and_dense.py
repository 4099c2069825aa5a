"""Attention over the shards of eight devices beside dense attention on one.

Run as a program, since the number of devices is fixed when JAX starts: prints a line of
JSON for each case named, the largest differences of outputs and gradients relative to
the largest of the dense ones. Letters as in `rope_lab.attention.tiled`.
"""

import functools
import json
import sys

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P

from rope_lab import attend, position_logic
from rope_lab.attention import attend_by_heads, zigzag
from rope_lab.attention.operands import make_layout
from rope_lab.attention.ring import ring

DEVICES = 8
TILE = 8  # tokens; a shard of 12 is not a multiple of it
B, T, H, K, D, C = 2, 91, 4, 2, 8, 6
PADDED = 96  # tokens in all shards

LOGICS = {
    "rope": ("rope", {}),
    "rerope": ("rerope", {"window": 20}),
    "leaky_rerope": ("leaky_rerope", {"window": 20, "step": 3}),
    "self_extend": ("self_extend", {"window": 12, "group": 4}),
    "dual_chunk": ("dual_chunk", {"chunk_length": 16, "local_window": 8}),
    "sliding_window": ("rope", {"sliding_window": 10}),
    "log_n": ("rerope", {"window": 20, "log_n": "train", "train_length": 32}),
    "kerple_log": ("kerple_log", {"num_heads": H}),
    "xpos": ("xpos", {}),
}


def plain(q, k, query_positions, key_positions):
    """A callable that is no PositionLogic."""
    distance = query_positions[:, None, :, None] - key_positions[:, None, None]
    k = jnp.repeat(k, H // K, axis=2)
    return jnp.einsum("bthd,bshd->bhts", q, k) - 0.1 * distance


def segments_of(case: str) -> np.ndarray:
    """Packed documents that end inside shards where asked for; padding is 0."""
    ends = [17, 50, T] if case.endswith("packed") else [T]
    return np.searchsorted(ends, np.arange(PADDED), "right") % len(ends) + 1


def run(case: str) -> dict[str, float]:
    """Differences of one case, named LOGIC[-packed][-shuffled][-unchecked][-heads]."""
    name, *options = case.split("-")
    logic = plain
    if name in LOGICS:
        kind, arguments = LOGICS[name]
        logic = position_logic(kind, head_dim=D, **arguments)
    heads = (8, 8) if "heads" in options else (H, K)
    rng = np.random.default_rng(0)
    shapes = ((heads[0], D), (heads[1], D), (heads[1], C), (heads[0], C))
    arrays = [rng.normal(size=(B, PADDED, *s)).astype(np.float32) for s in shapes]
    segments = segments_of("packed" if "packed" in options else "")
    segments[T:] = 0
    order = zigzag(PADDED, DEVICES, tile=3)  # two rounds
    if "shuffled" in options:
        order = rng.permutation(PADDED)
    *qkv, weights = (x[:, order] for x in arrays)
    where = order.astype(np.int32)[None], segments[order].astype(np.int32)[None]

    def local(logic, q, k, v, positions, segments):
        if "heads" in options:
            return attend_by_heads(
                q,
                k,
                v,
                logic,
                query_positions=positions,
                key_positions=positions,
                segment_ids=(segments, segments),
                context_axis="context",
            )
        layout = make_layout(logic, positions, positions, (segments, segments))
        return ring(q, k, v, logic, layout, "context", TILE, TILE)

    sharded = P(None, "context")
    mesh = jax.make_mesh((DEVICES,), ("context",), axis_types=(AxisType.Auto,))

    def over_shards(logic, q, k, v):
        function = local
        if logic is None:  # a callable is no array
            function = functools.partial(lambda _, *rest: local(plain, *rest))
        mapped = jax.shard_map(
            function,
            mesh=mesh,
            in_specs=(P(), *[sharded] * 5),
            out_specs=sharded,
            check_vma="unchecked" not in options,
        )
        return mapped(logic, q, k, v, *where)

    def dense(logic, q, k, v):
        positions, segments = where
        return attend(
            q,
            k,
            v,
            plain if logic is None else logic,
            query_positions=positions,
            key_positions=positions,
            segment_ids=(segments, segments),
            implementation="dense",
        )

    def both(function, *given):
        def loss(*given):
            out = function(*given)
            return jnp.sum(out * weights), out

        gradients = jax.grad(loss, argnums=(0, 1, 2, 3), has_aux=True, allow_int=True)
        slopes, out = jax.jit(gradients)(*given)
        return [out, *jax.tree.leaves(slopes)]

    given = None if logic is plain else logic, *qkv
    differences = [
        float(np.max(np.abs(found - expected)) / np.max(np.abs(expected), initial=1e-9))
        for found, expected in zip(
            both(over_shards, *given), both(dense, *given), strict=True
        )
        if expected.dtype != jax.dtypes.float0 and np.size(expected)
    ]
    return {"case": case, "out": differences[0], "slopes": max(differences[1:])}


if __name__ == "__main__":
    for each in sys.argv[1:]:
        print(json.dumps(run(each)), flush=True)
