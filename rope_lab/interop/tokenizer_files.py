"""A tokenizer as the files that transformers reads."""

from __future__ import annotations

import json
from typing import Any

import tokenizers as hf

from rope_lab.data.chat_files import files_beside
from rope_lab.data.tokenizers import (
    BOS_NAMES,
    ByteTokenizer,
    HuggingFaceTokenizer,
    SentencePieceTokenizer,
    Tokenizer,
    chat_template_of,
    eos_ids,
)


def tokenizer_files(tokenizer: Tokenizer | None, length: int) -> dict[str, bytes]:
    """Name -> content; nothing for None.

    Raises:
      ValueError: a tokenizer of the user's own, which no file describes.
    """
    if tokenizer is None:
        return {}
    beside = files_beside(eos_ids(tokenizer), chat_template_of(tokenizer))
    if isinstance(tokenizer, SentencePieceTokenizer):
        return {"tokenizer.model": tokenizer.content, **beside}
    if isinstance(tokenizer, ByteTokenizer):
        content = _byte_level().to_str().encode()
    elif isinstance(tokenizer, HuggingFaceTokenizer):
        content = tokenizer.content
    else:
        raise ValueError(
            f"{type(tokenizer).__name__} is no tokenizer of a file: export with "
            "tokenizer=None and add its files by hand"
        )
    pieces = hf.Tokenizer.from_buffer(content)
    settings: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": length,
        "clean_up_tokenization_spaces": False,
    }
    special = {"bos_token": [tokenizer.bos_id], "eos_token": eos_ids(tokenizer)[:1]}
    for key, ids in special.items():
        for one in ids:
            if one is not None and pieces.id_to_token(one) is not None:
                settings[key] = pieces.id_to_token(one)
    return {
        "tokenizer.json": content,
        "tokenizer_config.json": json.dumps(settings, indent=2).encode(),
        **beside,
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
