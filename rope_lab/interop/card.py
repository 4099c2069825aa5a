"""README.md of an exported folder: what runs it, and how exactly."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from rope_lab.interop.rope_export import wavelength_factors
from rope_lab.logic import PositionLogic

_POSITIONS = (1024, 4096, 32_768, 131_072)  # tokens

_CARD = """---
library_name: transformers
pipeline_tag: text-generation
---

# Exported from rope_lab

A language model of the {family} family for {length:,} tokens, weights in {dtype}.

    from transformers import AutoModelForCausalLM
    model = AutoModelForCausalLM.from_pretrained("this folder")

## Position encoding

It was trained or chosen as `{name}`{resonance}, and is written here as the rope type
`{kind}` of transformers 5{how}.{dynamic}

transformers holds the angular frequencies in float32 and multiplies them by the
position in float32. Of the exact angles, which rope_lab computes, its angles are off by
up to

| position | radians |
|---|---|
{rows}

so logits agree closely at short lengths and less so at long ones.
"""


def model_card(config: dict[str, Any], logic: Any, dtype: str) -> str:
    """Markdown; says what the float32 angles of transformers cost."""
    first = logic if isinstance(logic, PositionLogic) else logic[0]
    record = first.record.value
    kind = config["rope_parameters"]["rope_type"]
    rows = "\n".join(
        f"| {position:,} | {phase_error(first, position):.1e} |"
        for position in _POSITIONS
    )
    listed = kind == "longrope" and record.name != "longrope"
    return _CARD.format(
        family=config["model_type"],
        length=config["max_position_embeddings"],
        dtype=dtype,
        name=record.name,
        resonance=" with Resonance" if record.options.get("resonance") else "",
        kind=kind,
        how=" with one list of factors for all lengths" if listed else "",
        dynamic=_dynamic_note(kind, record.options),
        rows=rows,
    )


def _dynamic_note(kind: str, options: dict[str, Any]) -> str:
    if kind != "dynamic" and options.get("long_factors") == options.get(
        "short_factors"
    ):
        return ""
    return (
        " Its frequencies depend on the length of the text. transformers keeps keys "
        "that it turned by earlier frequencies, so what it generates token by token "
        "differs from one pass over the whole text."
    )


def phase_error(logic: PositionLogic, position: int) -> float:
    """Radians: the largest error of float32 frequency times float32 position."""
    record = logic.record.value
    planes = record.head_dim // 2
    exponents = 2.0 * np.arange(planes) / record.head_dim
    factors = np.asarray(wavelength_factors(logic))
    exact = position / (factors * float(record.base) ** exponents)
    single = float32_frequencies(factors, float(record.base), exponents)
    return float(np.abs(np.float32(position) * single - exact).max())


def float32_frequencies(
    factors: Sequence[float] | np.ndarray, base: float, exponents: np.ndarray
) -> np.ndarray:
    """float32[P], as transformers computes them from factors in float32."""
    powers = np.float32(base) ** np.asarray(exponents, np.float32)
    return np.float32(1.0) / (np.asarray(factors, np.float32) * powers)
