"""Additive biases: slopes against the numbers of their paper, and distances."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rope_lab import position_logic

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
