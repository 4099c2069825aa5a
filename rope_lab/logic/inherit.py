"""A new encoding for a trained model: what its spec leaves open stays as it was.

A checkpoint with base 500,000 that is asked for ReRoPE means ReRoPE at base 500,000;
one whose frequencies were scaled when it was trained keeps them near and far; one
trained with log n scaling or a softmax scale of its own keeps these too.

Resonance is the exception: it belongs to how the frequencies are made, and a spec that
makes its own without it means them unrounded, so that rows with and without resonance
can be compared on one checkpoint. Frequencies that are carried over are those of the
checkpoint, rounded if it rounds. log_n="test" is no property of a trained model either,
and stays behind.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from rope_lab import rotary
from rope_lab.logic.bands import PositionLogic
from rope_lab.logic.catalogue import CATALOGUE
from rope_lab.logic.hybrid import PATTERNS
from rope_lab.logic.options import DEFAULT_BASE, SHARED_DEFAULTS

Spec = dict[str, Any]
_PLAIN = "rope"  # its name says that nothing is scaled


def completed(spec: Any, trained: PositionLogic | Sequence[PositionLogic]) -> Any:
    """The spec with what it leaves open as the trained logic has it.

    Base, layout, sliding window, softmax scale and frequencies; and log n scaling, with
    its train_length and log_n_minimum, where the model was trained under it
    (log_n="train") and the spec does not name log_n. log_n="off" leaves it out.

    A pattern over layers gets base, layout and softmax scale, and the log n scaling of
    the layers that see all keys, where it has that option; the rest it makes itself.

    Args:
      spec: {"name": ..., **options}, or a list of them; what it says is kept.
        Frequencies are carried over to piecewise encodings, which say nothing of them.
      trained: what the parameters were trained with, one for all layers or one each.
        What differs between layers is carried over to none; layers that rotate nothing
        have no say in base and layout.

    Raises:
      ValueError: a logic put together by hand, which says nothing of itself; or a spec
        with another train_length than that of the log n it does not name.
    """
    if isinstance(spec, list):
        return [completed(one, trained) for one in spec]
    logics = [trained] if isinstance(trained, PositionLogic) else list(trained)
    name = spec.get("name")
    if name in PATTERNS:
        return _completed_pattern(spec, logics)
    entry = CATALOGUE.get(name)
    if entry is None:  # which is refused later
        return spec
    found = _with_common(spec, logics, ["sliding_window", "softmax_scale"])
    if entry.rotates:
        found = _with_common(found, _rotating(logics), ["base", "layout"])
    if "log_n" not in spec:
        found = _with_log_n(found, logics)
    takes = "frequencies" in entry.options and spec["name"] != _PLAIN
    if takes and not {"frequencies", "base"} & set(spec) and _scaled(logics):
        found.pop("base", None)
        found["frequencies"] = logics[0].bands[0].frequencies
    return found


def _completed_pattern(spec: Spec, logics: list[PositionLogic]) -> Spec:
    shared = ["base", "layout", "softmax_scale"]
    found = _with_common(spec, _rotating(logics), shared)
    full = [one for one in logics if _records(one, "sliding_window", None) is None]
    takes = "log_n" in inspect.signature(PATTERNS[spec["name"]]).parameters
    return _with_log_n(found, full) if takes and full and "log_n" not in spec else found


def _rotating(logics: list[PositionLogic]) -> list[PositionLogic]:
    """Those of which base and layout mean something; all, if there is none."""
    records = [one.record.value for one in logics]
    found = [
        one
        for one, record in zip(logics, records, strict=True)
        if record is None or CATALOGUE[record.name].rotates
    ]
    return found or logics


def _with_common(spec: Spec, logics: list[PositionLogic], keys: list[str]) -> Spec:
    """The spec with options it leaves open, where all logics have the same."""
    found = dict(spec)
    for key in keys:
        default = DEFAULT_BASE if key == "base" else SHARED_DEFAULTS[key]
        value = _common(logics, key, default)
        if value != default:
            found.setdefault(key, value)
    return found


def _with_log_n(spec: Spec, logics: list[PositionLogic]) -> Spec:
    """The spec with the log n scaling under which all layers were trained, if any."""
    keys = ("log_n", "train_length", "log_n_minimum")
    options = [
        {key: _records(logic, key, SHARED_DEFAULTS[key]) for key in keys}
        for logic in logics
    ]
    own = options[0]
    if own["log_n"] != "train" or any(other != own for other in options):
        return spec
    length = spec.get("train_length")
    if length not in (None, own["train_length"]):
        raise ValueError(
            f"{spec['name']} has train_length {length}, but the model was trained with "
            f"log_n='train' of train_length {own['train_length']}: say log_n in the "
            "spec, 'train' to measure it against the new length, or 'off'"
        )
    given = {key: value for key, value in spec.items() if value is not None}
    said = {key: value for key, value in own.items() if value != SHARED_DEFAULTS[key]}
    return spec | said | given


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
