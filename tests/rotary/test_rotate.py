"""Angles at long positions, and the rotation itself in both layouts."""

import math

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl.testing import parameterized

import oracle
from rope_lab import rotary

MILLION = 2**20
POSITIONS = np.array(
    [0, 1, 2, 4095, 65_537, MILLION - 1, MILLION, MILLION + 1, -1, -77, -MILLION],
    np.int32,
)
LISTS = {"short_factors": (1.0,) * 32, "long_factors": tuple(np.linspace(1, 9, 32))}
CASES = [
    ("rope", {}),
    ("rope", {"base": 5e5}),
    ("interpolated", {"scale": 3.7}),
    ("ntk_aware", {"scale": 8.0}),
    ("ntk_mixed", {"scale": 8.0}),
    ("dynamic_ntk", {"train_length": 4096, "length": 9000}),
    ("yarn", {"scale": 16.0, "train_length": 4096}),
    ("llama3", {"scale": 8.0, "train_length": 8192}),
    ("longrope", {"scale": 8.0, "train_length": 64, "length": 512} | LISTS),
    ("partial", {"head_dim": 128, "fraction": 0.5}),
    ("p_rope", {"fraction": 0.5}),
]


def build(name, options):
    return getattr(rotary, name)(**({"head_dim": 64, "base": 1e4} | options))


def total(frequencies):
    high, low = frequencies.angular, frequencies.angular_low
    return np.asarray(high, np.float64) + np.asarray(low, np.float64)


class AnglesTest(chex.TestCase):
    """float64 holds position * frequency here: 2^20 radians to 1e-10."""

    @chex.variants(with_jit=True, without_jit=True)
    @parameterized.named_parameters(
        (f"{name}_{number}", name, options)
        for number, (name, options) in enumerate(CASES)
    )
    def test_angles_are_right_to_a_millionth_at_a_million(self, name, options):
        frequencies = build(name, options)
        found = self.variant(lambda n: rotary.angles(n, build(name, options)))(
            POSITIONS
        )
        chex.assert_type(found, jnp.float32)
        angular, _ = oracle.frequencies(name, **({"head_dim": 64} | options))
        chex.assert_shape(found, (len(POSITIONS), len(angular)))
        for theta in (angular, total(frequencies)):
            exact = POSITIONS[:, None].astype(np.float64) * theta
            assert np.max(oracle.turn_difference(found, exact)) < 1e-6

    @chex.variants(with_jit=True, without_jit=True)
    def test_float32_frequencies_are_the_definition_when_traced(self):
        base = float(np.float32(12_345.6))

        def traced(n, base):
            frequencies = rotary.yarn(64, base, 8.0, 4096)
            return rotary.angles(n, frequencies), frequencies

        found, frequencies = self.variant(traced)(POSITIONS, base)
        exact = POSITIONS[:, None].astype(np.float64) * total(frequencies)
        assert np.max(oracle.turn_difference(found, exact)) < 1e-6

    @chex.variants(with_jit=True, without_jit=True)
    def test_frequencies_passed_as_an_argument_give_the_same_angles(self):
        frequencies = rotary.rope(64)
        found = self.variant(rotary.angles)(POSITIONS, frequencies)
        exact = POSITIONS[:, None].astype(np.float64) * oracle.rope(64, 1e4)[0]
        assert np.max(oracle.turn_difference(found, exact)) < 1e-6


def test_a_float32_product_would_fail_the_same_bound():
    """The bound is worth something: the usual way is off by more than 5e-3."""
    theta = oracle.rope(64, 1e4)[0]
    usual = np.float32(MILLION + 1) * theta.astype(np.float32)
    assert np.max(oracle.turn_difference(usual, (MILLION + 1) * theta)) > 5e-3


def test_angles_stay_within_one_turn():
    found = np.asarray(rotary.angles(POSITIONS, rotary.rope(64)))
    assert np.max(np.abs(found)) <= 2 * math.pi + 1e-6


def test_random_positions_and_head_dims_up_to_the_largest_promise():
    rng = np.random.default_rng(0)
    for head_dim in (4, 94, 256):
        base = float(rng.uniform(100, 1e6))
        positions = rng.integers(-(2**24), 2**24, 50).astype(np.int32)
        frequencies = rotary.rope(head_dim, base)
        found = jax.jit(rotary.angles)(positions, frequencies)
        exact = positions[:, None].astype(np.float64) * total(frequencies)
        assert np.max(oracle.turn_difference(found, exact)) < 1e-6


def test_positions_may_have_any_shape():
    positions = np.arange(12, dtype=np.int32).reshape(2, 3, 2) * 99_991
    angles = jax.jit(rotary.angles)
    found = angles(positions, rotary.rope(8))
    chex.assert_shape(found, (2, 3, 2, 4))
    flat = angles(positions.reshape(-1), rotary.rope(8))
    np.testing.assert_array_equal(found.reshape(12, 4), flat)


def test_the_slope_of_an_angle_in_its_frequency_is_the_position():
    frequencies = rotary.rope(8)
    positions = np.array([0, 3, 1000, MILLION, -50], np.int32)
    slope = jax.jit(jax.jacobian(lambda f: rotary.angles(positions, f)))(frequencies)
    expected = positions[:, None, None] * np.eye(4)
    np.testing.assert_allclose(slope.angular, expected, 1e-6)
    np.testing.assert_allclose(slope.angular_low, expected, 1e-6)


