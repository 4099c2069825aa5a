"""Whole wavelengths, the critical dimension, and the exactness both are for."""

import math
from collections import Counter

import chex
import jax
import numpy as np
import pytest

import oracle
from rope_lab import rotary

ONE_TURN = 2 * math.pi


def total(frequencies):
    high, low = frequencies.angular, frequencies.angular_low
    return np.asarray(high, np.float64) + np.asarray(low, np.float64)


def whole_wavelengths(frequencies):
    """Wavelengths as integers, after checking that they are integers."""
    found = ONE_TURN / total(frequencies)
    np.testing.assert_allclose(found, np.round(found), 1e-12)
    return [round(wavelength) for wavelength in found]


@pytest.mark.parametrize("head_dim", [4, 30, 64, 128, 256])
@pytest.mark.parametrize("base", [123.0, 1e4, 5e5])
def test_wavelengths_become_the_nearest_whole_number(head_dim, base):
    found = rotary.resonance(rotary.rope(head_dim, base))
    reference = oracle.resonance(oracle.rope(head_dim, base)[0])
    np.testing.assert_allclose(total(found), reference, 1e-12)
    np.testing.assert_allclose(found.angular, reference, 1e-6)
    whole_wavelengths(found)


def test_resonance_under_jit_with_a_traced_base_agrees_with_float64():
    base = float(np.float32(23_456.7))
    found = jax.jit(lambda base: rotary.resonance(rotary.rope(64, base)))(base)
    reference = oracle.resonance(oracle.rope(64, base)[0])
    np.testing.assert_allclose(total(found), reference, 1e-6)


def test_first_wavelengths_are_those_of_the_paper():
    """2403.00071: 2 pi becomes 6, and 14.90, 19.87, 62.83 round up, not down."""
    rounded = whole_wavelengths(rotary.resonance(rotary.rope(64)))
    assert rounded[:10] == [6, 8, 11, 15, 20, 26, 35, 47, 63, 84]


@pytest.mark.parametrize(
    ("head_dim", "twice"), [(64, []), (128, []), (256, [7, 8, 10])]
)
def test_only_the_large_head_has_planes_of_equal_wavelength(head_dim, twice):
    rounded = whole_wavelengths(rotary.resonance(rotary.rope(head_dim)))
    counts = Counter(rounded)
    assert sorted(w for w, count in counts.items() if count > 1) == twice
    assert max(counts.values()) <= 2


def test_joint_period_of_llama2_is_the_papers_number():
    """2403.00071: 46 planes turn within 4096 tokens; together only after 7e51."""
    rounded = whole_wavelengths(rotary.resonance(rotary.rope(128)))
    within = [wavelength for wavelength in rounded if wavelength < 4096]
    assert len(within) == 46
    assert math.lcm(*within) == pytest.approx(7.058e51, rel=1e-4)


def test_scaling_comes_before_rounding():
    scaled = rotary.interpolated(64, 1e4, 3.7)
    reference, _ = oracle.interpolated(64, 1e4, 3.7)
    np.testing.assert_allclose(
        total(rotary.resonance(scaled)), oracle.resonance(reference), 1e-12
    )
    other_order = oracle.resonance(oracle.rope(64, 1e4)[0]) / 3.7
    assert np.max(np.abs(total(rotary.resonance(scaled)) / other_order - 1)) > 1e-3


def test_wavelengths_below_half_a_token_become_one_token():
    fast = rotary.interpolated(8, 1e4, 1 / 40)
    assert whole_wavelengths(rotary.resonance(fast))[0] == 1


def test_planes_that_do_not_turn_stay_so():
    kept = rotary.p_rope(64, 1e4, fraction=0.5)
    found = rotary.resonance(kept)
    np.testing.assert_array_equal(total(found)[16:], np.zeros(16))
    assert np.all(np.isfinite(total(found)))
    slope = jax.grad(lambda f: rotary.resonance(f).angular.sum())(kept)
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(slope))


def test_the_logit_scale_of_yarn_is_kept():
    yarn = rotary.yarn(64, 1e4, 8.0, 64)
    assert float(rotary.resonance(yarn).logit_scale) == float(yarn.logit_scale)
    assert float(yarn.logit_scale) == pytest.approx(1.207944**2, rel=1e-6)


