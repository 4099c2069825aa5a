"""What is evaluated: a checkpoint with its tokenizer."""

from __future__ import annotations

import dataclasses
from typing import Any

from rope_lab.data import Tokenizer


@dataclasses.dataclass(frozen=True)
class Subject:
    """A model as evaluations use it; its encoding is an argument of theirs.

    Attributes:
      graphdef, params: from `init_model` or a checkpoint.
      tokenizer: the one it was trained with; its bos_id may be None, and then no BOS
        is put before documents and prompts.
      checkpoint: a name of these parameters that no others have.
      train_length: tokens per sequence in training; splits positions in pictures.
    """

    graphdef: Any
    params: Any
    tokenizer: Tokenizer
    checkpoint: str
    train_length: int
