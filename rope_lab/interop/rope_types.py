"""Rope types of transformers 5, as specs of the catalogue.

`rope_parameters` is the newer spelling, `rope_scaling` with `rope_theta` beside it the
older one. Each type's function takes `Keys` and the lengths, and returns a spec
without base; `modeling_rope_utils` of transformers says what each key does.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from rope_lab import rotary
from rope_lab.interop.keys import LARGEST, Keys

Spec = dict[str, Any]
DEFAULT_BASE = 10_000.0
# The factor of a plane that stands still: angles below 1e-20 radians, in float32 too.
RESTING = 1e30


@dataclasses.dataclass(frozen=True)
class Dimensions:
    """What a rope type needs of the rest of the config."""

    head_dim: int
    max_length: int  # max_position_embeddings, tokens
    original_length: int | None  # that of the config itself, beside rope_parameters


def read_rope(keys: Keys, head_dim: int, max_length: int) -> Spec:
    """The spec that a config's keys about RoPE describe, with its base.

    dynamic, and longrope with two lists, lack `length`: frequencies for one total.

    Raises:
      ValueError: an unknown type, a key that the type does not read, values that
        disagree with each other.
    """
    inner = _parameters(keys)
    base = _agreeing(keys, inner, "rope_theta", DEFAULT_BASE)
    fraction = _agreeing(keys, inner, "partial_rotary_factor", 1.0, zero=True)
    kind = inner.text("rope_type", None)
    older = inner.text("type", None)
    if kind and older and kind != older:
        raise ValueError(f"{inner.place}: rope_type {kind!r}, but type {older!r}")
    kind = kind or older or "default"
    if kind not in TYPES:
        raise ValueError(
            f"{inner.place}: unknown rope type {kind!r}; known here: {', '.join(TYPES)}"
        )
    if fraction != 1.0 and kind != "proportional":
        raise ValueError(
            f"{keys.place}: partial_rotary_factor {fraction} with rope type {kind!r}: "
            "the code of this family rotates all dims regardless, or fails; remove it "
            "if the model was trained so"
        )
    original = keys.whole("original_max_position_embeddings", None)
    dimensions = Dimensions(head_dim, max_length, original)
    if kind == "proportional":
        spec = _proportional(inner, dimensions, base, fraction)
    else:
        spec = TYPES[kind](inner, dimensions)
    inner.ignore(["finetuned"])  # says whether, not how
    inner.finish()
    return spec | {"base": float(base)}


def _parameters(keys: Keys) -> Keys:
    newer = keys.take("rope_parameters", {})
    older = keys.take("rope_scaling", {})
    if newer and older and newer != older:
        raise ValueError(
            f"{keys.place}: rope_parameters {newer} and rope_scaling {older} disagree; "
            "remove one of them"
        )
    name = "rope_parameters" if newer else "rope_scaling"
    return Keys(newer or older, f"{keys.place}: {name}")


def _agreeing(keys: Keys, inner: Keys, key: str, default: float, zero=False) -> float:
    """A key that may stand inside, or beside, or both alike."""
    found = []
    for place in (inner, keys):
        if key not in place:
            continue
        value = place.take(key)
        found.append(value)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError(f"{place.place}: {key} must be a number, got {value!r}")
        if not 0 <= value <= LARGEST or (value == 0 and not zero):
            raise ValueError(f"{place.place}: {key} must be above 0, got {value!r}")
    if len(set(found)) > 1:
        raise ValueError(
            f"{inner.place} has {key} {found[0]}, but beside it stands {found[1]}: "
            "remove the wrong one"
        )
    return found[0] if found else default


def _default(keys: Keys, dims: Dimensions) -> Spec:
    return {"name": "rope"}


def _linear(keys: Keys, dims: Dimensions) -> Spec:
    return {"name": "interpolated", "scale": keys.number("factor")}


def _dynamic(keys: Keys, dims: Dimensions) -> Spec:
    """Grows from max_position_embeddings, whatever else a config calls original."""
    original = keys.whole("original_max_position_embeddings", dims.original_length)
    if original not in (None, dims.max_length):
        raise ValueError(
            f"{keys.place}: transformers scales dynamic from max_position_embeddings "
            f"{dims.max_length}, and original_max_position_embeddings is {original}: "
            "write the original length in both"
        )
    scale = keys.number("factor")
    return {"name": "dynamic_ntk", "train_length": dims.max_length, "scale": scale}


def _yarn(keys: Keys, dims: Dimensions) -> Spec:
    original = _original(keys, dims)
    scale = keys.number("factor", None)
    _check_lengths(keys, dims, original, scale)
    if scale is None:
        scale = dims.max_length / original
    mscale = keys.number("mscale", None)
    all_dim = keys.number("mscale_all_dim", None)
    if (mscale is None) != (all_dim is None):
        raise ValueError(
            f"{keys.place}: transformers reads mscale and mscale_all_dim together or "
            "not at all; give both, or attention_factor"
        )
    factor = keys.number("attention_factor", None)
    if factor is None:
        factor = _mscale(scale, mscale or 1.0) / (
            _mscale(scale, all_dim) if all_dim else 1.0
        )
    return {
        "name": "yarn",
        "scale": scale,
        "train_length": original,
        "beta_fast": keys.number("beta_fast", 32.0),
        "beta_slow": keys.number("beta_slow", 1.0),
        "truncate": keys.flag("truncate", True),
        "logit_scale": factor**2,
    }


def _mscale(scale: float, mscale: float) -> float:
    return 0.1 * mscale * math.log(scale) + 1.0 if scale > 1 else 1.0


def _llama3(keys: Keys, dims: Dimensions) -> Spec:
    return {
        "name": "llama3",
        "scale": keys.number("factor"),
        "train_length": _original(keys, dims),
        "low_freq_factor": keys.number("low_freq_factor"),
        "high_freq_factor": keys.number("high_freq_factor"),
    }


def _longrope(keys: Keys, dims: Dimensions) -> Spec:
    original = _original(keys, dims)
    short, long = (
        _factors(keys, name, dims.head_dim // 2)
        for name in ("short_factor", "long_factor")
    )
    scale = keys.number("factor", None)
    factor = keys.number("attention_factor", None)
    if factor is None:
        _check_lengths(keys, dims, original, scale)
    scale = dims.max_length / original if scale is None else scale
    if factor is None:
        factor = 1.0
        if scale > 1:
            factor = math.sqrt(1 + math.log(scale) / math.log(original))
    for name in ("short_mscale", "long_mscale"):  # vLLM's names of the same factor
        keys.require(name, (factor,), f"attention_factor is {factor}")
    return {
        "name": "longrope",
        "short_factors": short,
        "long_factors": long,
        "scale": scale,
        "train_length": original,
        "logit_scale": factor**2,
        **({"length": original} if short == long else {}),
    }


def _factors(keys: Keys, name: str, planes: int) -> list[float]:
    values = keys.take(name)
    numbers = isinstance(values, list) and all(
        isinstance(v, int | float) and not isinstance(v, bool) and 0 < v <= LARGEST
        for v in values
    )
    if not numbers or len(values) != planes:
        raise ValueError(
            f"{keys.place}: {name} must be {planes} numbers above 0, one per plane of "
            f"a head, got {values!r}"
        )
    return [float(value) for value in values]


def _proportional(keys: Keys, dims: Dimensions, base: float, fraction: float) -> Spec:
    """p-RoPE over `factor`: the planes that turn, turn by so much slower."""
    scale = keys.number("factor", 1.0)
    if scale == 1.0:
        return {"name": "p_rope", "fraction": float(fraction)}
    turning = rotary.p_rope(dims.head_dim, float(base), float(fraction)).angular > 0
    factors = np.where(turning, scale, RESTING).tolist()
    return factored(factors, dims.max_length)


def factored(factors: list[float], length: int, logit_scale: float = 1.0) -> Spec:
    """RoPE whose planes turn slower by these factors, at every length."""
    return {
        "name": "longrope",
        "short_factors": factors,
        "long_factors": factors,
        "scale": 1.0,
        "train_length": length,
        "length": length,
        "logit_scale": logit_scale,
    }


def _original(keys: Keys, dims: Dimensions) -> int:
    """The length before the extension; max_position_embeddings where none is named."""
    inner = keys.whole("original_max_position_embeddings", None)
    if None not in (inner, dims.original_length) and inner != dims.original_length:
        raise ValueError(
            f"{keys.place}: original_max_position_embeddings is {inner}, and "
            f"{dims.original_length} beside it: remove the wrong one"
        )
    return inner or dims.original_length or dims.max_length


def _check_lengths(keys: Keys, dims: Dimensions, original: int, scale) -> None:
    """Refuses three lengths that disagree.

    A config that was never changed but for its scaling still has the original length
    in max_position_embeddings; transformers allows for it, too.
    """
    if scale is None or dims.max_length == original:
        return
    if not np.isclose(scale * original, dims.max_length, rtol=1e-3):
        raise ValueError(
            f"{keys.place}: factor {scale} times the original length {original} is "
            f"not max_position_embeddings {dims.max_length}: correct one of the three "
            f"(if the factor is right, write {round(scale * original)} there)"
        )


TYPES: dict[str, Callable[..., Spec]] = {
    "default": _default,
    "linear": _linear,
    "dynamic": _dynamic,
    "yarn": _yarn,
    "llama3": _llama3,
    "longrope": _longrope,
    "proportional": _proportional,
}
