"""Where tensors come from: names and shapes first, one tensor at a time after that.

Names are those of transformers ("model.layers.0.self_attn.q_proj.weight"), whatever
program wrote the checkpoint, and matrices are [out, in] as there.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np

from rope_lab.data.json_text import parse_json
from rope_lab.interop.safetensors import StoredTensor, read_header

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"


class Source(Protocol):
    """A checkpoint's tensors.

    Attributes:
      shapes: name -> shape.
      place: of the checkpoint, for messages.
    """

    shapes: dict[str, tuple[int, ...]]
    place: Path

    def tensor(self, name: str) -> np.ndarray:
        """One tensor, floating point; the caller drops it before asking for more."""


class SafetensorsFolder:
    """The .safetensors files of a Hugging Face folder, one or many."""

    def __init__(self, folder: Path):
        self.place = folder
        self._stored = _stored(folder)
        self.shapes = {name: stored.shape for name, stored in self._stored.items()}

    def tensor(self, name: str) -> np.ndarray:
        return self._stored[name].mapped()


def _stored(folder: Path) -> dict[str, StoredTensor]:
    if (folder / SINGLE).is_file():
        return read_header(folder / SINGLE)
    if not (folder / INDEX).is_file():
        others = sorted(p.name for p in folder.glob("*.bin"))
        found = (
            f"; {others} are pickled, which can run code and is not read"
            if others
            else ""
        )
        raise ValueError(f"there is neither {SINGLE} nor {INDEX} in {folder}{found}")
    index = parse_json((folder / INDEX).read_bytes(), str(folder / INDEX))
    wanted = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(wanted, dict) or not all(
        isinstance(shard, str) for shard in wanted.values()
    ):
        raise ValueError(
            f"{folder / INDEX} is not an index of shards: expected a weight_map from "
            "the names of tensors to files"
        )
    shards = sorted(set(wanted.values()))
    missing = [s for s in shards if Path(s).name != s or not (folder / s).is_file()]
    if missing:
        raise ValueError(
            f"{len(missing)} of {len(shards)} shards are missing in {folder}: "
            f"{', '.join(missing)}; download them too"
        )
    return _from_shards(folder, wanted, {s: read_header(folder / s) for s in shards})


def _from_shards(
    folder: Path, wanted: dict[str, str], shards: dict[str, dict[str, StoredTensor]]
) -> dict[str, StoredTensor]:
    held = {(name, shard) for shard, found in shards.items() for name in found}
    if held != set(wanted.items()):
        name, shard = min(held ^ set(wanted.items()))
        raise ValueError(
            f"{folder / INDEX} and its shards disagree, first about {name!r} in "
            f"{shard}: the files are of two checkpoints, download them again"
        )
    return {name: shards[shard][name] for name, shard in wanted.items()}
