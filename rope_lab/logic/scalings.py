"""Encodings of one band, which differ in their frequencies only.

Each function is what a row of the catalogue points to: it takes a `Setting` and its own
options, and returns bands.
"""

from __future__ import annotations

from collections.abc import Callable

from rope_lab import rotary
from rope_lab.logic.amplitude import Amplitude
from rope_lab.logic.bands import Band, Parts, Unkeyed
from rope_lab.logic.draws import PositionDraw
from rope_lab.logic.options import require_above_0, require_whole, target_scale
from rope_lab.logic.setting import Setting
from rope_lab.rotary import Frequencies


def rope(setting: Setting, *, frequencies=None):
    """One band, nothing scaled (arXiv 2104.09864)."""
    return (Band(setting.plain_or(frequencies)),)


def interpolated(setting: Setting, *, scale=None, train_length=None, length=None):
    """Positions over scale (arXiv 2306.15595)."""
    scale = target_scale(setting.name, scale, train_length, length)
    frequencies = rotary.interpolated(setting.head_dim, setting.base, scale)
    return (Band(setting.finish(frequencies), unit=Unkeyed(1.0 / scale)),)


def scaled(function: Callable[..., Frequencies]) -> Callable[..., tuple[Band, ...]]:
    """A builder for a method of (head_dim, base, scale)."""

    def build(setting: Setting, *, scale=None, train_length=None, length=None):
        scale = target_scale(setting.name, scale, train_length, length)
        frequencies = function(setting.head_dim, setting.base, scale)
        return (Band(setting.finish(frequencies)),)

    return build


def ntk_mixed(
    setting: Setting, *, scale=None, train_length=None, length=None, exponent=0.625
):
    """`rotary.ntk_mixed` (kexue.fm 9706)."""
    scale = target_scale(setting.name, scale, train_length, length)
    frequencies = rotary.ntk_mixed(setting.head_dim, setting.base, scale, exponent)
    return (Band(setting.finish(frequencies)),)


def dynamic_ntk(setting: Setting, *, train_length, length, scale=1.0):
    """`rotary.dynamic_ntk` for a text of `length` tokens in all."""
    frequencies = rotary.dynamic_ntk(
        setting.head_dim, setting.base, train_length, length, scale
    )
    return (Band(setting.finish(frequencies)),)


def yarn(
    setting: Setting,
    *,
    scale=None,
    train_length,
    length=None,
    beta_fast=32.0,
    beta_slow=1.0,
    truncate=True,
    ramp="index",
    logit_scale=None,
):
    """`rotary.yarn` (arXiv 2309.00071)."""
    frequencies = rotary.yarn(
        setting.head_dim,
        setting.base,
        target_scale(setting.name, scale, train_length, length),
        train_length,
        beta_fast,
        beta_slow,
        truncate,
        ramp,
        logit_scale,
    )
    return (Band(setting.finish(frequencies)),)


def llama3(
    setting: Setting,
    *,
    scale=None,
    train_length,
    length=None,
    low_freq_factor=1.0,
    high_freq_factor=4.0,
):
    """`rotary.llama3` (arXiv 2407.21783)."""
    frequencies = rotary.llama3(
        setting.head_dim,
        setting.base,
        target_scale(setting.name, scale, train_length, length),
        train_length,
        low_freq_factor,
        high_freq_factor,
    )
    return (Band(setting.finish(frequencies)),)


def longrope(
    setting: Setting,
    *,
    short_factors,
    long_factors,
    scale,
    train_length,
    length,
    logit_scale=None,
):
    """`rotary.longrope` (arXiv 2402.13753)."""
    frequencies = rotary.longrope(
        setting.head_dim,
        setting.base,
        short_factors,
        long_factors,
        scale,
        train_length,
        length,
        logit_scale,
    )
    return (Band(setting.finish(frequencies)),)


def partial(setting: Setting, *, fraction):
    """The first dims alone are rotated (GPT-J, GPT-NeoX)."""
    frequencies = rotary.partial(setting.head_dim, setting.base, fraction)
    return (Band(setting.finish(frequencies)),)


def p_rope(setting: Setting, *, fraction=None, train_length=None):
    """Slow planes stand still (arXiv 2410.06205, HoPE 2410.21216)."""
    if fraction is not None and setting.log_n != "off":
        train_length = None  # it belongs to log n
    frequencies = rotary.p_rope(setting.head_dim, setting.base, fraction, train_length)
    return (Band(setting.finish(frequencies)),)


def xpos(setting: Setting, *, scale_base=512):
    """RoPE whose planes decay with the distance (arXiv 2212.10554)."""
    require_above_0(setting.name, "scale_base", scale_base)  # tokens
    frequencies = setting.plain_or(None)
    amplitude = Amplitude(frequencies.planes, float(scale_base))
    return Parts((Band(frequencies),), amplitude=amplitude)


def randomized(setting: Setting, *, draw_from, at_test="drawn"):
    """RoPE at drawn positions (arXiv 2305.16843)."""
    if at_test not in ("drawn", "even"):
        raise ValueError(
            f"{setting.name}: at_test must be 'drawn' or 'even', got {at_test!r}"
        )
    for key, value, nothing in (
        ("log_n", setting.log_n, "off"),
        ("sliding_window", setting.sliding_window, None),
    ):
        if value != nothing:
            raise ValueError(
                f"{setting.name}: {key} counts keys by their positions, which have "
                f"gaps here; give {key}={nothing!r}"
            )
    draw = PositionDraw(require_whole(setting.name, "draw_from", draw_from), at_test)
    return Parts((Band(setting.plain_or(None)),), draw=draw)


def nope(setting: Setting):
    """One band that rotates nothing (arXiv 2305.19466)."""
    return (Band(rotary.unrotated()),)
