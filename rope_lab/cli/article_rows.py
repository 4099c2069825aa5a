"""Rows of a study of length extrapolation, as lists for its config.

Every function returns rows for one trained model: dicts with a label, the name of an
encoding and its options. Labels of the article's rows are those of
`rope_lab.evaluation.article`, which brings the published numbers beside them. Lengths
are words of `specs`, so that one list serves every training length.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from rope_lab import rotary
from rope_lab.evaluation.article import STEPS

Row = dict[str, Any]

TRAINED = {"train_length": "trained"}
USES = {
    "": {},
    " †": {"log_n": "test", **TRAINED},
    ", log n": {"log_n": "train", **TRAINED},
}
WINDOWS = {name: f"trained/{8 // n}" for name, n in
           (("L/8", 1), ("L/4", 2), ("L/2", 4))} | {"L": "trained"}  # fmt: skip
SELF_EXTEND: dict[str, Row] = {
    "Self-Extend w=L/4": {"name": "self_extend", "window": WINDOWS["L/4"], "group": 16}
}


def scaled(scale: float, head_dim: int, train_length: int) -> dict[str, Row]:
    """Methods that change frequencies alone, by label, without log n."""
    to = {"scale": scale}
    return {
        "PI": {"name": "interpolated", **to},
        "NTK-aware": {"name": "ntk_aware", **to},
        "NTK-old": {"name": "ntk_old", **to},
        "NTK-fixed": {"name": "ntk_fixed", **to},
        "NTK-mixed": {"name": "ntk_mixed", **to},
        "YaRN": {"name": "yarn", **to, **TRAINED},
        "Dynamic NTK": {"name": "dynamic_ntk", "length": "measured", **TRAINED},
        "LongRoPE-style": longrope(scale, head_dim, train_length),
        "Llama 3": {"name": "llama3", **to, **TRAINED},
    }


def longrope(scale: float, head_dim: int, train_length: int) -> Row:
    """LongRoPE with factors by a rule in place of its search.

    They grow geometrically from 1 on the fastest plane to `scale` on the critical one,
    and stay there: like those that the search finds, they never fall, and planes that
    completed no turn in training are interpolated in full.
    """
    frequencies = rotary.rope(head_dim)
    critical = max(rotary.critical_dimension(frequencies, train_length), 1)
    share = np.minimum(np.arange(frequencies.planes) / critical, 1.0)
    return {
        "name": "longrope",
        "short_factors": [1.0] * frequencies.planes,
        "long_factors": [float(factor) for factor in scale**share],
        "scale": scale,
        "length": "measured",
        **TRAINED,
    }


def windowed(train_length: int) -> dict[str, Row]:
    """ReRoPE over the article's windows; three quarters are no word of `specs`."""
    windows = {**WINDOWS, "3L/4": train_length * 3 // 4}
    return {
        f"ReRoPE w={name}": {"name": "rerope", "window": window}
        for name, window in windows.items()
    }


def leaky(steps: tuple[int, ...]) -> dict[str, Row]:
    """Leaky ReRoPE over windows and steps."""
    return {
        f"Leaky ReRoPE w={name} k={step}": {
            "name": "leaky_rerope",
            "window": WINDOWS[name],
            "step": step,
        }
        for name in ("L/8", "L/4", "L/2")
        for step in steps
    }


def chunked(train_length: int) -> dict[str, Row]:
    """Self-Extend, and dual chunk as ChunkLlama sets it: 3/4 L, of it L/8 local."""
    local = train_length // 8
    return SELF_EXTEND | {
        "Dual chunk": {
            "name": "dual_chunk",
            "chunk_length": train_length * 3 // 4 - local,
            "local_window": local,
        },
    }


def without_log_n(scale: float, head_dim: int, train_length: int) -> list[Row]:
    """Every row of a model trained with plain RoPE."""
    changed = scaled(scale, head_dim, train_length)
    reread = windowed(train_length)
    tested = [name for name in changed if name.startswith("NTK")] + ["YaRN"]
    rows = _with_use({"RoPE": {"name": "rope"}, **changed, **reread}, "")
    rows += _with_use({n: changed[n] for n in tested} | reread, " †")
    rows += _with_use(leaky((16,)) | chunked(train_length), "")
    return rows + resonant(scale, head_dim, train_length)


def with_log_n(scale: float, head_dim: int, train_length: int) -> list[Row]:
    """Every row of a model trained with RoPE and log n."""
    rows = {"RoPE": {"name": "rope"}, **scaled(scale, head_dim, train_length)}
    rows |= windowed(train_length) | leaky(STEPS) | chunked(train_length)
    return _with_use(rows, ", log n")


def resonant(
    scale: float, head_dim: int, train_length: int, suffix: str = ""
) -> list[Row]:
    """Resonance of each method; the suffix says how the model was trained."""
    wanted = ("PI", "NTK-aware", "NTK-mixed", "YaRN", "Dynamic NTK", "LongRoPE-style")
    changed = scaled(scale, head_dim, train_length)
    rows = {"RoPE": {"name": "rope"}} | {name: changed[name] for name in wanted}
    rows["ReRoPE w=L/2"] = {"name": "rerope", "window": WINDOWS["L/2"]}
    return [
        {"label": f"Resonance {name}{suffix}", **row, "resonance": True}
        for name, row in rows.items()
    ]


def untuned() -> list[Row]:
    """What a published checkpoint is read under, at any length, without training.

    † is log n at test. What the scaled encodings are scaled to is the length measured.
    """
    to = {"length": "measured", **TRAINED}
    plain: dict[str, Row] = {
        "RoPE": {"name": "rope"},
        "PI": {"name": "interpolated", **to},
        "NTK-aware": {"name": "ntk_aware", **to},
        "NTK-old": {"name": "ntk_old", **to},
        "NTK-fixed": {"name": "ntk_fixed", **to},
        "NTK-mixed": {"name": "ntk_mixed", **to},
        "Dynamic NTK": {"name": "dynamic_ntk", **to},
        "YaRN": {"name": "yarn", **to},
        "Resonance RoPE": {"name": "rope", "resonance": True},
        "Resonance-YaRN": {"name": "yarn", "resonance": True, **to},
    }
    for name in ("L/4", "L/2", "L"):
        plain[f"ReRoPE w={name}"] = {"name": "rerope", "window": WINDOWS[name]}
    plain |= {name: row for name, row in leaky((16,)).items() if "w=L/2" in name}
    plain |= SELF_EXTEND
    plain["Dual chunk"] = {
        "name": "dual_chunk",
        "chunk_length": "trained/2",
        "local_window": "trained/4",
    }
    return [{"label": label, **row} for label, row in plain.items()] + [
        {"label": f"{label} †", **row, **USES[" †"]}
        for label, row in plain.items()
        if "Resonance" not in label
    ]


def _with_use(rows: Mapping[str, Row], suffix: str) -> list[Row]:
    """The rows under one use of log n, which takes the place of a temperature."""
    return [
        {"label": name + suffix, **row, **USES[suffix], **_cool(row, suffix)}
        for name, row in rows.items()
    ]


def _cool(row: Row, suffix: str) -> Row:
    return {"logit_scale": 1.0} if suffix and row["name"] in _TEMPERED else {}


_TEMPERED = ("yarn", "longrope")
