"""Encodings of several bands: near keys at their distance, far ones at another.

Each function is what a row of the catalogue points to: it takes a `Setting` and its own
options, and returns bands.
"""

from __future__ import annotations

import dataclasses
import math

from rope_lab import rotary
from rope_lab.logic.bands import Band, Unkeyed
from rope_lab.logic.maps import PositionMap, constant
from rope_lab.logic.options import (
    LARGEST_WHOLE,
    require_above_0,
    require_whole,
    require_window_in_training,
)
from rope_lab.logic.setting import Setting


def rerope(setting: Setting, *, window, train_length=None, frequencies=None):
    """min(i - j, window) tokens (kexue.fm 9708)."""
    window = require_whole(setting.name, "window", window)
    require_window_in_training(setting.name, window, train_length)
    turning = setting.plain_or(frequencies)
    return (
        Band(turning, first_key=PositionMap(shift=1 - window)),
        Band(
            turning,
            alpha=constant(window),
            beta=constant(0),
            last_key=PositionMap(shift=-window),
        ),
    )


def leaky_rerope(
    setting: Setting,
    *,
    window,
    step,
    train_length=None,
    length=None,
    frequencies=None,
):
    """i - j up to the window, then 1/step a token more (kexue.fm 9708)."""
    window = require_whole(setting.name, "window", window)
    require_above_0(setting.name, "step", step)
    require_window_in_training(setting.name, window, train_length)
    if length is not None and train_length is None:
        raise ValueError(
            f"{setting.name}: length only checks the reach against train_length; give "
            "both or neither"
        )
    if length is not None:
        length = require_whole(setting.name, "length", length)
        farthest = window + (length - 1 - window) / step
        if farthest > train_length:
            raise ValueError(
                f"{setting.name}: at length {length} the farthest key stands at "
                f"{farthest:.1f} tokens, beyond train_length {train_length}: use a "
                "larger step or a smaller window"
            )
    turning = setting.plain_or(frequencies)
    # (i - j) / step + window (1 - 1/step), in units of 1/step tokens.
    shift = window * (step - 1)
    if shift > LARGEST_WHOLE:
        raise ValueError(
            f"{setting.name}: window {window} times step {step} is beyond all int32 "
            "positions; use a smaller step or window"
        )
    return (
        Band(turning, first_key=PositionMap(shift=1 - window)),
        Band(
            rotary.scaled_down(turning, step),
            alpha=PositionMap(shift=math.floor(shift)),
            last_key=PositionMap(shift=-window),
            offset=shift - math.floor(shift),
            unit=Unkeyed(1.0 / step),
        ),
    )


def self_extend(
    setting: Setting, *, window, group, train_length=None, frequencies=None
):
    """i - j up to the window, then positions // group (arXiv 2401.01325)."""
    window = require_whole(setting.name, "window", window)
    group = require_whole(setting.name, "group", group)
    require_window_in_training(setting.name, window, train_length)
    turning = setting.plain_or(frequencies)
    return (
        Band(turning, first_key=PositionMap(shift=1 - window)),
        Band(
            turning,
            alpha=PositionMap(divide=group, shift=window - window // group),
            beta=PositionMap(divide=group),
            last_key=PositionMap(shift=-window),
        ),
    )


def dual_chunk(
    setting: Setting,
    *,
    chunk_length,
    local_window,
    train_length=None,
    frequencies=None,
):
    """Keys by their place in a chunk, queries in three bands (arXiv 2402.17463)."""
    chunk = require_whole(setting.name, "chunk_length", chunk_length)
    local = require_whole(setting.name, "local_window", local_window)
    if local > chunk:
        raise ValueError(
            f"{setting.name}: local_window {local} exceeds chunk_length {chunk}; "
            "2402.17463 uses a fifth of it"
        )
    farthest = chunk + local
    if train_length is not None and farthest > train_length:
        raise ValueError(
            f"{setting.name}: chunk_length {chunk} + local_window {local} is the "
            f"farthest distance seen, beyond train_length {train_length}; three "
            "quarters of train_length works best"
        )
    turning = setting.plain_or(frequencies)
    inside = PositionMap(modulus=chunk)
    begin = PositionMap(divide=chunk, multiply=chunk)  # of the query's chunk

    def before(tokens: int) -> PositionMap:
        return dataclasses.replace(begin, shift=-tokens)

    return (
        Band(turning, alpha=inside, beta=inside, first_key=begin),
        Band(
            turning,
            alpha=dataclasses.replace(inside, shift=chunk, limit=farthest),
            beta=inside,
            first_key=before(chunk),
            last_key=before(1),
        ),
        Band(
            turning, alpha=constant(farthest), beta=inside, last_key=before(chunk + 1)
        ),
    )
