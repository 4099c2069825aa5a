"""A position logic as `rope_parameters` of transformers 5, or the reason why not.

A rope type of its own is written where transformers computes the same frequencies from
it, which is checked by reading it back; everything else that is one table of
frequencies is `longrope` with the same list for short and for long texts.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from rope_lab.interop.keys import Keys
from rope_lab.interop.rope_types import RESTING, read_rope
from rope_lab.logic import PositionLogic, position_logic
from rope_lab.logic.maps import IDENTITY
from rope_lab.rotary.exact import join

Parameters = dict[str, Any]
_SAME = 1e-9  # relative; high and low float32 hold 2e-15


def rope_parameters(logic: PositionLogic, length: int) -> tuple[Parameters, int]:
    """(rope_parameters, max_position_embeddings) of a logic.

    Args:
      length: tokens the model is meant for.

    Raises:
      ValueError: a logic that transformers cannot express; says why.
    """
    _check_expressible(logic)
    record = logic.record.value
    base = float(record.base)
    factor = attention_factor(logic, record.head_dim)
    own = OWN[record.name](logic, length, factor) if record.name in OWN else None
    if own is not None and not record.options.get("resonance", False):
        parameters, max_length = own
        parameters = {"rope_theta": base, **parameters}
        if _says_the_same(parameters, max_length, logic):
            return parameters, max_length
    return {"rope_theta": base, **_longrope(logic, length, factor)}, length


def attention_factor(logic: PositionLogic, head_dim: int) -> float:
    """What transformers multiplies cos and sin by: the root of what logits get.

    A softmax scale of the logic's own goes the same way.
    """
    scale = float(logic.logit_scale)
    if logic.temperature.softmax_scale is not None:
        scale *= logic.temperature.softmax_scale * math.sqrt(head_dim)
    return math.sqrt(scale)


def _check_expressible(logic: Any) -> None:
    if not isinstance(logic, PositionLogic) or logic.record.value is None:
        raise ValueError(
            "only a logic built by position_logic can be exported, got a function or "
            "bands put together by hand"
        )
    band = logic.bands[0]
    plain = band.alpha == band.beta == IDENTITY and not band.offset
    planes = band.frequencies.planes
    reasons = {
        "far keys are seen at other positions than near ones, and transformers turns "
        "each key once": len(logic.bands) > 1 or not plain,
        "a bias is added to its logits": logic.bias is not None,
        "its planes decay with the distance": logic.amplitude is not None,
        "its positions are drawn, not counted": logic.draw is not None,
        "its logits grow with log n of the query, and transformers has one factor for "
        "all positions": (logic.temperature.log_n != "off"),
        f"it rotates {2 * planes} of {logic.record.value.head_dim} dims, and the code "
        "of these families rotates all": (
            planes not in (0, logic.record.value.head_dim // 2)
        ),
    }
    for reason, holds in reasons.items():
        if holds:
            raise ValueError(f"{logic.name} cannot be exported: {reason}")


def _longrope(logic: PositionLogic, length: int, factor: float) -> Parameters:
    record = logic.record.value
    original = int(record.options.get("train_length") or length)
    factors = wavelength_factors(logic)
    return {
        "rope_type": "longrope",
        "short_factor": factors,
        "long_factor": factors,
        "factor": max(1.0, length / original),
        "attention_factor": factor,
        "original_max_position_embeddings": original,
        "short_mscale": factor,  # vLLM's names of attention_factor
        "long_mscale": factor,
    }


def wavelength_factors(logic: PositionLogic) -> list[float]:
    """theta_i / theta'_i of every plane: how much slower than RoPE it turns."""
    record, frequencies = logic.record.value, logic.bands[0].frequencies
    planes = record.head_dim // 2
    theta = float(record.base) ** (-2.0 * np.arange(planes) / record.head_dim)
    angular = join(frequencies.angular, frequencies.angular_low)
    angular = angular if angular.size else np.zeros(planes)
    turning = angular > 0
    factors = np.where(turning, theta / np.where(turning, angular, 1.0), RESTING)
    return factors.tolist()


