"""The one way in: `load_pretrained`, whatever program wrote the checkpoint."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import os
from pathlib import Path
from typing import Any

from rope_lab.data.tokenizers import Tokenizer
from rope_lab.interop.assemble import Shardings, load_parameters
from rope_lab.interop.described import Described
from rope_lab.interop.folder import open_folder
from rope_lab.interop.gguf_file import open_gguf
from rope_lab.interop.llama2c import open_llama2c
from rope_lab.interop.sources import Source
from rope_lab.logic import CATALOGUE, PATTERNS, PositionLogic
from rope_lab.logic.inherit import completed
from rope_lab.model import ModelConfig, build_logic

Logic = PositionLogic | tuple[PositionLogic, ...]
Spec = dict[str, Any]
# What opens a checkpoint: its description, its tensors, its tokenizer.
Opened = tuple[Described, Source, Tokenizer]


@dataclasses.dataclass(frozen=True)
class Pretrained:
    """A checkpoint of another program, ready for `apply_model` and `generate`.

    Attributes:
      model: its dimensions.
      graphdef, params: as `init_model` gives them.
      tokenizer: its own; its bos_id is None where neither its file nor the checkpoint
        names a token that begins a document.
      trained: spec of the encoding it was trained with, or one per layer.
      changed: the spec that was asked for in its place, or None.
      train_length: tokens, what the checkpoint says it was last trained at.
    """

    model: ModelConfig
    graphdef: Any
    params: Any
    tokenizer: Tokenizer
    trained: Spec | list[Spec]
    changed: Spec | list[Spec] | None
    train_length: int

    def logic(self, length: int | None = None) -> Logic:
        """The position logic, or one per layer.

        Args:
          length: tokens in all. Asked for where frequencies depend on it (dynamic NTK,
            LongRoPE with two lists); `generate` takes this method as a logic.
        """
        if self.changed is None:
            return build_logic(_at(self.trained, length), self.model)
        specs = self.changed if isinstance(self.changed, list) else [self.changed]
        # Frequencies that are carried over may be those of one length.
        own = build_logic(_at(self.trained, length or self.train_length), self.model)
        found = _at([completed(spec, own) for spec in specs], length)
        return build_logic(found[0] if len(found) == 1 else found, self.model)


def load_pretrained(
    path: str | os.PathLike,
    logic: Spec | list[Spec] | None = None,
    *,
    dtype: str = "float32",
    sharding: Shardings | None = None,
) -> Pretrained:
    """Load a checkpoint, and change its position encoding in one argument.

        load_pretrained("Llama-3.2-1B", logic={"name": "rerope", "window": 4096})

    Args:
      path: a Hugging Face folder (config.json, safetensors, tokenizer) of the Llama,
        Mistral, Qwen2 or Qwen3 family; a .gguf file of the Llama architecture; or a
        llama2.c .bin with its tokenizer.bin beside it.
      logic: `{"name": ..., **options}`, or a list of them cycled over the layers; None
        keeps the checkpoint's own. What it leaves open (base, sliding window, and the
        frequencies of piecewise encodings) stays as the checkpoint has it.
      dtype: of parameters and activations, "float32" or "bfloat16".
      sharding: where each leaf goes: a function of its names, as
        ("layers", "attention", "query", "kernel"), or a pytree like the parameters.

    Raises:
      ValueError: whatever does not fit, before anything is loaded.
    """
    described, source, tokenizer = _opener(Path(path).expanduser())
    if described.bos_id is None:
        tokenizer = _without_added_bos(tokenizer)
    model = dataclasses.replace(described.model, dtype=dtype)
    if tokenizer.vocab_size > model.vocab_size:
        raise ValueError(
            f"{source.place}: the tokenizer has {tokenizer.vocab_size} tokens, the "
            f"model {model.vocab_size}: they are not of one checkpoint"
        )
    found = Pretrained(
        model=model,
        graphdef=None,
        params=None,
        tokenizer=tokenizer,
        trained=described.encoding,
        changed=logic,
        train_length=described.train_length,
    )
    found.logic(found.train_length)  # or refuses, before the weights are read
    graphdef, params = load_parameters(model, source, sharding)
    return dataclasses.replace(found, graphdef=graphdef, params=params)


def _opener(path: Path) -> Opened:
    if path.is_dir():
        return open_folder(path)
    if not path.is_file():
        raise ValueError(f"there is no folder or file {path}")
    if path.suffix == ".gguf":
        return open_gguf(path)
    if path.suffix == ".bin":
        return open_llama2c(path)
    raise ValueError(
        f"{path}: give a folder with a config.json, a .gguf file, or a llama2.c .bin"
    )


def _without_added_bos(tokenizer: Tokenizer) -> Tokenizer:
    """The same without a BOS that its file lacks: this model has not learned it."""
    if not tokenizer.added_bos:  # type: ignore[attr-defined]
        return tokenizer
    tokenizer = copy.copy(tokenizer)
    tokenizer.bos_id, tokenizer.vocab_size = None, tokenizer.vocab_size - 1
    return tokenizer


def _at(spec: Any, length: int | None) -> Any:
    """The spec or specs with `length` where the frequencies depend on it."""
    if isinstance(spec, list):
        return [_at(one, length) for one in spec]
    if length is None or not depends_on_length(spec["name"]):
        return spec
    return spec | {"length": length}


def depends_on_length(name: str) -> bool:
    """Whether an encoding's frequencies are made for one total length."""
    if name in PATTERNS or name not in CATALOGUE:
        return False
    option = CATALOGUE[name].options.get("length")
    return option is not None and option.default is inspect.Parameter.empty
