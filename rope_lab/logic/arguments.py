"""A logic as jit arguments: its arrays are data, plain callables are compiled in."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import jax
import numpy as np


def split_logic(logic: Any) -> tuple[list[Any], Hashable]:
    """Arrays of a logic (or of one per layer), and what decides its program.

    Logics whose second parts are equal share one compiled program: pass that part as a
    static argument, the arrays as an ordinary one, and join them inside.
    """
    leaves, treedef = jax.tree.flatten(logic)
    is_array = tuple(isinstance(leaf, jax.Array | np.ndarray) for leaf in leaves)
    pairs = list(zip(is_array, leaves, strict=True))
    static = tuple(None if array else leaf for array, leaf in pairs)
    return [leaf for array, leaf in pairs if array], (treedef, is_array, static)


def join_logic(arrays: list[Any], structure: Any) -> Any:
    """The logic that `split_logic` took apart."""
    treedef, is_array, static = structure
    remaining = iter(arrays)
    pairs = zip(is_array, static, strict=True)
    leaves = [next(remaining) if array else leaf for array, leaf in pairs]
    return jax.tree.unflatten(treedef, leaves)
