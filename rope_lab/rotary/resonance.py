"""Resonance RoPE: whole wavelengths, and what a plane has seen in training."""

from __future__ import annotations

import numpy as np

from rope_lab.rotary import exact
from rope_lab.rotary.planes import Frequencies, make_frequencies, wavelengths64


def resonance(frequencies: Frequencies) -> Frequencies:
    """Round every wavelength to a whole number of tokens, at least 1.

    A plane that completed a turn in training then repeats the same angles for ever
    (arXiv 2403.00071, Algorithm 1, Theorem 1). It applies to every plane, also to those
    beyond the critical dimension, and after scaling: ``resonance(yarn(...))``. Planes
    that do not turn stay so; logit_scale is kept. Half-way cases go to the even number.
    Exact for wavelengths below 2**24 tokens.
    """
    high, low = frequencies.angular, frequencies.angular_low
    if exact.is_traced(high, low, frequencies.logit_scale):
        high, low = exact.whole_wavelengths(high, low)
        return Frequencies(high, low, frequencies.logit_scale)
    wavelengths = np.maximum(np.rint(wavelengths64(frequencies)), 1.0)  # inf stays
    return make_frequencies(2 * np.pi / wavelengths, frequencies.logit_scale)


def critical_dimension(frequencies: Frequencies, train_length: float) -> int:
    """The first plane whose wavelength is at least `train_length` tokens; P if none.

    Planes before it completed a turn in training (arXiv 2403.00071, section 3.2).
    Host only: raises ValueError for traced frequencies.
    """
    if exact.is_traced(frequencies.angular, frequencies.angular_low, train_length):
        raise ValueError(
            "critical_dimension returns a Python integer and cannot be traced: call it "
            "outside jit, vmap and grad"
        )
    # A pair of float32 holds a whole wavelength to 2**-48, perhaps from below.
    slow = wavelengths64(frequencies) >= train_length * (1 - 1e-12)
    return int(np.argmax(slow)) if slow.any() else frequencies.planes
