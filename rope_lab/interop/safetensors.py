"""Safetensors files, mapped and written one tensor at a time.

A file is the length N of its header (8 bytes, little endian), N bytes of JSON that name
dtype, shape and place of every tensor, and the tensors' bytes behind one another
(github.com/huggingface/safetensors, "Format"). There is nothing in it to execute.
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

DTYPES = {
    "F64": np.dtype(np.float64),
    "F32": np.dtype(np.float32),
    "F16": np.dtype(np.float16),
    "BF16": np.dtype(jnp.bfloat16),
}
_NAMES = {dtype: name for name, dtype in DTYPES.items()}
_LENGTH_BYTES = 8
_LONGEST_HEADER = 100_000_000  # bytes; the format's own bound


@dataclasses.dataclass(frozen=True)
class StoredTensor:
    """Where a tensor lies: nothing of it is read before `mapped`."""

    path: Path
    dtype: np.dtype
    shape: tuple[int, ...]
    start: int  # byte of the file

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
        try:
            header = json.loads(file.read(length))
            header.pop("__metadata__", None)
            entries = [
                (n, v["dtype"], v["shape"], v["data_offsets"])
                for n, v in header.items()
            ]
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise _damaged(path, f"its header is not read: {error}") from None
    first = _LENGTH_BYTES + length
    found, end = {}, 0
    for name, dtype, shape, (start, stop) in sorted(entries, key=lambda e: e[3]):
        if dtype not in DTYPES:
            raise ValueError(
                f"{path}: tensor {name!r} has dtype {dtype}; only {sorted(DTYPES)} are "
                "read: give a checkpoint that is not quantized"
            )
        expected = math.prod(shape) * DTYPES[dtype].itemsize
        if start != end or stop - start != expected:
            raise _damaged(path, f"{name!r} lies at {start} to {stop}")
        found[name] = StoredTensor(path, DTYPES[dtype], tuple(shape), first + start)
        end = stop
    if size != first + end:
        raise _damaged(path, f"{size} bytes, its header tells of {first + end}")
    return found


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
