"""A new encoding for a trained model: what its spec leaves open stays as it was.

A checkpoint with base 500,000 that is asked for ReRoPE means ReRoPE at base 500,000;
one whose frequencies were scaled when it was trained keeps them near and far.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from rope_lab import rotary
from rope_lab.logic.bands import PositionLogic
from rope_lab.logic.catalogue import CATALOGUE
from rope_lab.logic.options import DEFAULT_BASE, SHARED_DEFAULTS

Spec = dict[str, Any]
_PLAIN = "rope"  # its name says that nothing is scaled


def completed(spec: Any, trained: PositionLogic | Sequence[PositionLogic]) -> Any:
    """The spec with base, layout, sliding window and frequencies of the trained logic.

    Args:
      spec: {"name": ..., **options}, or a list of them; what it says is kept.
        Frequencies are carried over to piecewise encodings, which say nothing of them.
      trained: what the parameters were trained with, one for all layers or one each.
        What differs between layers is carried over to none.

    Raises:
      ValueError: a logic put together by hand, which says nothing of itself.
    """
    if isinstance(spec, list):
        return [completed(one, trained) for one in spec]
    entry = CATALOGUE.get(spec.get("name"))
    if entry is None:  # a pattern over layers, or a name that is refused later
        return spec
    logics = [trained] if isinstance(trained, PositionLogic) else list(trained)
    open_: dict[str, Any] = {"sliding_window": None}
    if entry.rotates:
        open_ |= {"base": DEFAULT_BASE, "layout": SHARED_DEFAULTS["layout"]}
    found = dict(spec)
    for key, default in open_.items():
        value = _common(logics, key, default)
        if value != default:
            found.setdefault(key, value)
    takes = "frequencies" in entry.options and spec["name"] != _PLAIN
    if takes and not {"frequencies", "base"} & set(spec) and _scaled(logics):
        found.pop("base", None)
        found["frequencies"] = logics[0].bands[0].frequencies
    return found


def _common(logics: list[PositionLogic], key: str, default: Any) -> Any:
    values = [_records(logic, key, default) for logic in logics]
    return values[0] if all(value == values[0] for value in values) else default


def _records(logic: PositionLogic, key: str, default: Any) -> Any:
    record = logic.record.value
    if record is None:
        raise ValueError(
            "the trained logic was put together by hand: say base, layout and "
            "frequencies of the new one in full"
        )
    return record.base if key == "base" else record.options.get(key, default)


def _scaled(logics: list[PositionLogic]) -> bool:
    """Whether all layers turn by the same frequencies, and these are not RoPE's."""
    first, record = logics[0].bands[0].frequencies, logics[0].record.value
    others = [logic.bands[0].frequencies for logic in logics[1:]]
    if not first.planes or not all(_equal(other, first) for other in others):
        return False
    return not _equal(first, rotary.rope(record.head_dim, record.base))


def _equal(some: rotary.Frequencies, other: rotary.Frequencies) -> bool:
    pairs = zip(jax.tree.leaves(some), jax.tree.leaves(other), strict=True)
    return all(np.array_equal(one, two) for one, two in pairs)
