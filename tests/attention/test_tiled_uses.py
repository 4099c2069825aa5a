"""Tiled attention in use: through attend, with callables, transformed; its memory."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rope_lab import attend, position_logic, rotary
from tiled_and_dense import (
    Shape,
    assert_equal,
    dense,
    in_order,
    in_tiles,
    int32,
    some_layout,
    vectors,
    with_slopes,
)

# Callables of one's own.


def decaying(rate):
    """Rotates nothing; hides every third key; closes over an array."""

    def logic(q_BTHD, k_BSKD, query_positions, key_positions):
        group = q_BTHD.shape[2] // k_BSKD.shape[2]
        k_BSHD = jnp.repeat(k_BSKD, group, axis=2)
        logits_BHTS = jnp.einsum("BTHD,BSHD->BHTS", q_BTHD, k_BSHD)
        queries, keys = query_positions[:, None, :, None], key_positions[:, None, None]
        logits_BHTS -= rate[None, :, None, None] * (queries - keys)
        return jnp.where(keys % 3 == 1, -jnp.inf, logits_BHTS)

    return logic


def test_a_callable_is_differentiated_in_what_it_closes_over():
    """A traced rate per head: the gradient a learned bias of one's own needs."""
    shape = Shape(2, 21, 43, H=4, K=2, shared=False)
    data = some_layout(shape, 1)
    rate = jnp.array([0.0, 0.1, 0.3, 0.7])

    def tiles(rate, data):
        return in_tiles(decaying(rate), data, shape)

    def definition(rate, data):
        return dense(decaying(rate), data)

    found, expected = jax.jit(
        lambda *x: [with_slopes(run, *x) for run in (tiles, definition)]
    )(rate, data)
    assert np.all(np.abs(expected[1][0]) > 1e-3)
    assert_equal(found, expected)


def test_a_callable_that_returns_another_shape_is_told_what_is_expected():
    def wrong(q_BTHD, k_BSKD, query_positions, key_positions):
        return decaying(jnp.ones(2))(q_BTHD, k_BSKD, query_positions, key_positions)[0]

    with pytest.raises(ValueError, match=r"\[batch, heads, queries, keys\]"):
        in_tiles(wrong, in_order(Shape()), Shape())


# Through attend, and transformed.


def test_attend_takes_every_argument_of_dense():
    """Default positions, one array of segments, positions shared by some or all."""
    shape = Shape(B=2, T=19, S=30, H=4, K=2, C=5)
    logic = position_logic("leaky_rerope", head_dim=8, window=5, step=4)
    segments = np.repeat([[1, 2, 0]], [11, 16, 3], axis=1).astype(np.int32)
    given = [{}, {"segment_ids": np.repeat(segments, 2, axis=0)}]
    rng = np.random.default_rng(3)
    queries, *keys = int32(rng.integers(0, 40, n) for n in (19, 30, (2, 30)))
    given += [{"query_positions": queries, "key_positions": x} for x in keys]

    @functools.partial(jax.jit, static_argnames="implementation")
    def attended(logic, implementation):
        options = {"implementation": implementation}
        return [attend(*vectors(shape), logic, **x, **options) for x in given]

    for found, expected in zip(
        attended(logic, "tiled"), attended(logic, "dense"), strict=True
    ):
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_queries_of_another_width_or_number_of_heads_raise():
    data = in_order(Shape())
    with pytest.raises(ValueError, match="head_dim 4.*8 dims"):
        in_tiles(position_logic("rope", head_dim=4), data, Shape())
    with pytest.raises(ValueError, match="num_heads 4.*2 heads"):
        in_tiles(position_logic("alibi", head_dim=8, num_heads=4), data, Shape())


def test_a_sweep_over_frequencies_is_one_mapped_program():
    shape = Shape()
    data = in_order(shape)
    sweep = [rotary.rope(8), rotary.interpolated(8, 1e4, 4.0)]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *sweep)

    def attended(frequencies, run):
        options = {"window": 7, "frequencies": frequencies}
        return run(position_logic("rerope", head_dim=8, **options), data)

    @jax.jit
    def mapped(stacked):
        run = functools.partial(in_tiles, shape=shape)
        return jax.vmap(lambda frequencies: attended(frequencies, run))(stacked)

    found = mapped(stacked)
    for ours, frequencies in zip(found, sweep, strict=True):
        np.testing.assert_allclose(ours, attended(frequencies, dense), atol=1e-5)
    assert np.max(np.abs(found[0] - found[1])) > 1e-2


def test_layers_in_a_scan_under_checkpoint_have_the_gradients_of_dense():
    """As a decoder runs it: recomputed in the backward pass, layer after layer."""
    shape = Shape(K=2)
    logic = position_logic("rerope", head_dim=8, window=7)
    data = in_order(shape)

    @jax.jit
    def slopes(logic, scales):
        def loss(logic, scales, run):
            @jax.checkpoint
            def layer(x, scale):
                return x + run(logic, data._replace(q=x * scale, k=x, v=x)), None

            return jnp.sum(jax.lax.scan(layer, data.q, scales)[0] ** 2)

        return [
            jax.grad(loss, argnums=(0, 1), allow_int=True)(logic, scales, run)
            for run in (functools.partial(in_tiles, shape=shape), dense)
        ]

    found, expected = slopes(logic, jnp.array([1.0, -0.5, 0.7]))
    assert_equal((0.0, found), (0.0, expected))


# Memory.


def working_memory(length):
    """Bytes that a gradient through ReRoPE holds besides arguments and results."""
    vectors = [jax.ShapeDtypeStruct((1, length, 1, 16), jnp.float32)] * 3
    logic = position_logic("rerope", head_dim=16, window=512)

    def loss(q, k, v):
        return jnp.sum(attend(q, k, v, logic, implementation="tiled"))

    compiled = jax.jit(jax.grad(loss, argnums=(0, 1, 2))).lower(*vectors).compile()
    return compiled.memory_analysis().temp_size_in_bytes


def test_memory_grows_with_the_length_and_not_with_its_square():
    sizes = [working_memory(length) for length in (2048, 4096, 8192)]
    assert sizes[1] < 2.3 * sizes[0] and sizes[2] < 2.3 * sizes[1]
    assert sizes[2] < 8192**2  # one byte for each pair
