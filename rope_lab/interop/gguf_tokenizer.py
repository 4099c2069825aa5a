"""The tokenizer inside a GGUF file: SentencePiece, or byte-level BPE."""

from __future__ import annotations

from pathlib import Path

import tokenizers as hf

from rope_lab.data.tokenizers import (
    HuggingFaceTokenizer,
    SentencePieceTokenizer,
    Tokenizer,
)
from rope_lab.interop.keys import Keys
from rope_lab.interop.sentencepiece import (
    CONTROL,
    NORMAL,
    UNKNOWN,
    USER_DEFINED,
    model_content,
)

_WORDS = (
    r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)"  # GPT-2's
)
_LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
# tokenizer.ggml.pre -> expressions that split the text, one after another
# (ggml-org/llama.cpp, llama-vocab.cpp).
PRE_TOKENIZERS = {
    "default": (r"[\p{P}\$\+<=>\^~\|]+", _WORDS, r"\p{N}+", "[0-9][0-9][0-9]"),
    "llama-bpe": (_LLAMA3,),
    "smollm": (r"\p{N}", _WORDS),
}
_WHOLE_FIRST = ("llama-bpe",)  # a piece that is a token is not taken apart
_PREFIX = "tokenizer.ggml."
_ENDS = "eos_token_id eot_token_id eom_token_id"  # of a text, a turn, a message
# What a tokenizer puts around a text by itself: documents get their BOS here.
_HABITS = """
    add_bos_token add_eos_token add_sep_token unknown_token_id padding_token_id
    separator_token_id mask_token_id cls_token_id fim_pre_token_id fim_suf_token_id
    fim_mid_token_id remove_extra_whitespaces token_type_count
"""


def read_tokenizer(
    keys: Keys, path: Path, vocab_size: int
) -> tuple[Tokenizer, int | None]:
    """(tokenizer, the token that begins a document).

    Raises:
      ValueError: another kind than SPM and BPE, an unknown pre-tokenizer, or not as
        many tokens as the model has.
    """
    kind = keys.text(f"{_PREFIX}model")
    pieces = keys.row(f"{_PREFIX}tokens", str)
    if len(pieces) > vocab_size:
        raise ValueError(
            f"{path}: the tokenizer has {len(pieces)} tokens, the model {vocab_size}"
        )
    kinds = keys.row(f"{_PREFIX}token_type", int, [NORMAL] * len(pieces))
    if len(kinds) != len(pieces):
        raise ValueError(
            f"{path}: {len(pieces)} tokens, but {len(kinds)} types of them"
        )
    bos_id = keys.token(f"{_PREFIX}bos_token_id")
    ends = [keys.token(f"{_PREFIX}{name}") for name in _ENDS.split()]
    tokenizer: HuggingFaceTokenizer | SentencePieceTokenizer
    if kind == "llama":
        tokenizer = _sentencepiece(keys, path, pieces, kinds, bos_id, ends[0])
    elif kind == "gpt2":
        tokenizer = _byte_level(keys, path, pieces, kinds, bos_id)
    else:
        raise ValueError(
            f"{path}: unknown {_PREFIX}model {kind!r}; known here: llama, gpt2"
        )
    known = (one for one in ends if one is not None and one < len(pieces))
    tokenizer.eos_ids = tuple(dict.fromkeys(known))
    tokenizer.chat_template = keys.text("tokenizer.chat_template", None)
    keys.ignore(f"{_PREFIX}{name}" for name in _HABITS.split())
    keys.ignore(key for key in keys.left() if key.startswith("tokenizer.chat_template"))
    return tokenizer, bos_id


def _sentencepiece(keys, path, pieces, kinds, bos_id, eos_id) -> SentencePieceTokenizer:
    keys.require(f"{_PREFIX}pre", ("default",), "SentencePiece splits nothing before")
    scores = keys.row(f"{_PREFIX}scores", int | float)
    if len(scores) != len(pieces) or UNKNOWN not in kinds:
        raise ValueError(
            f"{path}: SentencePiece needs a score for each of {len(pieces)} tokens, "
            f"got {len(scores)}, and one of type {UNKNOWN}, the unknown one"
        )
    keys.ignore([f"{_PREFIX}merges"])  # the scores say in what order
    content = model_content(
        pieces,
        scores,
        kinds,
        1 if bos_id is None else bos_id,
        2 if eos_id is None else eos_id,
        keys.flag(f"{_PREFIX}add_space_prefix", True),
    )
    return SentencePieceTokenizer(path, bos_id, content)


def _byte_level(keys, path, pieces, kinds, bos_id) -> HuggingFaceTokenizer:
    pre = keys.text(f"{_PREFIX}pre", "default")
    if pre not in PRE_TOKENIZERS:
        raise ValueError(
            f"{path}: unknown {_PREFIX}pre {pre!r}; known here: "
            f"{', '.join(PRE_TOKENIZERS)}"
        )
    keys.require(f"{_PREFIX}add_space_prefix", (False,), "the text stays as it is")
    keys.ignore([f"{_PREFIX}scores"])
    merges = [tuple(m.split(" ")) for m in keys.row(f"{_PREFIX}merges", str)]
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    try:
        model = hf.models.BPE(vocabulary, merges, ignore_merges=pre in _WHOLE_FIRST)
    except Exception as error:  # the library raises nothing narrower
        raise ValueError(f"{path}: merges and tokens do not fit: {error}") from None
    tokenizer = hf.Tokenizer(model)
    splits = [
        hf.pre_tokenizers.Split(hf.Regex(expression), "isolated")
        for expression in PRE_TOKENIZERS[pre]
    ]
    names = hf.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = hf.pre_tokenizers.Sequence([*splits, names])
    tokenizer.decoder = hf.decoders.ByteLevel()
    for special, add in (
        (CONTROL, tokenizer.add_special_tokens),
        (USER_DEFINED, tokenizer.add_tokens),
    ):
        add([p for p, kind in zip(pieces, kinds, strict=True) if kind == special])
    return HuggingFaceTokenizer(path, bos_id, tokenizer.to_str().encode())
