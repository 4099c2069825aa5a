"""What a checkpoint says of its model, whatever format it has."""

from __future__ import annotations

import dataclasses
from typing import Any

from rope_lab.model import ModelConfig


@dataclasses.dataclass(frozen=True)
class Described:
    """Model, position encoding, lengths and special tokens.

    Attributes:
      encoding: the spec of a position logic, or one per layer; without `length` where
        the frequencies depend on it.
      train_length: tokens that the model was last trained at, as its file says.
      bos_id: the token that begins a document, None where the file names none.
    """

    model: ModelConfig
    encoding: dict[str, Any] | list[dict[str, Any]]
    train_length: int
    bos_id: int | None
