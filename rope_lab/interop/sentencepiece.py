"""A SentencePiece model put together from its pieces, as other formats keep them.

llama2.c and GGUF store pieces and scores and merge by score, best first, which is
SentencePiece's BPE. Its file is a protocol buffer (google/sentencepiece,
sentencepiece_model.proto), whose few fields are written here by hand.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6
SPACE = "\u2581"  # how pieces spell a blank
_BPE = 2  # TrainerSpec.model_type


def model_content(
    pieces: Sequence[str],
    scores: Sequence[float],
    kinds: Sequence[int],
    bos_id: int,
    eos_id: int,
    blank_first: bool = True,
) -> bytes:
    """The content of a .model file.

    Args:
      pieces, scores, kinds: of each token; kinds are the numbers above.
      blank_first: whether a blank is put before the text, as Llama's does.
    """
    unknown = kinds.index(UNKNOWN)
    parts = [_field(1, _piece(*row)) for row in zip(pieces, scores, kinds, strict=True)]
    trainer = _number(3, _BPE) + _number(35, BYTE in kinds) + _number(40, unknown)
    trainer += _number(41, bos_id) + _number(42, eos_id) + _number(43, -1)
    normalizer = _field(1, b"identity") + _number(3, blank_first)
    normalizer += _number(4, 0) + _number(5, 1)  # keep blanks, spell them as SPACE
    return b"".join(parts) + _field(2, trainer) + _field(3, normalizer)


def _piece(piece: str, score: float, kind: int) -> bytes:
    score_bytes = _varint(2 << 3 | 5) + struct.pack("<f", score)
    return _field(1, piece.encode()) + score_bytes + _number(3, kind)


def _field(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _number(number: int, value: int) -> bytes:
    return _varint(number << 3) + _varint(int(value) % 2**64)


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])
