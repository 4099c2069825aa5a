"""How far angles beyond the training length are from every angle seen in training."""

from __future__ import annotations

import numpy as np

from rope_lab.rotary import exact
from rope_lab.rotary.planes import Frequencies, wavelengths64

_LEAVES = ("angular", "angular_low")
_WHOLE = 1e-12  # relative; a pair of float32 holds a whole wavelength to 2**-48


def feature_gap(
    frequencies: Frequencies,
    train_length: int,
    length: int,
    trained: Frequencies | None = None,
) -> np.ndarray:
    """How far the farthest angle beyond training is from its nearest trained one.

    gap_i = max over L <= n < L' of min over 0 <= m < L of the distance between
    exp(j n theta_i) and exp(j m theta'_i) on the unit circle, in float64: 0 where every
    angle returns, 2 where one lies opposite to all. It is the feature gap of arXiv
    2403.00071, section 3.2, as a distance on the circle, which does not depend on query
    and key.

    Args:
      frequencies: theta of P planes, those that positions are read with.
      train_length: L, tokens.
      length: L', tokens, above L.
      trained: theta' of the P planes in training, where others; by default the same.

    Returns:
      float64[P]. A plane that rests has gap 0.

    Raises:
      ValueError: traced frequencies, another number of planes, or length <= L.
    """
    trained = frequencies if trained is None else trained
    _check(frequencies, train_length, length, trained)
    pairs = zip(wavelengths64(frequencies), wavelengths64(trained), strict=True)
    seen, unseen = np.arange(train_length), np.arange(train_length, length)
    return np.array([_gap(_turns(unseen, w), _turns(seen, v)) for w, v in pairs])


def _turns(positions: np.ndarray, wavelength: float) -> np.ndarray:
    """Angles as fractions of a turn, in [0, 1); exact for whole wavelengths."""
    if np.isinf(wavelength):
        return np.zeros(len(positions))
    whole = np.rint(wavelength)
    if abs(wavelength - whole) <= _WHOLE * wavelength:
        wavelength = whole
    return np.mod(positions, wavelength) / wavelength


def _gap(unseen: np.ndarray, seen: np.ndarray) -> float:
    """The largest chord from a turn in `unseen` to its neighbour in `seen`."""
    ordered = np.sort(seen)
    above = np.searchsorted(ordered, unseen)
    sides = ordered[np.stack([above - 1, above % len(ordered)])]
    apart = np.abs(sides - unseen)
    nearest = np.minimum(apart, 1 - apart).min(axis=0)
    return float(2 * np.sin(np.pi * nearest.max()))


def _check(frequencies, train_length, length, trained) -> None:
    leaves = [getattr(f, a) for f in (frequencies, trained) for a in _LEAVES]
    if exact.is_traced(*leaves):
        raise ValueError(
            "feature_gap computes in float64 on the host and cannot be traced: call it "
            "outside jit, vmap and grad"
        )
    if frequencies.planes != trained.planes:
        raise ValueError(
            f"frequencies has {frequencies.planes} planes and trained "
            f"{trained.planes}; a gap needs the same planes"
        )
    if not 1 <= train_length < length:
        raise ValueError(
            f"train_length is {train_length} and length {length}; expected "
            "1 <= train_length < length, or no position lies beyond training"
        )
