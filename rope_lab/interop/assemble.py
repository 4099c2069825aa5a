"""Tensors of a checkpoint to arrays on their devices, never more than one at a time.

A stacked leaf is filled shard by shard: each device's part takes its slice out of each
layer's tensor, so that no host ever holds a whole leaf beside its parts.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import Sharding, SingleDeviceSharding

from rope_lab.interop.leaves import EMBEDDING, SCORES, Leaf, leaves_of
from rope_lab.interop.sources import Source
from rope_lab.model import ModelConfig, model_structure
from rope_lab.model.trees import Names, from_nested, named_leaves

# Names of a leaf to where it goes; or a pytree like the parameters.
Shardings = Callable[[Names], Sharding] | Any
_ALIGNMENT = 64  # bytes: what XLA's CPU client takes over without a copy
_SHOWN = 5


def load_parameters(
    model: ModelConfig, source: Source, sharding: Shardings | None = None
) -> tuple[Any, Any]:
    """(graphdef, params) of a checkpoint, checked by shape before anything is read.

    Args:
      model: what the checkpoint is said to be; its dtype is that of the parameters.
      source: the tensors.
      sharding: where each leaf goes, as a function of its names, or as a pytree like
        the parameters; default: all on the first device.

    Raises:
      ValueError: names what is missing, of another shape, or not read.
    """
    leaves = leaves_of(model)
    check_tensors(model, leaves, source)
    where = _where(sharding)
    nested: dict[str, Any] = {}
    for leaf in leaves:
        inner = nested
        for name in leaf.names[:-1]:
            inner = inner.setdefault(name, {})
        inner[leaf.names[-1]] = _placed(leaf, source, model, where(leaf.names))
    graphdef, like = model_structure(model)
    return graphdef, from_nested(like, nested)


def check_tensors(model: ModelConfig, leaves: list[Leaf], source: Source) -> None:
    """Refuses a checkpoint whose tensors are not those of the model."""
    wanted = {name: leaf.stored_shape for leaf in leaves for name in leaf.tensors}
    missing = [name for name in wanted if name not in source.shapes]
    if missing:
        raise _wrong(
            source, "tensors that its configuration asks for are missing", missing
        )
    lines = [
        f"{name} is {source.shapes[name]} and should be {shape}"
        for name, shape in wanted.items()
        if tuple(source.shapes[name]) != tuple(shape)
    ]
    if lines:
        raise _wrong(source, "tensors have other shapes than its configuration", lines)
    left = [name for name in source.shapes if name not in wanted]
    if model.tied_embeddings and SCORES in left:
        _check_tied(source)
        left.remove(SCORES)
    if left:
        raise _wrong(source, "nothing in this model reads the tensors", sorted(left))


def _check_tied(source: Source) -> None:
    """A copy of the embedding is no second matrix; anything else is."""
    if source.shapes[SCORES] != source.shapes[EMBEDDING] or not np.array_equal(
        source.tensor(SCORES), source.tensor(EMBEDDING)
    ):
        raise _wrong(
            source, "tie_word_embeddings is true, but another matrix is there", [SCORES]
        )


def _wrong(source: Source, what: str, lines: list[str]) -> ValueError:
    more = f", and {len(lines) - _SHOWN} more" if len(lines) > _SHOWN else ""
    return ValueError(
        f"{source.place}: {what}: {', '.join(lines[:_SHOWN])}{more}; the files and the "
        "configuration are not of one checkpoint"
    )


def _where(sharding: Shardings | None) -> Callable[[Names], Sharding]:
    if sharding is None:
        one = SingleDeviceSharding(jax.devices()[0])
        return lambda names: one
    if callable(sharding):
        return sharding
    leaves = named_leaves(sharding)
    return lambda names: leaves[names]


def _placed(leaf: Leaf, source: Source, model: ModelConfig, sharding: Sharding):
    dtype = np.dtype(model.compute_dtype)
    return jax.make_array_from_callback(
        leaf.shape, sharding, lambda index: _part(leaf, source, index, dtype)
    )


def _part(leaf: Leaf, source: Source, index: tuple[slice, ...], dtype) -> np.ndarray:
    """The part of a leaf that one device holds."""
    ranges = [range(*s.indices(n)) for s, n in zip(index, leaf.shape, strict=True)]
    part = _aligned([len(r) for r in ranges], dtype)
    if not leaf.stacked:
        part[...] = _oriented(source.tensor(leaf.tensors[0]), leaf)[index]
        return part
    for place, layer in enumerate(ranges[0]):
        part[place] = _oriented(source.tensor(leaf.tensors[layer]), leaf)[index[1:]]
    return part


def _oriented(tensor: np.ndarray, leaf: Leaf) -> np.ndarray:
    return tensor.T if leaf.transposed else tensor


def _aligned(shape: list[int], dtype: np.dtype) -> np.ndarray:
    """An empty array that a device on the host takes over as it is."""
    size = int(np.prod(shape)) * dtype.itemsize
    raw = np.empty(size + _ALIGNMENT, np.uint8)
    start = -raw.ctypes.data % _ALIGNMENT
    return raw[start : start + size].view(dtype).reshape(shape)
