"""A checkpoint of ours or of another program, as the evaluations use it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rope_lab.cli.checkpoints import identity_of, load_checkpoint
from rope_lab.data import Tokenizer
from rope_lab.interop import load_pretrained
from rope_lab.logic.inherit import completed
from rope_lab.model import ModelConfig, build_logic
from rope_lab.training.folders import FOLDER

Spec = dict[str, Any] | list[dict[str, Any]]


@dataclasses.dataclass(frozen=True)
class Opened:
    """Parameters, and what can be said of them.

    Attributes:
      identity: names these very parameters, wherever the checkpoint lies.
      train_length: tokens.
      own: total length -> the logic it was trained with.
      changed: spec and total length -> another logic, which keeps of the checkpoint
        what the spec leaves open, see `inherit.completed`.
      tokenizer: its own, if it lies with the checkpoint.
      meta: what a run of ours says of itself.
    """

    graphdef: Any
    params: Any
    model_config: ModelConfig
    identity: str
    train_length: int
    own: Callable[[int], Any]
    changed: Callable[[Spec, int], Any]
    tokenizer: Tokenizer | None = None
    meta: dict[str, Any] | None = None


def open_checkpoint(path: str | Path, average: bool = False) -> Opened:
    """Workdir or step of a run of ours; or a checkpoint that `load_pretrained` reads.

    Args:
      path: of either. A file is another program's, and a folder with a config.json
        unless it holds checkpoints of ours, whose runs write a file of that name, too.
      average: of a run of ours, the moving average of the parameters.

    Raises:
      ValueError: nothing there, or damaged; says what to do.
    """
    place = Path(path).expanduser()
    described = (place / "config.json").is_file()
    if place.is_file() or (described and not (place / FOLDER).is_dir()):
        if average:
            raise ValueError(f"{path} holds no moving average; leave average False")
        return _of_another_program(place)
    return _of_ours(place, average)


def _of_ours(path: str | Path, average: bool) -> Opened:
    loaded = load_checkpoint(path, average)
    loaded.logic()  # or refuses: no file can bring back a plain callable

    def changed(spec: Spec, length: int) -> Any:
        spec = spec if isinstance(spec, dict) else list(spec)
        return build_logic(completed(spec, loaded.logic(length)), loaded.model_config)

    return Opened(
        loaded.graphdef,
        loaded.params,
        loaded.model_config,
        loaded.identity,
        loaded.train_length,
        own=loaded.logic,
        changed=changed,
        meta=loaded.meta,
    )


def _of_another_program(path: Path) -> Opened:
    found = load_pretrained(path)
    return Opened(
        found.graphdef,
        found.params,
        found.model,
        identity_of(found.params),
        found.train_length,
        own=found.logic,
        changed=lambda spec, length: dataclasses.replace(found, changed=spec).logic(
            length
        ),
        tokenizer=found.tokenizer,
    )
