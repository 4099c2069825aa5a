"""Rows of q and k between the two layouts of a rotated plane.

Half: dims i and i + D/2 are a plane (transformers, and logics here by default);
interleaved: dims 2i and 2i + 1 (Meta, llama2.c, GGUF of the Llama architecture).
"""

from __future__ import annotations

import numpy as np


def to_half(rows: np.ndarray, head_dim: int) -> np.ndarray:
    """[heads * D, ...] from interleaved to half."""
    return _regrouped(rows, (-1, head_dim // 2, 2))


def to_interleaved(rows: np.ndarray, head_dim: int) -> np.ndarray:
    """[heads * D, ...] from half to interleaved."""
    return _regrouped(rows, (-1, 2, head_dim // 2))


def _regrouped(rows: np.ndarray, groups: tuple[int, int, int]) -> np.ndarray:
    rest = rows.shape[1:]
    return rows.reshape(*groups, *rest).swapaxes(1, 2).reshape(-1, *rest)
