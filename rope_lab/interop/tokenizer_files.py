"""A tokenizer as the files that transformers reads."""

from __future__ import annotations

import json
from typing import Any

import tokenizers as hf

from rope_lab.data.tokenizers import (
    BOS_NAMES,
    ByteTokenizer,
    HuggingFaceTokenizer,
    SentencePieceTokenizer,
    Tokenizer,
)


def tokenizer_files(tokenizer: Tokenizer | None, length: int) -> dict[str, bytes]:
    """Name -> content; nothing for None.

    Raises:
      ValueError: a tokenizer of the user's own, which no file describes.
    """
    if tokenizer is None:
        return {}
    if isinstance(tokenizer, SentencePieceTokenizer):
        return {"tokenizer.model": tokenizer.content}
    if isinstance(tokenizer, ByteTokenizer):
        content = _byte_level().to_str().encode()
    elif isinstance(tokenizer, HuggingFaceTokenizer):
        content = tokenizer.content
    else:
        raise ValueError(
            f"{type(tokenizer).__name__} is no tokenizer of a file: export with "
            "tokenizer=None and add its files by hand"
        )
    first = None
    if tokenizer.bos_id is not None:
        first = hf.Tokenizer.from_buffer(content).id_to_token(tokenizer.bos_id)
    settings: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": length,
        "clean_up_tokenization_spaces": False,
    }
    if first is not None:
        settings["bos_token"] = first
    return {
        "tokenizer.json": content,
        "tokenizer_config.json": json.dumps(settings, indent=2).encode(),
    }


def _byte_level() -> hf.Tokenizer:
    """The 256 bytes under their own numbers, and BOS: a BPE that merges nothing."""
    names = {ord_: char for char, ord_ in _byte_names().items()}
    vocabulary = {names[byte]: byte for byte in range(256)}
    tokenizer = hf.Tokenizer(hf.models.BPE(vocabulary, []))
    tokenizer.pre_tokenizer = hf.pre_tokenizers.ByteLevel(
        add_prefix_space=False, use_regex=False
    )
    tokenizer.decoder = hf.decoders.ByteLevel()
    tokenizer.add_special_tokens([BOS_NAMES[0]])
    return tokenizer


def _byte_names() -> dict[str, int]:
    """Character -> byte of GPT-2's alphabet: bytes that print, then the others."""
    printed = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printed]
    names = {chr(byte): byte for byte in printed}
    return names | {chr(256 + place): byte for place, byte in enumerate(others)}
