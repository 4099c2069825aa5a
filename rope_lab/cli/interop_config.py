"""Configs of `rope-lab import` and `rope-lab export`."""

from __future__ import annotations

import dataclasses
from typing import Any

from rope_lab.cli.evaluation_config import CheckpointConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImportConfig:
    """`rope-lab import`: a checkpoint of another program."""

    checkpoint: str  # a Hugging Face folder, a .gguf file, a llama2.c .bin
    length: int | None = None  # where frequencies depend on it; None: that of the text


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExportConfig(CheckpointConfig):
    """`rope-lab export`: a checkpoint, for other programs."""

    encoding: Any = None  # a logic spec; None: the one it was trained with
    length: int | None = None  # tokens the model is meant for; None: the trained one
    dtype: str = "float32"  # of the files; or "bfloat16", "float16"
