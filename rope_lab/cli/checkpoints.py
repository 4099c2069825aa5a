"""A checkpoint as the experiments use it: parameters, model, encoding, lengths."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path
from typing import Any

import jax
import numpy as np

from rope_lab.cli.config import PretrainConfig
from rope_lab.interop.pretrained import depends_on_length
from rope_lab.logic import logic_from_dict
from rope_lab.logic.inherit import completed
from rope_lab.model import ModelConfig, build_logic, model_structure
from rope_lab.training import from_nested, load_parameters


@dataclasses.dataclass(frozen=True)
class Loaded:
    """Parameters of a checkpoint and what its meta says of them."""

    graphdef: Any
    params: Any
    model_config: ModelConfig
    meta: dict[str, Any]

    @property
    def train_length(self) -> int:
        """Tokens per sequence of the run that saved it."""
        return self.meta["config"]["data"]["length"]

    @property
    def identity(self) -> str:
        """Names these very parameters, wherever the checkpoint lies."""
        return f"step {self.meta['step']}, {identity_of(self.params)}"

    def completed(self, spec: Any) -> Any:
        """A spec or list of them; what they leave open is as the logic it was trained
        with has it, see `inherit.completed`."""
        if any(values["name"] == "callable" for values in self.meta["encoding"]):
            return spec
        return completed(spec, self.logic())

    def logic(self, length: int | None = None) -> Any:
        """The position logic it was trained with, or one per layer.

        Args:
          length: tokens in all. The frequencies of an imported model follow it where
            its encoding makes them for a length (dynamic NTK, LongRoPE with two lists);
            a run of ours trained under those of one length.
        """
        for values in self.meta["encoding"]:
            if values["name"] == "callable":
                raise ValueError(
                    f"the checkpoint was trained with the plain callable "
                    f"{values['callable']!r}, which no file can bring back: use "
                    "rope_lab.evaluation.evaluate_rows with that callable"
                )
        config = self.meta["config"]
        follows = "imported_from" in config and config.get("length") is None
        return _logic(self.meta, length if follows else None)


@dataclasses.dataclass(frozen=True)
class Planned:
    """A model yet to be trained: what a `Loaded` will say to the rows measured on it.

    Attributes:
      model_config: of any vocabulary.
      own: the logic it is to be trained with, or one per layer.
      train_length: tokens per sequence.
    """

    model_config: ModelConfig
    own: Any
    train_length: int

    @property
    def params(self) -> Any:
        """Shapes and dtypes of its parameters, learned biases among them."""
        return model_structure(self.model_config, self.own)[1]

    def completed(self, spec: Any) -> Any:
        """As `Loaded.completed` will have it."""
        return completed(spec, self.own)


def planned(config: PretrainConfig) -> Planned:
    """The model that a pretraining will make.

    Raises:
      ValueError: a model or a logic that cannot be.
    """
    model_config = config.model.model_config(vocab_size=1)
    own = build_logic(config.model.logic, model_config)
    return Planned(model_config, own, config.data.length)


def identity_of(params: Any) -> str:
    """A checksum of parameters."""
    digest = hashlib.sha256()
    for leaf in jax.tree.leaves(params):
        digest.update(np.asarray(leaf).tobytes())
    return f"sha256 {digest.hexdigest()[:16]}"


def load_checkpoint(path: str | Path, average: bool = False) -> Loaded:
    """Read a workdir's newest checkpoint, or the folder of one step.

    Args:
      path: of either.
      average: the moving average of the parameters instead of the parameters.

    Raises:
      ValueError: nothing there, or damaged; says what to do.
    """
    nested, meta = load_parameters(path, average=average)
    meta = _with_tokenizer_beside(meta, Path(path).expanduser())
    model_config = ModelConfig(**meta["model"])
    plain = any(values["name"] == "callable" for values in meta["encoding"])
    graphdef, like = model_structure(model_config, None if plain else _logic(meta))
    return Loaded(graphdef, from_nested(like, nested), model_config, meta)


def _at_length(values: dict[str, Any], length: int) -> dict[str, Any]:
    if not depends_on_length(values["name"]):
        return values
    return values | {"options": values["options"] | {"length": length}}


def _with_tokenizer_beside(meta: dict[str, Any], path: Path) -> dict[str, Any]:
    """Names the tokenizer of an imported model where it lies now, beside it.

    Args:
      path: of the run, or of one of its steps.
    """
    config = meta["config"]
    if "imported_from" not in config:
        return meta
    place, marked, bos = config["data"]["tokenizer"].partition("?bos=")
    for folder in (path, path.parent.parent):
        beside = folder.absolute() / Path(place).name
        if beside.is_file():
            data = config["data"] | {"tokenizer": f"{beside}{marked}{bos}"}
            return meta | {"config": config | {"data": data}}
    return meta


def _logic(meta: dict[str, Any], length: int | None = None) -> Any:
    records = meta["encoding"]
    if length is not None:
        records = [_at_length(values, length) for values in records]
    logics = [logic_from_dict(values) for values in records]
    return logics[0] if len(logics) == 1 else tuple(logics)
