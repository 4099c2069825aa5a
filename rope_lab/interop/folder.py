"""A Hugging Face folder: config.json, safetensors, tokenizer."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from rope_lab.data.tokenizers import (
    HuggingFaceTokenizer,
    Tokenizer,
    eos_ids,
    load_tokenizer,
)
from rope_lab.interop.described import Described
from rope_lab.interop.families import read_config
from rope_lab.interop.sources import SafetensorsFolder
from rope_lab.rotary import rope

_TOKENIZERS = ("tokenizer.json", "tokenizer.model")
_BUFFER = "rotary_emb.inv_freq"


def open_folder(folder: Path) -> tuple[Described, SafetensorsFolder, Tokenizer]:
    """What the folder holds; no weight is read yet.

    Raises:
      ValueError: see `read_config` and `SafetensorsFolder`; no tokenizer, or one whose
        first token is not that of the config.
    """
    described = read_config(folder / "config.json")
    source = SafetensorsFolder(folder)
    _check_buffers(source, described)
    return described, source, _tokenizer(folder, described)


def _tokenizer(folder: Path, described: Described) -> Tokenizer:
    found = [folder / name for name in _TOKENIZERS if (folder / name).is_file()]
    if not found:
        raise ValueError(f"there is none of {', '.join(_TOKENIZERS)} in {folder}")
    tokenizer = load_tokenizer(tokenizer_spec(found[0], described.bos_id))
    if isinstance(tokenizer, HuggingFaceTokenizer):
        tokenizer = tokenizer.within(described.model.vocab_size)
    named = (*described.eos_ids, *eos_ids(tokenizer))
    tokenizer.eos_ids = tuple(  # type: ignore[attr-defined]
        one for one in dict.fromkeys(named) if one < described.model.vocab_size
    )
    return tokenizer


def tokenizer_spec(path: Path, bos_id: int | None) -> str:
    """What `load_tokenizer` takes for a file whose checkpoint names the first token."""
    return str(path) if bos_id is None else f"{path}?bos={bos_id}"


def _check_buffers(source: SafetensorsFolder, described: Described) -> None:
    """Older checkpoints keep RoPE's frequencies, which have to be those of the config.

    They may be float16, and are those before any scaling.
    """
    buffers = [name for name in source.shapes if name.endswith(_BUFFER)]
    if not buffers:
        return
    encoding = described.encoding
    base = (encoding[0] if isinstance(encoding, list) else encoding)["base"]
    expected = rope(described.model.head_dim, base).angular
    for name in buffers:
        held = np.asarray(source.tensor(name), np.float32)
        if held.shape != expected.shape or not np.allclose(held, expected, rtol=0.01):
            raise ValueError(
                f"{source.place}: {name} holds other frequencies than base {base} "
                "gives: write the base they were trained with into config.json"
            )
        del source.shapes[name]
