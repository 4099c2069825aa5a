"""Quantized tensors of GGUF files, dequantized by the package `gguf`."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import numpy as np

from rope_lab.interop.gguf_header import GgufTensor


def row_bytes(path: Path) -> Callable[[int, int], int]:
    """What `read_header` asks: how many bytes a row of numbers takes."""
    try:
        import gguf
    except ImportError:
        raise ValueError(
            f"{path} needs the Python package gguf, which is not installed; install "
            "the extra: pip install 'rope-lab[hf]'"
        ) from None

    @functools.cache
    def block_of(kind: int) -> tuple[int, int]:
        """(numbers, bytes) of a block."""
        try:
            known = gguf.GGMLQuantizationType(kind)
            numbers, size = gguf.GGML_QUANT_SIZES[known]
            gguf.dequantize(np.zeros((1, size), np.uint8), known)
        except (ValueError, KeyError, NotImplementedError) as error:
            raise ValueError(
                f"{path} has tensors that the package gguf does not dequantize "
                f"({error}): give a file of another quantization"
            ) from None
        return numbers, size

    def bytes_of(kind: int, count: int) -> int:
        numbers, size = block_of(kind)
        if count % numbers:
            raise ValueError(
                f"{path} is damaged: rows of {count} numbers are no blocks of {numbers}"
            )
        return count // numbers * size

    return bytes_of


def dequantized(tensor: GgufTensor) -> np.ndarray:
    """One tensor as floating-point numbers."""
    import gguf

    kind = gguf.GGMLQuantizationType(tensor.kind)
    return gguf.dequantize(tensor.mapped(), kind)
