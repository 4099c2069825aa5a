"""xPos far beyond the range of float32, in tiles and in the cache, whatever the order.

Letters as in `tiled_and_dense`.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import oracle
from rope_lab import attend, position_logic
from rope_lab.attention.cache import extend, init_cache
from tiled_and_dense import Data, Shape, assert_equal, both, in_order, vectors

XPOS = position_logic("xpos", head_dim=8)


def reference(data, **options):
    rows = [np.asarray(x) for x in data.positions]
    scores = oracle.logits("xpos", data.q, data.k, *rows, **options)
    return oracle.attention(scores, data.v)


def scattered(seed, longest):
    """Positions in no order, up to `longest`; each query's nearest key is its own."""
    shape, rng = Shape(), np.random.default_rng(seed)
    places = rng.integers(0, longest, (1, shape.T)).astype(np.int32)
    return Data(*vectors(shape, seed), (places, places)), shape


@pytest.mark.parametrize("longest", [40, 40_000, 2**20, 2**30])
def test_positions_scattered_over_any_range_give_the_oracle_and_finite_slopes(longest):
    """In one tile of 8 keys lie some that are 2**30 tokens apart."""
    data, shape = scattered(3, longest)
    tiled, dense = both(XPOS, data, shape)
    # The slope of a frequency is a sum of positions, whose digits cancel this far out.
    assert_equal(*((out, slopes[1:]) for out, slopes in (tiled, dense)), longest)
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(tiled))
    np.testing.assert_allclose(tiled[0], reference(data), atol=2e-5)


def test_far_tokens_in_order_are_as_near_tokens_in_order():
    """Amplitudes relative to position 0 would be 0 or infinite here."""
    shape = Shape()
    near = in_order(shape, 5)
    far = near._replace(positions=tuple(x + 2**30 for x in near.positions))
    (at_0, _), (at_2_30, _) = (both(XPOS, data, shape)[0] for data in (near, far))
    np.testing.assert_allclose(at_0, at_2_30, atol=1e-5)


def test_amplitudes_are_zeta_to_the_distance_over_the_scale_base():
    """Unit vectors in one plane: its logit is its amplitude, turned a little."""
    q = np.zeros((1, 1, 1, 8), np.float32)
    q[..., 3] = 1.0  # the slowest plane turns by 0.02 in 20 tokens
    logic = position_logic("xpos", head_dim=8, softmax_scale=1.0, scale_base=10)
    found = logic(q, q, np.array([2**20 + 20], np.int32), np.array([2**20], np.int32))
    zeta = (2 * 3 / 8 + 0.4) / 1.4
    np.testing.assert_allclose(found[0, 0, 0, 0], zeta**2 * np.cos(0.02), rtol=1e-6)


@pytest.mark.parametrize("layout", ["half", "interleaved"])
def test_a_cache_of_many_blocks_gives_one_pass(layout):
    """1,024 tokens share a centre: a fresh prompt, a chunk and single tokens."""
    length, last = 2600, 40
    logic = position_logic("xpos", head_dim=8, layout=layout)
    q, k, v = (jnp.asarray(x) for x in vectors(Shape(T=length, S=length), 7))
    expected = attend(q[:, -last:], k, v, logic, implementation="dense")

    @jax.jit
    def decoded(q, k, v):
        cache = init_cache(logic, 1, length, 1, 8)
        outs, start = [], 0
        for stop, fresh in ((length - last, True), (length - 8, False)):
            given = (x[:, start:stop] for x in (q, k, v))
            out, cache = extend(cache, logic, *given, fresh=fresh)
            outs.append(out)
            start = stop

        def step(cache, token):
            out, cache = extend(cache, logic, *(x[:, None] for x in token))
            return cache, out[:, 0]

        singles = tuple(jnp.moveaxis(x[:, start:], 1, 0) for x in (q, k, v))
        _, alone = jax.lax.scan(step, cache, singles)
        return outs[1], jnp.moveaxis(alone, 0, 1)

    found = jnp.concatenate(decoded(q, k, v), axis=1)
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("scale_base", [0.4, 16.5, 1e9])
def test_a_chunk_behind_blocks_that_end_where_no_tile_does_gives_one_pass(scale_base):
    """With 16.5 a key is 132 tokens from its tile's centre, 16 from its block's."""
    held, new, capacity = 492, 4, 500
    length = held + new
    logic = position_logic("xpos", head_dim=8, scale_base=scale_base)
    q, k, v = (jnp.asarray(x) for x in vectors(Shape(T=length, S=length), 9))
    expected = attend(q[:, held:], k, v, logic, implementation="dense")

    @jax.jit
    def behind(q, k, v):
        cache = init_cache(logic, 1, capacity, 1, 8)
        _, cache = extend(cache, logic, *(x[:, :held] for x in (q, k, v)), fresh=True)
        return extend(cache, logic, *(x[:, held:] for x in (q, k, v)))[0]

    np.testing.assert_allclose(behind(q, k, v), expected, atol=1e-5)
