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


def logic_from_dict(values: dict[str, Any]) -> PositionLogic:
    """The logic that `to_dict` described.

    Raises:
      ValueError: a schema version this release does not know, or a missing key.
    """
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
            f"{sorted(keys - set(values))} and has {sorted(set(values) - keys)} besides"
        )
    options = dict(values["options"])
    if "frequencies" in options:
        given = options["frequencies"]
        leaves = (np.asarray(given[leaf], np.float32) for leaf in _LEAVES)
        options["frequencies"] = Frequencies(*leaves)
    return position_logic(
        values["name"], head_dim=values["head_dim"], base=values["base"], **options
    )


def _plain(value: Any) -> Any:
    if isinstance(value, Frequencies):
        return {leaf: np.asarray(getattr(value, leaf)).tolist() for leaf in _LEAVES}
    if isinstance(value, (np.ndarray, np.generic, jax.Array)):
        return np.asarray(value).tolist()
    return list(value) if isinstance(value, tuple) else value
