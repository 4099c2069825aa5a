"""The header of a GGUF file: values by key, and where every tensor lies.

The package `gguf` has a reader, too, which believes the counts and lengths of a file
before it looks whether there are as many bytes: one of 49 bytes keeps it busy for
minutes, while its lists grow. Here nothing is read or made that the file has not got.
Format: ggml-org/ggml, docs/gguf.md, versions 2 and 3, little endian.
"""

from __future__ import annotations

import dataclasses
import math
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

MAGIC, VERSIONS = b"GGUF", (2, 3)
_ALIGNMENT = "general.alignment"
_STRING, _ARRAY = 8, 9
_NUMBERS = dict(zip((0, 1, 2, 3, 4, 5, 6, 7, 10, 11, 12), "BbHhIif?Qqd", strict=True))
# Entries of all arrays together; vocabularies have a few hundred thousand.
_MOST_ENTRIES = 2**24
_MOST_DIMS = 4  # GGML_MAX_DIMS


@dataclasses.dataclass(frozen=True)
class GgufTensor:
    """Where a tensor lies: nothing of it is read before `mapped`."""

    path: Path
    name: str
    kind: int  # GGMLQuantizationType
    shape: tuple[int, ...]  # rows first, as numpy has them
    start: int  # byte of the file
    row_bytes: int  # of the last axis

    @property
    def bytes(self) -> int:
        return math.prod(self.shape[:-1]) * self.row_bytes

    def mapped(self) -> np.ndarray:
        """uint8[..., row_bytes], read-only, as `gguf.dequantize` takes it."""
        shape = (*self.shape[:-1], self.row_bytes)
        return np.memmap(self.path, np.uint8, "r", self.start, shape)


def read_header(
    path: Path, row_bytes: Callable[[int, int], int]
) -> tuple[dict[str, Any], list[GgufTensor]]:
    """(values by key, tensors) of a file.

    Args:
      row_bytes: (kind of a tensor, numbers in a row) -> bytes of the row; raises
        ValueError for a kind that is not read, and rows that are not whole blocks.

    Raises:
      ValueError: another file, or not all of one; a key or tensor that is there twice;
        tensors that overlap.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        cursor = _Cursor(path, file, size)
        if cursor.take(4) != MAGIC:
            raise ValueError(f"{path} is no GGUF file: it does not begin with GGUF")
        version = cursor.number("I")
        if version not in VERSIONS:
            raise ValueError(
                f"{path} has GGUF version {version} (or is big-endian); read are "
                f"{', '.join(map(str, VERSIONS))}, little-endian: convert it again"
            )
        tensors, keys = cursor.number("Q"), cursor.number("Q")
        values: dict[str, Any] = {}
        for _ in range(keys):
            key = cursor.string()
            if key in values:
                raise cursor.damaged(f"the key {key!r} is there twice")
            values[key] = cursor.value(cursor.number("I"))
        rows = [cursor.tensor() for _ in range(tensors)]
        alignment = _alignment(values, cursor)
        first = -(-cursor.place // alignment) * alignment
    found = [
        GgufTensor(path, name, kind, shape, first + offset, row_bytes(kind, shape[-1]))
        for name, shape, kind, offset in rows
    ]
    _check_places(found, size, cursor)
    return values, found


class _Cursor:
    """Reads on from one place; never more than the file has."""

    def __init__(self, path: Path, file: Any, size: int):
        self._path, self._file, self._size = path, file, size
        self._left = _MOST_ENTRIES
        self.place = 0

    def damaged(self, reason: str) -> ValueError:
        return ValueError(
            f"{self._path} is damaged or incomplete ({reason}): download or copy it "
            "again"
        )

    def take(self, count: int) -> bytes:
        if count > self._size - self.place:
            raise self.damaged(
                f"its header asks for {count} bytes at {self.place}, the file has "
                f"{self._size}"
            )
        self.place += count
        return self._file.read(count)

    def number(self, code: str) -> Any:
        layout = f"<{code}"
        return struct.unpack(layout, self.take(struct.calcsize(layout)))[0]

    def string(self) -> str:
        content = self.take(self.number("Q"))
        try:
            return content.decode()
        except UnicodeDecodeError as error:
            raise self.damaged(f"a text is not UTF-8: {error}") from None

    def value(self, kind: int) -> Any:
        if kind == _STRING:
            return self.string()
        if kind == _ARRAY:
            return self._array(self.number("I"), self.number("Q"))
        if kind not in _NUMBERS:
            raise self.damaged(f"there is no value of type {kind}")
        return self.number(_NUMBERS[kind])

    def _array(self, kind: int, count: int) -> list[Any]:
        self._left -= count
        if self._left < 0:
            raise self.damaged(
                f"its arrays have more than {_MOST_ENTRIES} entries, one has {count}"
            )
        if kind == _STRING:
            return [self.string() for _ in range(count)]
        if kind not in _NUMBERS:
            raise self.damaged(f"an array has entries of type {kind}")
        dtype = np.dtype(_NUMBERS[kind]).newbyteorder("<")
        return np.frombuffer(self.take(count * dtype.itemsize), dtype).tolist()

    def tensor(self) -> tuple[str, tuple[int, ...], int, int]:
        """(name, shape, kind, byte behind the header)."""
        name, dims = self.string(), self.number("I")
        if not 1 <= dims <= _MOST_DIMS:
            raise self.damaged(f"tensor {name!r} has {dims} axes")
        shape = struct.unpack(f"<{dims}Q", self.take(8 * dims))
        if 0 in shape:
            raise self.damaged(f"tensor {name!r} has the shape {shape}")
        return name, shape[::-1], self.number("I"), self.number("Q")


def _alignment(values: dict[str, Any], cursor: _Cursor) -> int:
    alignment = values.get(_ALIGNMENT, 32)
    if not isinstance(alignment, int) or not 8 <= alignment <= 2**20 or alignment % 8:
        raise cursor.damaged(f"{_ALIGNMENT} is {alignment!r}")
    return alignment


def _check_places(found: list[GgufTensor], size: int, cursor: _Cursor) -> None:
    names: set[str] = set()
    end = 0
    for tensor in sorted(found, key=lambda tensor: tensor.start):
        stop = tensor.start + tensor.bytes
        if tensor.name in names:
            raise cursor.damaged(f"tensor {tensor.name!r} is there twice")
        if tensor.start < end or stop > size:
            raise cursor.damaged(
                f"tensor {tensor.name!r} lies at {tensor.start} to {stop}, the one "
                f"before it ends at {end}, the file at {size}"
            )
        names.add(tensor.name)
        end = stop
