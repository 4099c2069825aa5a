"""Pure functions of rotary position encodings: frequencies, angles, matrices."""

from rope_lab.rotary.frequencies import (
    dynamic_ntk,
    interpolated,
    llama3,
    longrope,
    ntk_aware,
    ntk_fixed,
    ntk_mixed,
    ntk_old,
    p_rope,
    partial,
    rope,
    yarn,
)
from rope_lab.rotary.gaps import feature_gap
from rope_lab.rotary.planes import (
    Frequencies,
    make_frequencies,
    scaled_down,
    unrotated,
)
from rope_lab.rotary.relative import piecewise_relative
from rope_lab.rotary.resonance import critical_dimension, resonance
from rope_lab.rotary.rotate import angles, cos_sin, rotate, turn

__all__ = [
    "Frequencies",
    "angles",
    "cos_sin",
    "critical_dimension",
    "dynamic_ntk",
    "feature_gap",
    "interpolated",
    "llama3",
    "longrope",
    "make_frequencies",
    "ntk_aware",
    "ntk_fixed",
    "ntk_mixed",
    "ntk_old",
    "p_rope",
    "partial",
    "piecewise_relative",
    "resonance",
    "rope",
    "rotate",
    "scaled_down",
    "turn",
    "unrotated",
    "yarn",
]
