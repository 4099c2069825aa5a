"""What the kernels of both accelerators must compute, at sizes to interpret.

Each case bundles an encoding with some way of calling it; a call is compared with
dense attention, output and gradients, those of frequencies and slopes included.

Legend: B batch, T queries, S keys, H query heads, K key heads, D and C head dims.
"""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

from rope_lab import attend, position_logic
from rope_lab.attention.operands import make_layout

B, H, K, D, C = 2, 4, 2, 16, 24
TILE = 16  # tokens: several tiles in few tokens


@dataclasses.dataclass(frozen=True)
class Case:
    name: str
    options: dict = dataclasses.field(default_factory=dict)
    queries: int = 40
    keys: int = 40
    key_heads: int = K
    dtype: str = "float32"
    segments: bool = False
    positions: str = "in order"

    def logic(self):
        return position_logic(self.name, head_dim=D, **self.options)

    def tensors(self):
        """q, k, v and weights of the output, normal."""
        rng = np.random.default_rng(0)
        shapes = (
            (B, self.queries, H, D),
            (B, self.keys, self.key_heads, D),
            (B, self.keys, self.key_heads, C),
            (B, self.queries, H, C),
        )
        return [jnp.asarray(rng.normal(size=shape), self.dtype) for shape in shapes]

    def where(self):
        """Positions [1 or B, T] and [1 or B, S], and segments or None."""
        first = max(0, self.keys - self.queries)
        queries = np.arange(first, first + self.queries, dtype=np.int32)[None]
        keys = np.arange(self.keys, dtype=np.int32)[None]
        rng = np.random.default_rng(1)
        if self.positions == "unsorted":
            queries, keys = (
                np.stack([rng.permutation(x[0]) for _ in range(B)])
                for x in (queries, keys)
            )
        if self.positions == "keys later":  # the first queries see no key
            keys = keys + 9
        segments = None
        if self.segments:
            ids = np.repeat([[1, 2, 3, 0], [4, 4, 5, 6]], [13, 14, 8, 5], axis=1)
            segments = ids[:, -self.queries :], ids
        return jnp.asarray(queries), jnp.asarray(keys), segments


CASES = {
    "rope": Case("rope"),
    "rerope in segments": Case("rerope", {"window": 12}, segments=True),
    "leaky rerope unsorted": Case(
        "leaky_rerope", {"window": 12, "step": 2.5}, positions="unsorted"
    ),
    "self_extend, few queries": Case(
        "self_extend", {"window": 16, "group": 4}, queries=21, keys=50
    ),
    "dual_chunk": Case("dual_chunk", {"chunk_length": 16, "local_window": 4}),
    "one query in a sliding window": Case("rope", {"sliding_window": 10}, queries=1),
    "alibi": Case("alibi", {"num_heads": H}, segments=True),
    "log_n, queries without keys": Case(
        "rope",
        {"log_n": "train", "train_length": 16, "log_n_minimum": 2},
        positions="keys later",
    ),
    "nope, a key head per query head, few keys": Case("nope", keys=7, key_heads=H),
    "rerope in bfloat16": Case("rerope", {"window": 12}, dtype="bfloat16"),
}


def compare(case: Case, kernel) -> None:
    """Assert that the kernel gives dense attention's output and gradients."""
    queries, keys, segments = case.where()
    *qkv, weights = case.tensors()

    def of(attention):
        def weighed(q, k, v, logic):
            out = attention(q, k, v, logic)
            return (out * weights).astype(jnp.float32).sum(), out

        slopes = jax.value_and_grad(weighed, (0, 1, 2, 3), has_aux=True)
        (_, out), slopes = jax.jit(slopes, compiler_options=QUICK)(*qkv, case.logic())
        return [out, *jax.tree.leaves(slopes)]

    def walked(q, k, v, logic):
        layout = make_layout(logic, queries, keys, segments)
        return kernel(q, k, v, logic, layout, True, TILE, TILE)

    dense = functools.partial(
        attend,
        query_positions=queries,
        key_positions=keys,
        segment_ids=segments,
        implementation="dense",
    )
    single = case.dtype == "float32"
    for i, (found, expected) in enumerate(zip(of(walked), of(dense), strict=True)):
        assert found.dtype == expected.dtype and found.shape == expected.shape
        found, expected = (np.asarray(x, np.float32) for x in (found, expected))
        largest = np.abs(expected).max(initial=1e-3)
        bound = 1e-5 if i == 0 else 1e-4 * largest
        # bfloat16 has 8 bits; weights, scores' slopes and operands are rounded to it.
        np.testing.assert_allclose(
            found, expected, atol=bound if single else largest / 32
        )
        assert np.isfinite(found).all()


# Interpreted kernels are long programs that run for milliseconds.
QUICK = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}


def pass_of(kernel, name: str, dim: int, dtype: str, segmented: bool, **options):
    """A jitted forward and backward pass at a size of practice, and its arguments.

    T = 4096 tokens, 8 query heads on 2 key heads.
    """
    tokens, heads, key_heads = 4096, 8, 2
    logic = position_logic(name, head_dim=dim, **options)
    positions = jnp.arange(tokens, dtype=jnp.int32)[None]

    def both(q, k, v, dout, ids=None):
        segments = None if ids is None else (ids, ids)
        layout = make_layout(logic, positions, positions, segments)
        out, pull = jax.vjp(lambda *x: kernel(*x, logic, layout), q, k, v)
        return out, pull(dout)

    shapes = [(1, tokens, n, dim) for n in (heads, key_heads, key_heads, heads)]
    arguments = [jax.ShapeDtypeStruct(shape, dtype) for shape in shapes]
    if segmented:
        arguments.append(jax.ShapeDtypeStruct((1, tokens), jnp.int32))
    return jax.jit(both), arguments