def test_resonance_of_resonance_is_resonance():
    once = rotary.resonance(rotary.yarn(64, 1e4, 8.0, 64))
    chex.assert_trees_all_close(rotary.resonance(once), once, rtol=1e-7)


@pytest.mark.parametrize("name", ["yarn", "llama3", "ntk_aware", "dynamic_ntk"])
def test_resonance_of_a_scaling_equals_the_formula(name):
    options = {"scale": 4.0}
    if name != "ntk_aware":
        options["train_length"] = 128
    if name == "dynamic_ntk":
        options["length"] = 500
    found = rotary.resonance(getattr(rotary, name)(64, 1e4, **options))
    reference, _ = oracle.frequencies(name, 64, resonance=True, **options)
    np.testing.assert_allclose(total(found), reference, 1e-12)


# Exactness: what whole wavelengths are for.


class PeriodicityTest(chex.TestCase):
    @chex.variants(with_jit=True, without_jit=True)
    def test_angles_near_two_to_the_24_are_those_of_the_remainder(self):
        frequencies = rotary.resonance(rotary.rope(64))
        wavelengths = np.array(whole_wavelengths(frequencies), np.int64)
        positions = 2**24 - np.array([1, 2, 1000, 54_321], np.int32)
        positions = np.concatenate([positions, -positions])
        found = self.variant(lambda n: rotary.angles(n, frequencies))(positions)
        remainder = positions[:, None].astype(np.int64) % wavelengths
        assert (
            np.max(oracle.turn_difference(found, remainder * ONE_TURN / wavelengths))
            < 1e-6
        )

    @chex.variants(with_jit=True, without_jit=True)
    def test_an_angle_repeats_after_its_wavelength(self):
        frequencies = rotary.resonance(rotary.yarn(64, 1e4, 4.0, 1024))
        wavelengths = np.array(whole_wavelengths(frequencies), np.int32)
        starts = np.array([0, 7, 1234, 99_999], np.int32)[:, None]
        angles = self.variant(lambda n: rotary.angles(n, frequencies))
        plane = np.arange(32)
        for turns in (1, 3):
            later = starts + turns * wavelengths
            before = np.asarray(angles(np.broadcast_to(starts, later.shape).copy()))
            after = np.asarray(angles(later))
            gap = oracle.turn_difference(before, after)[:, plane, plane]
            assert np.max(gap) < 1e-6


# The critical dimension.


@pytest.mark.parametrize(
    ("head_dim", "train_length", "plane"), [(128, 4096, 46), (64, 64, 9), (128, 64, 17)]
)
def test_critical_dimension_is_the_first_plane_that_does_not_turn_once(
    head_dim, train_length, plane
):
    """2403.00071 section 6.1.1 prints 17 for d = 64, which is the number of d = 128."""
    frequencies = rotary.rope(head_dim)
    assert rotary.critical_dimension(frequencies, train_length) == plane


def test_critical_dimension_agrees_with_the_form_of_liu_et_al():
    """2 ceil(d/2 log_b(L / 2 pi)) = 92 dimensions for L = 4096."""
    liu = 2 * math.ceil(64 * math.log(4096 / ONE_TURN, 1e4))
    assert liu == 2 * rotary.critical_dimension(rotary.rope(128), 4096) == 92


def test_critical_dimension_is_the_number_of_planes_when_all_turn():
    assert rotary.critical_dimension(rotary.rope(8, 10.0), 10**6) == 4
    assert rotary.critical_dimension(rotary.rope(8), 1) == 0


def test_critical_dimension_sees_the_rounded_wavelengths():
    frequencies = rotary.resonance(rotary.rope(64))
    # Plane 8 has 63 tokens: equal to the training length is not within it.
    assert rotary.critical_dimension(frequencies, 63) == 8
    assert rotary.critical_dimension(frequencies, 64) == 9


def test_a_plane_without_rotation_is_critical():
    assert rotary.critical_dimension(rotary.p_rope(64, 1e4, fraction=0.25), 10**6) == 8
