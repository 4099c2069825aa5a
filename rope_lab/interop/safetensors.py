"""Safetensors files, mapped and written one tensor at a time.

A file is the length N of its header (8 bytes, little endian), N bytes of JSON that name
dtype, shape and place of every tensor, and the tensors' bytes behind one another
(github.com/huggingface/safetensors, "Format"). There is nothing in it to execute.

The package of that name is not used: what it hands to numpy is a copy of a whole
tensor, also where a device takes one slice of it, and it writes only what is all in
memory. The tests compare with it.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from rope_lab.data.json_text import parse_json

DTYPES = {
    "F64": np.dtype(np.float64),
    "F32": np.dtype(np.float32),
    "F16": np.dtype(np.float16),
    "BF16": np.dtype(jnp.bfloat16),
}
_NAMES = {dtype: name for name, dtype in DTYPES.items()}
_LENGTH_BYTES = 8
_LONGEST_HEADER = 100_000_000  # bytes; the format's own bound
_LARGEST = 2**48  # bytes of a file, numbers along an axis
_MOST_AXES = 32


@dataclasses.dataclass(frozen=True)
class StoredTensor:
    """Where a tensor lies: nothing of it is read before `mapped`."""

    path: Path
    dtype: np.dtype
    shape: tuple[int, ...]
    start: int  # byte of the file

    @property
    def bytes(self) -> int:
        """How many it takes."""
        return math.prod(self.shape) * self.dtype.itemsize

    def mapped(self) -> np.ndarray:
        """The tensor, read-only; pages come from the file when they are looked at.

        The mapping ends with the array, and with it what it held of memory.
        """
        if 0 in self.shape:
            return np.zeros(self.shape, self.dtype)
        return np.memmap(self.path, self.dtype, "r", self.start, self.shape)


def read_header(path: Path) -> dict[str, StoredTensor]:
    """Name -> tensor of one file.

    Raises:
      ValueError: no safetensors file, or not all of one; a dtype that is no plain
        floating-point number (quantized weights).
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(_LENGTH_BYTES), "little")
        if size < _LENGTH_BYTES or length > min(size, _LONGEST_HEADER):
            raise _damaged(path, f"{size} bytes, header of {length}")
        header = parse_json(file.read(length), f"{path}: its header")
    if not isinstance(header, dict):
        raise _damaged(path, "its header is no object")
    header.pop("__metadata__", None)
    first = end = _LENGTH_BYTES + length
    found = [_entry(path, *item, first) for item in header.items()]
    for name, tensor in sorted(found, key=lambda one: (one[1].start, one[1].bytes)):
        if tensor.start != end:
            place, stop = tensor.start - first, tensor.start - first + tensor.bytes
            raise _damaged(path, f"{name!r} lies at {place} to {stop}")
        end += tensor.bytes
    if size != end:
        raise _damaged(path, f"{size} bytes, its header tells of {end}")
    return dict(found)


def _entry(path: Path, name: str, value: Any, first: int) -> tuple[str, StoredTensor]:
    """One tensor of a header; first: the byte that offsets are counted from."""
    entry = value if isinstance(value, dict) else {}
    dtype, shape, place = (entry.get(k) for k in ("dtype", "shape", "data_offsets"))
    numbers = _whole_numbers(shape) and _whole_numbers(place)
    if not numbers or len(shape) > _MOST_AXES or len(place) != 2:
        raise _damaged(path, f"its header says of {name!r}: {value!r}")
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise ValueError(
            f"{path}: tensor {name!r} has dtype {dtype}; only {sorted(DTYPES)} are "
            "read: give a checkpoint that is not quantized"
        )
    if math.prod(n for n in shape if n) > _LARGEST:
        raise _damaged(path, f"{name!r} has the shape {shape}")
    tensor = StoredTensor(path, DTYPES[dtype], tuple(shape), first + place[0])
    if place[1] - place[0] != tensor.bytes:
        raise _damaged(path, f"{name!r} lies at {place[0]} to {place[1]}")
    return name, tensor


def _whole_numbers(value: Any) -> bool:
    """Whether it is a list of them, none beyond what numpy counts with."""
    return isinstance(value, list) and all(
        type(n) is int and 0 <= n <= _LARGEST for n in value
    )


def write(
    path: Path,
    tensors: Iterable[tuple[str, tuple[int, ...], Callable[[], np.ndarray]]],
    dtype: Any,
) -> None:
    """Write (name, shape, function that gives the tensor), one tensor at a time."""
    dtype, tensors = np.dtype(dtype), list(tensors)
    # The key says which library's dtypes are meant; transformers asks for it.
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, shape, _ in tensors:
        start, end = end, end + math.prod(shape) * dtype.itemsize
        header[name] = {
            "dtype": _NAMES[dtype],
            "shape": list(shape),
            "data_offsets": [start, end],
        }
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)  # so that tensors are aligned
    with path.open("wb") as file:
        file.write(len(text).to_bytes(_LENGTH_BYTES, "little") + text)
        for _, shape, produce in tensors:
            tensor = np.ascontiguousarray(produce(), dtype)
            assert tensor.shape == tuple(shape)
            file.write(tensor.view(np.uint8).data if tensor.size else b"")


def _damaged(path: Path, reason: str) -> ValueError:
    return ValueError(
        f"{path} is damaged or incomplete ({reason}): download or copy it again"
    )
