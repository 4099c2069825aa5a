"""Additive biases: slopes against the numbers of their paper, and distances."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rope_lab import position_logic
from rope_lab.logic.t5 import t5_buckets

# 2108.12409, section 3: for 8 heads the geometric sequence 1/2, 1/4, ..., 1/256, in
# general the one that starts at 2^(-8/H) and has this as its ratio. Other numbers of
# heads, from the authors' code: the slopes of the next lower power of two, then every
# second one of the next higher.
SLOPES = {
    1: [1 / 256],
    6: [1 / 4, 1 / 16, 1 / 64, 1 / 256, 1 / 2, 1 / 8],
    8: [1 / 2, 1 / 4, 1 / 8, 1 / 16, 1 / 32, 1 / 64, 1 / 128, 1 / 256],
    12: [1 / 2, 1 / 4, 1 / 8, 1 / 16, 1 / 32, 1 / 64, 1 / 128, 1 / 256]
    + [0.5**0.5, 0.5**1.5, 0.5**2.5, 0.5**3.5],
}


def alibi(num_heads, **options):
    return position_logic("alibi", head_dim=4, num_heads=num_heads, **options)


def logits(logic, heads, query_position, key_positions, value=0.0):
    """[H, S] of one query, all of whose products with keys are 4 * value**2."""
    q = jnp.full((1, 1, heads, 4), value)
    k = jnp.full((1, len(key_positions), heads, 4), value)
    keys = np.array(key_positions, np.int32)
    return np.asarray(logic(q, k, np.array([query_position], np.int32), keys))[0, :, 0]


@pytest.mark.parametrize("heads", SLOPES)
def test_slopes_are_those_of_the_paper(heads):
    found = logits(alibi(heads), heads, 7, [7, 6, 4, 0])
    distances = np.array([0, 1, 3, 7])
    expected = -np.array(SLOPES[heads])[:, None] * distances
    np.testing.assert_allclose(found, expected, rtol=1e-7)


def test_a_distance_of_one_token_is_seen_a_billion_tokens_in():
    """float32 of the positions themselves would be 64 tokens apart."""
    far = 2**30
    found = logits(alibi(8), 8, far + 5, [far + 5, far + 4, far + 2])
    expected = -np.array(SLOPES[8])[:, None] * np.array([0, 1, 3])
    np.testing.assert_array_equal(found, expected.astype(np.float32))


def test_distances_of_a_million_tokens_are_exact():
    distances = [2**20, 2**20 - 1, 2**20 - 3]
    found = logits(alibi(8), 8, 2**20, [0, 1, 3])
    expected = -np.array(SLOPES[8])[:, None] * np.array(distances)
    np.testing.assert_array_equal(found, expected.astype(np.float32))


def test_the_temperature_leaves_the_bias_alone():
    """What multiplies the product of query and key does not multiply the slope."""
    options = {"softmax_scale": 0.25, "log_n": "train", "train_length": 2}
    found = logits(alibi(8, **options), 8, 7, [7, 6, 4], value=1.0)
    # Position 7 is the eighth token: log 8 / log 2 = 3, and 3 * 0.25 * 4 = 3.
    expected = 3.0 - np.array(SLOPES[8])[:, None] * np.array([0, 1, 3])
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize("heads", [1, 4, 16])
def test_queries_of_other_heads_than_it_was_built_for_raise(heads):
    with pytest.raises(ValueError, match=f"num_heads 8.*{heads} heads"):
        logits(alibi(8), heads, 3, [0, 1])


def test_slopes_can_be_differentiated():
    """They are leaves; a logit falls by its distance for each unit of its slope."""
    pull = jax.vjp(
        lambda logic: logic(
            jnp.zeros((1, 1, 2, 4)),
            jnp.zeros((1, 2, 2, 4)),
            np.array([9], np.int32),
            np.array([2, 4], np.int32),
        ),
        alibi(2),
    )[1]
    slopes = pull(jnp.ones((1, 2, 1, 2)))[0].bias.slopes_H
    np.testing.assert_array_equal(slopes, [-(7 + 5)] * 2)


# Biases that are learned.

LEARNED = {
    "kerple_log": {"a_H": [0.5, 0.25], "p_H": [1.0, 2.0]},
    "kerple_power": {"a_H": [0.5, 0.25], "p_H": [1.0, 0.5]},
    "t5": {"table_NH": np.arange(64).reshape(32, 2)},
}


def learned(name, **changes):
    logic = position_logic(name, head_dim=4, num_heads=2)
    leaves = {k: np.float32(v) for k, v in (LEARNED[name] | changes).items()}
    return dataclasses.replace(logic, bias=dataclasses.replace(logic.bias, **leaves))


def test_kerple_takes_the_logarithm_or_a_power_of_the_distance():
    found = logits(learned("kerple_log"), 2, 9, [9, 7, 1])
    expected = -np.array([[1.0], [2.0]]) * np.log([[1, 2, 5], [1, 1.5, 3]])
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    found = logits(learned("kerple_power"), 2, 9, [9, 8, 5])
    np.testing.assert_allclose(found, [[0, -0.5, -2], [0, -0.25, -0.5]], rtol=1e-6)


def test_kerples_numbers_count_within_their_bounds_but_keep_a_slope_beyond():
    """So that a number that a step took below the bound can come back."""
    beyond = {"a_H": [-3.0, 0.25], "p_H": [2.5, -1.0]}
    inside = {"a_H": [0.01, 0.25], "p_H": [2.0, 0.01]}

    def total(logic):
        q = jnp.zeros((1, 1, 2, 4))
        keys = np.array([2, 4], np.int32)
        return logic(q, q.repeat(2, 1), np.array([9], np.int32), keys).sum()

    def of_bias(logic):
        value, slope = jax.value_and_grad(total)(logic)
        return value, slope.bias

    pairs = [learned("kerple_power", **pair) for pair in (beyond, inside)]
    (value, slope), (expected, there) = map(of_bias, pairs)
    np.testing.assert_allclose(value, expected, rtol=1e-6)
    for found, wanted in zip(*map(jax.tree.leaves, (slope, there)), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-5)
        assert np.all(found != 0)


# transformers' T5Attention._relative_position_bucket, bidirectional=False, read off its
# formula: distances 0..15 have a bucket each, 128 and more share the last.
T5_BUCKETS = {0: 0, 15: 15, 16: 16, 18: 16, 19: 17, 32: 21, 64: 26, 112: 30, 113: 31}
T5_BUCKETS |= {128: 31, 5000: 31, 2**30: 31}


def test_t5_buckets_are_those_of_its_formula():
    distances = list(T5_BUCKETS)
    keys = [2**30 - distance for distance in distances]
    found = logits(learned("t5"), 2, 2**30, keys)
    expected = 2 * np.array([T5_BUCKETS[d] for d in distances])
    np.testing.assert_array_equal(found, [expected, expected + 1])


def test_t5_buckets_begin_exactly_where_the_ratio_says():
    """16 * 16**(4/16) is 32: float32 logarithms put it one bucket too low or not."""
    buckets = t5_buckets(32, 256)
    starts = [int(np.argmax(buckets == 16 + k)) for k in (0, 4, 8, 12)]
    assert starts == [16, 32, 64, 128]
    assert buckets[-1] == 31 and np.all(np.diff(buckets) >= 0)


@pytest.mark.parametrize("name", LEARNED)
def test_learned_biases_see_one_token_a_billion_tokens_in(name):
    far = 2**30
    near = logits(learned(name), 2, 5, [5, 4, 2])
    assert len(np.unique(near[0])) == 3
    found = logits(learned(name), 2, far + 5, [far + 5, far + 4, far + 2])
    np.testing.assert_array_equal(found, near)


def test_a_learned_logic_can_be_mapped_over_what_it_learned():
    logics = [learned("kerple_log", a_H=[a, 1.0]) for a in (0.25, 0.5, 1.0)]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *logics)
    q, keys = jnp.zeros((1, 1, 2, 4)), np.array([1, 3], np.int32)

    def run(logic):
        return logic(q, q.repeat(2, 1), np.array([9], np.int32), keys)

    found = jax.vmap(run)(stacked)
    np.testing.assert_allclose(found, [run(logic) for logic in logics], rtol=1e-6)


def test_the_number_of_heads_is_checked_for_learned_biases_too():
    with pytest.raises(ValueError, match="num_heads 2.*4 heads"):
        logits(learned("t5"), 4, 3, [0, 1])


def test_biases_of_two_kinds_never_share_a_compiled_program():
    """jit takes structures that compare equal for the same program."""
    structures = [
        jax.tree.structure(position_logic(name, head_dim=8, num_heads=4))
        for name in ("alibi", "kerple_log", "kerple_power", "t5", "fire")
    ]
    for n, one in enumerate(structures):
        assert all(one != other for other in structures[n + 1 :])
