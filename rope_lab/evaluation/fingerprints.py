"""What a measurement depended on, as plain data and as one checksum of it."""

import hashlib
import inspect
import json
import tokenize
from typing import Any

import jax
import numpy as np

from rope_lab.logic import PositionLogic


def describe_logic(logic: Any) -> Any:
    """A logic as plain data, for the record and to notice a change.

    What has no such form, a plain callable or bands put together by hand, is described
    by its name and a checksum of its source or values.
    """
    if isinstance(logic, (tuple, list)):
        return [describe_logic(x) for x in logic]
    if isinstance(logic, PositionLogic):
        if logic.record.value is not None:
            return logic.to_dict()
        leaves, structure = jax.tree.flatten(logic)
        values = [np.asarray(leaf).tolist() for leaf in leaves]
        return {"name": logic.name, "sha256": digest(f"{structure}{values}")}
    try:
        source = inspect.getsource(logic)
    except (OSError, TypeError, SyntaxError, tokenize.TokenError):
        # Typed into a notebook's cell or passed to exec, or its file has changed since.
        source = repr(logic)
    name = getattr(logic, "__qualname__", type(logic).__qualname__)
    return {"callable": name, "sha256": digest(source)}


def digest(value: Any) -> str:
    """sha256 of plain data, in hexadecimal."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
