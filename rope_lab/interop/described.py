"""What a checkpoint says of its model, whatever format it has."""

from __future__ import annotations

import dataclasses
from typing import Any

from rope_lab.model import ModelConfig

# No model in use comes near these; numbers and names are made for as many as a file
# tells of, before its tensors are looked at.
MOST_LAYERS, LARGEST_HEAD = 10_000, 2**16


def checked_sizes(place: str, layers: int, head_dim: int) -> None:
    """Refuses sizes that no model has, with ValueError."""
    if layers > MOST_LAYERS or head_dim > LARGEST_HEAD:
        raise ValueError(
            f"{place} tells of {layers} layers and heads of {head_dim} dims; at most "
            f"{MOST_LAYERS} and {LARGEST_HEAD} are read"
        )


@dataclasses.dataclass(frozen=True)
class Described:
    """Model, position encoding, lengths and special tokens.

    Attributes:
      encoding: the spec of a position logic, or one per layer; without `length` where
        the frequencies depend on it.
      train_length: tokens that the model was last trained at, as its file says.
      bos_id: the token that begins a document, None where the file names none.
      eos_ids: tokens that end a text or an answer.
    """

    model: ModelConfig
    encoding: dict[str, Any] | list[dict[str, Any]]
    train_length: int
    bos_id: int | None
    eos_ids: tuple[int, ...] = ()
