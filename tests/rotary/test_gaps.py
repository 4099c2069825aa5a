"""The feature gap against chords written out, and where theory knows it."""

import cmath
import math

import jax
import numpy as np
import pytest

import oracle
from rope_lab import rotary


def chords(angular, trained, train_length, length):
    """The definition, one complex number at a time."""
    gaps = []
    for new, old in zip(angular, trained, strict=True):
        seen = [cmath.exp(1j * m * old) for m in range(train_length)]
        unseen = [cmath.exp(1j * n * new) for n in range(train_length, length)]
        gaps.append(max(min(abs(u - s) for s in seen) for u in unseen))
    return gaps


@pytest.mark.parametrize(
    "name", ["rope", "interpolated", "ntk_aware", "resonance", "p_rope"]
)
def test_the_gap_is_the_largest_chord_to_the_nearest_trained_angle(name):
    plain = rotary.rope(16)
    made = {
        "rope": plain,
        "interpolated": rotary.interpolated(16, 1e4, 4),
        "ntk_aware": rotary.ntk_aware(16, 1e4, 4),
        "resonance": rotary.resonance(plain),
        "p_rope": rotary.p_rope(16, 1e4, fraction=0.5),
    }[name]
    angular = np.float64(made.angular) + np.float64(made.angular_low)
    trained = oracle.rope(16, 1e4)[0]
    for old, option in ((angular, None), (trained, plain)):
        found = rotary.feature_gap(made, 12, 50, option)
        np.testing.assert_allclose(found, chords(angular, old, 12, 50), atol=1e-9)


def test_plain_rope_has_the_gaps_computed_for_64_and_128_tokens():
    """Independent float64 values for d = 64, to four decimals."""
    found = rotary.feature_gap(rotary.rope(64), 64, 128)
    expected = {0: 0.0354, 1: 0.0796, 6: 0.0594, 8: 0.0336}
    assert {i: round(float(found[i]), 4) for i in expected} == expected


def test_resonance_leaves_no_gap_before_the_critical_dimension():
    """Theorem 1 of arXiv 2403.00071."""
    frequencies = rotary.resonance(rotary.rope(64))
    critical = rotary.critical_dimension(frequencies, 64)
    found = rotary.feature_gap(frequencies, 64, 128)
    assert critical == 9 and (found[:critical] < 2e-14).all()
    assert (found[critical:] > 1e-3).all()


def test_a_plane_of_half_a_turn_in_training_ends_opposite_to_it():
    """Wavelength 2 L: at 1.5 L the angle is a quarter turn from both ends."""
    frequencies = rotary.make_frequencies(np.array([2 * math.pi / 128]))
    (gap,) = rotary.feature_gap(frequencies, 65, 128)
    assert gap == pytest.approx(math.sqrt(2), abs=1e-12)


def test_exact_angles_hold_at_a_million_tokens():
    frequencies = rotary.resonance(rotary.rope(8))
    found = rotary.feature_gap(frequencies, 64, 2**20)
    np.testing.assert_array_equal(found[:2], 0.0)


@pytest.mark.parametrize(("train_length", "length"), [(0, 8), (8, 8), (9, 8)])
def test_lengths_without_positions_beyond_training_are_refused(train_length, length):
    with pytest.raises(ValueError, match="expected 1 <= train_length < length"):
        rotary.feature_gap(rotary.rope(8), train_length, length)


def test_other_planes_and_traced_frequencies_are_refused():
    with pytest.raises(ValueError, match="the same planes"):
        rotary.feature_gap(rotary.rope(8), 4, 8, rotary.rope(16))
    with pytest.raises(ValueError, match="outside jit"):
        jax.jit(lambda f: rotary.feature_gap(f, 4, 8))(rotary.rope(8))