def test_cosines_and_sines_are_those_of_the_angle():
    angles = np.linspace(-20.0, 20.0, 200_001, dtype=np.float32)
    cosines, sines = jax.jit(rotary.cos_sin)(angles)
    np.testing.assert_allclose(cosines, np.cos(np.float64(angles)), atol=2e-7)
    np.testing.assert_allclose(sines, np.sin(np.float64(angles)), atol=2e-7)
    _, slopes = jax.jvp(rotary.cos_sin, (angles,), (np.ones_like(angles),))
    np.testing.assert_array_equal(slopes[1], rotary.cos_sin(angles)[0])
    np.testing.assert_array_equal(slopes[0], -rotary.cos_sin(angles)[1])


def test_angles_can_be_mapped_over_frequencies():
    bases = np.array([1e3, 1e4], np.float32)
    stacked = jax.vmap(lambda base: rotary.rope(8, base))(bases)
    found = jax.jit(jax.vmap(rotary.angles, (None, 0)))(POSITIONS, stacked)
    exact = POSITIONS[None, :, None].astype(np.float64) * total(stacked)[:, None]
    assert np.max(oracle.turn_difference(found, exact)) < 1e-6


@pytest.mark.parametrize("dtype", [np.float32, jnp.bfloat16])
def test_positions_that_are_not_integers_are_refused(dtype):
    with pytest.raises(ValueError, match="integer"):
        rotary.angles(jnp.arange(4, dtype=dtype), rotary.rope(8))


# The rotation.


def vectors(*shape):
    return np.random.default_rng(7).normal(size=shape).astype(np.float32)


def pairs(layout, planes):
    """(first, second) dimension of every plane."""
    plane = np.arange(planes)
    return (plane, plane + planes) if layout == "half" else (2 * plane, 2 * plane + 1)


class RotateTest(chex.TestCase):
    @chex.variants(with_jit=True, without_jit=True)
    @parameterized.product(layout=["half", "interleaved"], planes=[1, 3, 4])
    def test_each_plane_turns_by_its_angle_and_the_rest_passes(self, layout, planes):
        x, angles = vectors(5, 8), vectors(5, planes) * 3
        found = self.variant(lambda x, a: rotary.rotate(x, a, layout))(x, angles)
        expected = x.astype(np.float64)
        first, second = pairs(layout, planes)
        cos, sin = np.cos(angles.astype(np.float64)), np.sin(angles.astype(np.float64))
        expected[:, first] = x[:, first] * cos - x[:, second] * sin
        expected[:, second] = x[:, second] * cos + x[:, first] * sin
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(found[:, 2 * planes :], x[:, 2 * planes :])

    @parameterized.parameters("half", "interleaved")
    def test_lengths_do_not_change(self, layout):
        x = vectors(3, 64)
        angles = rotary.angles(np.array([1, 777, MILLION], np.int32), rotary.rope(64))
        found = rotary.rotate(x, angles, layout)
        np.testing.assert_allclose(
            np.linalg.norm(found, axis=-1), np.linalg.norm(x, axis=-1), 1e-6
        )

    @parameterized.product(
        layout=["half", "interleaved"], shift=[5, 4096, MILLION], planes=[16, 8]
    )
    def test_scores_depend_on_the_distance_only(self, layout, shift, planes):
        q, k = vectors(2, 32)
        frequencies = rotary.rope(2 * planes)

        positions = np.array([[40, 11], [40 + shift, 11 + shift]], np.int32)
        twice = np.stack([np.stack([q, k])] * 2)

        @jax.jit
        def scores():
            turned = rotary.rotate(twice, rotary.angles(positions, frequencies), layout)
            return (turned[:, 0] * turned[:, 1]).sum(-1)

        theta, _ = oracle.rope(2 * planes, 1e4)
        expected = oracle.rotary_score(
            q.astype(np.float64), k.astype(np.float64), (40 - 11) * theta, layout
        )
        np.testing.assert_allclose(scores(), [expected, expected], atol=2e-5)


def test_half_is_the_default_layout():
    x, angles = vectors(2, 8), vectors(2, 4)
    chex.assert_trees_all_equal(
        rotary.rotate(x, angles), rotary.rotate(x, angles, "half")
    )


def test_the_layouts_differ_by_a_permutation_of_dimensions():
    x, angles = vectors(2, 8), vectors(2, 4)
    order = np.array([0, 2, 4, 6, 1, 3, 5, 7])
    half = rotary.rotate(x[:, order], angles, "half")
    interleaved = rotary.rotate(x, angles, "interleaved")
    np.testing.assert_allclose(half, np.asarray(interleaved)[:, order], 1e-6)


def test_a_bfloat16_vector_is_rotated_by_float32_angles():
    """The result is rounded once: it is the float32 rotation cast at the end."""
    x = jnp.asarray(vectors(3, 64), jnp.bfloat16)
    angles = rotary.angles(np.array([9, 40_001, MILLION], np.int32), rotary.rope(64))
    found = rotary.rotate(x, angles)
    chex.assert_type(found, jnp.bfloat16)
    exact = rotary.rotate(x.astype(jnp.float32), angles)
    np.testing.assert_allclose(found.astype(jnp.float32), exact, rtol=2**-8, atol=1e-6)


@pytest.mark.parametrize(
    ("planes", "layout", "word"), [(4, "neox", "layout"), (5, "half", "plane|dim")]
)
def test_an_unknown_layout_or_too_many_planes_raise(planes, layout, word):
    with pytest.raises(ValueError, match=word):
        rotary.rotate(vectors(2, 8), vectors(2, planes), layout)
