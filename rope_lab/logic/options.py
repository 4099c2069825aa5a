"""The options that every encoding has, and the checks that several share.

Every message says what was given, what was expected and what to change.
"""

from __future__ import annotations

import difflib
import math
from typing import Any

import numpy as np

from rope_lab.rotary.exact import is_traced

DEFAULT_BASE = 10_000.0
LARGEST_WHOLE = 2**31 - 1  # positions and what is added to them are int32
SHARED_DEFAULTS = {
    "resonance": False,
    "log_n": "off",
    "log_n_minimum": 1,
    "train_length": None,
    "sliding_window": None,
    "softmax_scale": None,
    "layout": "half",
}


def check_shared(
    name: str, head_dim: int, base: float, shared: dict, rotates: bool
) -> None:
    """Refuse shared options that are wrong, or mean nothing for this name."""
    log_n, train_length = shared["log_n"], shared["train_length"]
    if not isinstance(head_dim, int | np.integer) or head_dim < 2 or head_dim % 2:
        raise ValueError(
            f"head_dim must be an even whole number, at least 2, got {head_dim!r}: a "
            "plane of rotation is a pair of dimensions"
        )
    if not isinstance(shared["resonance"], bool):
        raise ValueError(f"resonance is True or False, got {shared['resonance']!r}")
    softmax_scale = shared["softmax_scale"]
    if softmax_scale is not None and not _above_0(softmax_scale):
        raise ValueError(
            f"softmax_scale must be a plain number above 0, got {softmax_scale!r}; "
            "None is 1 / sqrt(head_dim)"
        )
    if log_n not in ("off", "test", "train"):
        raise ValueError(f"log_n must be 'off', 'test' or 'train', got {log_n!r}")
    if shared["layout"] not in ("half", "interleaved"):
        raise ValueError(
            f"layout must be 'half' or 'interleaved', got {shared['layout']!r}"
        )
    for key in ("sliding_window", "train_length", "log_n_minimum"):
        if shared[key] is not None or SHARED_DEFAULTS[key] is not None:
            require_whole(name, key, shared[key])
    if log_n == "off" and shared["log_n_minimum"] != 1:
        raise ValueError("log_n_minimum means nothing with log_n='off'")
    if log_n != "off" and (train_length is None or train_length < 2):
        raise ValueError(
            f"log_n={log_n!r} needs train_length, the tokens a training sequence had "
            f"(at least 2), got {train_length}"
        )
    if not rotates:
        for key, value in (("resonance", False), ("layout", "half")):
            if shared[key] != value:
                raise ValueError(f"{name} rotates nothing: {key} means nothing here")
        if base != DEFAULT_BASE:
            raise ValueError(f"{name} rotates nothing: base means nothing here")


def target_scale(name: str, scale, train_length, length) -> float:
    """scale as given, or length / train_length; refuses a contradiction."""
    if length is not None and not is_traced(length):
        require_whole(name, "length", length)
    if scale is None:
        if train_length is None or length is None:
            raise ValueError(
                f"{name} needs scale (target length / train length), or train_length "
                "and length"
            )
        return length / train_length
    if length is not None and train_length is None:
        raise ValueError(
            f"{name}: length means nothing beside scale without train_length; leave "
            "length out, or give train_length in place of scale"
        )
    if length is None or is_traced(scale):
        return scale
    if not math.isclose(scale, length / train_length, rel_tol=1e-6):
        raise ValueError(
            f"{name}: scale {scale} disagrees with length / train_length = "
            f"{length} / {train_length} = {length / train_length:g}; drop one of the "
            "three"
        )
    return scale


def require_window_in_training(name: str, window: int, train_length) -> None:
    """Refuse a window of untrained positions."""
    if train_length is not None and window > train_length:
        raise ValueError(
            f"{name}: window {window} exceeds train_length {train_length}, so the "
            "window itself holds untrained positions; a quarter to a half of "
            "train_length works best"
        )


def require_whole(name: str, option: str, value: Any) -> int:
    """The value as an int of at least 1 that int32 holds."""
    number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
    if not number or not 1 <= value <= LARGEST_WHOLE or int(value) != value:
        raise ValueError(
            f"{name} needs {option} as a whole number, at least 1 and below 2**31, got "
            f"{value!r}"
        )
    return int(value)


def require_above_0(name: str, option: str, value: Any) -> float:
    """The value, a finite plain number above 0."""
    if not _above_0(value):
        raise ValueError(
            f"{name} needs {option} as a plain number above 0, got {value!r}"
        )
    return value


def _above_0(value: Any) -> bool:
    number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
    return number and 0 < value < math.inf


def hint(name: str, known) -> str:
    """ " (did you mean ...?)" where a known name is close, else nothing."""
    close = difflib.get_close_matches(name, list(known), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""
