"""The one way out: a Hugging Face folder that transformers runs."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from rope_lab.data.tokenizers import Tokenizer, eos_ids
from rope_lab.interop.card import model_card
from rope_lab.interop.hf_config import config_json
from rope_lab.interop.leaves import Leaf, leaves_of
from rope_lab.interop.pairs import to_half
from rope_lab.interop.safetensors import write
from rope_lab.interop.sources import INDEX, SINGLE
from rope_lab.interop.tokenizer_files import tokenizer_files
from rope_lab.logic import PositionLogic
from rope_lab.model import ModelConfig
from rope_lab.model.trees import named_leaves

DTYPES = {"float32": np.float32, "bfloat16": jnp.bfloat16, "float16": np.float16}
_TURNED = ("query", "key", "query_norm", "key_norm")
# Name, shape, and what gives the tensor.
Tensor = tuple[str, tuple[int, ...], Callable[[], np.ndarray]]


def export_pretrained(
    folder: str | os.PathLike,
    model: ModelConfig,
    params: Any,
    logic: PositionLogic | Sequence[PositionLogic],
    tokenizer: Tokenizer | None = None,
    *,
    length: int,
    dtype: str = "float32",
    shard_bytes: int = 5_000_000_000,
) -> Path:
    """Write config.json, safetensors, tokenizer and a model card.

    Args:
      folder: a new one; it appears when all of it is written.
      model, params: of `init_model`, a checkpoint or `load_pretrained`.
      logic: what the model runs under.
      tokenizer: its own, with the tokens that end a text and the chat template of its
        checkpoint; None writes none.
      length: tokens that the model is meant for. Rope types that fix it themselves
        (yarn, dynamic) write theirs.
      dtype: of the weights in the files, "float32", "bfloat16" or "float16".
      shard_bytes: at most so many bytes in one file, if no tensor has more.

    Raises:
      ValueError: the encoding or the model cannot be expressed, and why; or the folder
        is there already.
    """
    folder = Path(folder).expanduser()
    if folder.exists():
        raise ValueError(f"{folder} exists already: give the name of a new folder")
    if dtype not in DTYPES:
        raise ValueError(f"dtype must be one of {', '.join(DTYPES)}, got {dtype!r}")
    bos_id = None if tokenizer is None else tokenizer.bos_id
    ends = () if tokenizer is None else eos_ids(tokenizer)
    config = config_json(model, logic, length, bos_id, ends, dtype)
    interleaved = _interleaved(logic)
    files = tokenizer_files(tokenizer, config["max_position_embeddings"])
    files["config.json"] = _json(config)
    files["README.md"] = model_card(config, logic, dtype).encode()
    scratch = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    for name, content in files.items():
        (scratch / name).write_bytes(content)
    _write_weights(scratch, _tensors(model, params, interleaved), dtype, shard_bytes)
    scratch.rename(folder)
    return folder


def _interleaved(logic: Any) -> bool:
    """Whether q and k are to be regrouped; all layers alike, by now one table."""
    logics = [logic] if isinstance(logic, PositionLogic) else list(logic)
    layouts = {one.layout for one in logics}
    if len(layouts) > 1:
        raise ValueError(f"layers have different layouts, {sorted(layouts)}")
    return layouts == {"interleaved"}


def _tensors(model: ModelConfig, params: Any, interleaved: bool) -> list[Tensor]:
    held = named_leaves(params)
    tensors = []
    for leaf in leaves_of(model):
        turned = interleaved and any(name in _TURNED for name in leaf.names)
        for layer, name in enumerate(leaf.tensors):
            produce = _producer(
                held[leaf.names], leaf, layer, model.head_dim if turned else None
            )
            tensors.append((name, leaf.stored_shape, produce))
    return tensors


def _producer(array: Any, leaf: Leaf, layer: int, head_dim: int | None):
    def produce() -> np.ndarray:
        tensor = np.asarray(array[layer] if leaf.stacked else array)
        tensor = tensor.T if leaf.transposed else tensor
        return tensor if head_dim is None else to_half(tensor, head_dim)

    return produce


def _write_weights(
    folder: Path, tensors: list[Tensor], dtype: str, shard_bytes: int
) -> None:
    itemsize = np.dtype(DTYPES[dtype]).itemsize
    shards: list[list[Tensor]] = [[]]
    filled = total = 0
    for tensor in tensors:
        size = int(np.prod(tensor[1])) * itemsize
        if filled and filled + size > shard_bytes:
            shards.append([])
            filled = 0
        shards[-1].append(tensor)
        filled, total = filled + size, total + size
    if len(shards) == 1:
        write(folder / SINGLE, shards[0], DTYPES[dtype])
        return
    places: dict[str, str] = {}
    for number, shard in enumerate(shards, 1):
        name = f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        write(folder / name, shard, DTYPES[dtype])
        places |= {tensor[0]: name for tensor in shard}
    index = {"metadata": {"total_size": total}, "weight_map": places}
    (folder / INDEX).write_bytes(_json(index))


def _json(values: dict[str, Any]) -> bytes:
    return (json.dumps(values, indent=2) + "\n").encode()