def _says_the_same(
    parameters: Parameters, max_length: int, logic: PositionLogic
) -> bool:
    """Whether reading the parameters back gives the logic's frequencies."""
    record = logic.record.value
    spec = read_rope(
        Keys({"rope_parameters": parameters}, "exported"), record.head_dim, max_length
    )
    if spec["name"] in ("dynamic_ntk", "longrope"):
        spec |= {"length": record.options["length"]}
    back = position_logic(head_dim=record.head_dim, **spec)
    same = np.allclose(
        wavelength_factors(back), wavelength_factors(logic), rtol=_SAME, atol=0.0
    )
    factors = [attention_factor(one, record.head_dim) for one in (back, logic)]
    return bool(same and math.isclose(*factors, rel_tol=1e-6))


def _options(logic: PositionLogic) -> dict[str, Any]:
    return logic.record.value.options


def _scale(options: dict[str, Any]) -> float:
    scale = options.get("scale")
    return float(scale or options["length"] / options["train_length"])


# Each takes the logic, the length it is meant for and its attention factor.


def _default(logic, length, factor):
    return {"rope_type": "default"}, length


def _linear(logic, length, factor):
    return {"rope_type": "linear", "factor": _scale(_options(logic))}, length


def _dynamic(logic, length, factor):
    """transformers scales from max_position_embeddings, so it is the trained length."""
    options = _options(logic)
    scale = float(options.get("scale", 1.0))
    return {"rope_type": "dynamic", "factor": scale}, int(options["train_length"])


def _yarn(logic, length, factor):
    options = _options(logic)
    if options.get("ramp", "index") != "index":
        return None
    scale, original = _scale(options), int(options["train_length"])
    parameters = {
        "rope_type": "yarn",
        "factor": scale,
        "original_max_position_embeddings": original,
        "beta_fast": float(options.get("beta_fast", 32.0)),
        "beta_slow": float(options.get("beta_slow", 1.0)),
        "truncate": options.get("truncate", True),
        "attention_factor": factor,
    }
    return parameters, round(scale * original)


def _llama3(logic, length, factor):
    options = _options(logic)
    parameters = {
        "rope_type": "llama3",
        "factor": _scale(options),
        "original_max_position_embeddings": int(options["train_length"]),
        "low_freq_factor": float(options.get("low_freq_factor", 1.0)),
        "high_freq_factor": float(options.get("high_freq_factor", 4.0)),
    }
    return parameters, length


def _two_lists(logic, length, factor):
    options = _options(logic)
    original = int(options["train_length"])
    parameters = {
        "rope_type": "longrope",
        "short_factor": [float(f) for f in options["short_factors"]],
        "long_factor": [float(f) for f in options["long_factors"]],
        "factor": max(1.0, length / original),
        "attention_factor": factor,
        "original_max_position_embeddings": original,
        "short_mscale": factor,
        "long_mscale": factor,
    }
    return parameters, length


def _proportional(logic, length, factor):
    """The share of planes that turn, which transformers multiplies and cuts again."""
    head_dim = logic.record.value.head_dim
    planes = head_dim // 2
    kept = int(np.count_nonzero(logic.bands[0].frequencies.angular))
    share = kept / planes
    if int(share * head_dim // 2) != kept:
        share = (kept + 0.5) / planes
    return {"rope_type": "proportional", "partial_rotary_factor": share}, length


OWN: dict[str, Callable[..., tuple[Parameters, int] | None]] = {
    "rope": _default,
    "interpolated": _linear,
    "dynamic_ntk": _dynamic,
    "yarn": _yarn,
    "llama3": _llama3,
    "longrope": _two_lists,
    "p_rope": _proportional,
    "nope": _proportional,
}
