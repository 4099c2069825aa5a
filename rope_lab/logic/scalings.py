"""Encodings of one band, which differ in their frequencies only.

Each function is what a row of the catalogue points to: it takes a `Setting` and its own
options, and returns bands.
"""

from __future__ import annotations

from collections.abc import Callable

from rope_lab import rotary
from rope_lab.logic.bands import Band, Unkeyed
from rope_lab.logic.options import target_scale
from rope_lab.logic.setting import Setting
from rope_lab.rotary import Frequencies


def rope(setting: Setting, *, frequencies=None):
    return (Band(setting.plain_or(frequencies)),)


def interpolated(setting: Setting, *, scale=None, train_length=None, length=None):
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
    scale = target_scale(setting.name, scale, train_length, length)
    frequencies = rotary.ntk_mixed(setting.head_dim, setting.base, scale, exponent)
    return (Band(setting.finish(frequencies)),)


def dynamic_ntk(setting: Setting, *, train_length, length, scale=1.0):
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
    frequencies = rotary.partial(setting.head_dim, setting.base, fraction)
    return (Band(setting.finish(frequencies)),)


def p_rope(setting: Setting, *, fraction=None, train_length=None):
    if fraction is not None and setting.log_n != "off":
        train_length = None  # it belongs to log n
    frequencies = rotary.p_rope(setting.head_dim, setting.base, fraction, train_length)
    return (Band(setting.finish(frequencies)),)


def nope(setting: Setting):
    return (Band(rotary.unrotated()),)
