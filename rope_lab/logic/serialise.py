"""A position logic as a plain dict and back: what a checkpoint records."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from rope_lab.logic.bands import PositionLogic
from rope_lab.logic.catalogue import position_logic
from rope_lab.rotary import Frequencies

SCHEMA_VERSION = 1
_LEAVES = ("angular", "angular_low", "logit_scale")


def to_dict(logic: PositionLogic) -> dict[str, Any]:
    """{"schema_version", "name", "head_dim", "base", "options"}, JSON types only.

    What a bias has learned is not among them: it is a parameter of the model.

    Raises:
      ValueError: the logic was put together by hand, or holds traced values.
    """
    record = logic.record.value
    if record is None:
        raise ValueError(
            "only a logic built by position_logic can be serialised; this one was put "
            "together from bands by hand"
        )
    if record.traced:
        raise ValueError(
            f"this {record.name} logic holds traced values: serialise it outside jit, "
            "vmap and grad"
        )
    options = {key: _plain(value) for key, value in record.options.items()}
    return {
        "schema_version": SCHEMA_VERSION,
        "name": record.name,
        "head_dim": int(record.head_dim),
        "base": float(record.base),
        "options": options,
    }


# No encoding in use comes near these; a file that does is refused before it costs
# memory.
MOST_NUMBERS = 2**16  # in options
_COUNTS = ("num_heads", "num_buckets", "hidden", "max_distance")
LARGEST_COUNT = 2**16  # of these, and of head_dim


def logic_from_dict(values: dict[str, Any]) -> PositionLogic:
    """The logic that `to_dict` described.

    Whatever the dict holds, which may come from a stranger's file, nothing of it is
    run, and its sizes are checked before anything is made of them.

    Raises:
      ValueError: a schema version this release does not know, a missing key, or a
        value that no logic has.
    """
    _check(values)
    options = dict(values["options"])
    try:
        if "frequencies" in options:
            given = options["frequencies"]
            leaves = (np.asarray(given[leaf], np.float32) for leaf in _LEAVES)
            options["frequencies"] = Frequencies(*leaves)
        return position_logic(
            values["name"], head_dim=values["head_dim"], base=values["base"], **options
        )
    except (ArithmeticError, AttributeError, LookupError, TypeError) as error:
        raise ValueError(
            f"a serialised {values['name']} logic has an option of the wrong kind "
            f"({error}): {options}"
        ) from None


def _check(values: Any) -> None:
    if not isinstance(values, dict):
        raise ValueError(
            f"a serialised position logic is a dict, got {type(values).__name__}"
        )
    version = values.get("schema_version")
    if version != SCHEMA_VERSION:
        raise ValueError(
            f"this position logic has schema version {version}; this release reads "
            f"version {SCHEMA_VERSION}"
        )
    keys = {"schema_version", "name", "head_dim", "base", "options"}
    if set(values) != keys:
        raise ValueError(
            f"a serialised position logic has the keys {sorted(keys)}; this one lacks "
            f"{sorted(keys - set(values))} and has {set(values) - keys} besides"
        )
    kinds: dict[str, Any] = {
        "name": str,
        "head_dim": int,
        "base": (int, float),
        "options": dict,
    }
    for key, kind in kinds.items():
        if not isinstance(values[key], kind) or isinstance(values[key], bool):
            raise ValueError(f"a serialised position logic has {key} {values[key]!r}")
    options = values["options"]
    counts = {"head_dim": values["head_dim"]}
    counts |= {key: options.get(key) for key in _COUNTS}
    for key, count in counts.items():
        if isinstance(count, int | float) and not abs(count) <= LARGEST_COUNT:
            raise ValueError(
                f"a serialised position logic has {key} {count}; at most "
                f"{LARGEST_COUNT} is read"
            )
    if _numbers_in(options) > MOST_NUMBERS:
        raise ValueError(
            f"the options of a serialised position logic hold more than {MOST_NUMBERS} "
            "values"
        )


def _numbers_in(value: Any) -> int:
    """How many values there are inside, however deep, up to one more than are read."""
    left, count = [value], 0
    while left and count <= MOST_NUMBERS:
        one = left.pop()
        count += 1
        if isinstance(one, dict):
            left.extend(one.values())
        elif isinstance(one, list | tuple):
            left.extend(one[: MOST_NUMBERS + 1])
    return count


def _plain(value: Any) -> Any:
    if isinstance(value, Frequencies):
        return {leaf: np.asarray(getattr(value, leaf)).tolist() for leaf in _LEAVES}
    if isinstance(value, (np.ndarray, np.generic, jax.Array)):
        return np.asarray(value).tolist()
    return list(value) if isinstance(value, tuple) else value
