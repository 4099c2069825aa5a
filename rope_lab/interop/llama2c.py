"""Checkpoints of llama2.c: a .bin of float32 numbers, and its tokenizer.bin.

The header is seven int32: width, feed-forward width, layers, heads, key heads,
vocabulary (negative where scores have a matrix of their own), length. The weights
follow in the order of `_kinds`, layer by layer within each kind (karpathy/llama2.c,
export.py, legacy_export). Planes are interleaved; they are regrouped here.
"""

from __future__ import annotations

import math
import struct
from pathlib import Path

import numpy as np

from rope_lab.data.tokenizers import SentencePieceTokenizer
from rope_lab.interop.described import Described, checked_sizes
from rope_lab.interop.leaves import EMBEDDING, SCORES
from rope_lab.interop.pairs import to_half
from rope_lab.interop.sentencepiece import (
    BYTE,
    CONTROL,
    NORMAL,
    SPACE,
    UNKNOWN,
    model_content,
)
from rope_lab.model import ModelConfig
from rope_lab.rotary import rope

TOKENIZER = "tokenizer.bin"
_HEADER = struct.Struct("<7i")
_BASE, _EPSILON = 10_000.0, 1e-5  # constants of its run.c
_UNK, _BOS, _EOS, _FIRST_BYTE = 0, 1, 2, 3
_NORM, _TURNED = "model.norm.weight", ("q_proj", "k_proj")


def open_llama2c(path: Path):
    """(description, tensors, tokenizer) of a .bin with tokenizer.bin beside it.

    Raises:
      ValueError: another file, or not all of one; no tokenizer.
    """
    model, length = _read_header(path)
    source = Llama2cFile(path, model, length)
    rope_spec = {"name": "rope", "base": _BASE}
    described = Described(model, rope_spec, length, bos_id=_BOS)
    return described, source, read_tokenizer(path.with_name(TOKENIZER), model)


def _read_header(path: Path) -> tuple[ModelConfig, int]:
    with path.open("rb") as file:
        content = file.read(_HEADER.size)
    if len(content) < _HEADER.size:
        raise ValueError(f"{path} has {len(content)} bytes: no checkpoint of llama2.c")
    width, ff_width, layers, heads, kv_heads, vocabulary, length = _HEADER.unpack(
        content
    )
    sizes = (width, ff_width, layers, heads, kv_heads, abs(vocabulary), length)
    if content[:4] in (b"24ka", b"ak42") or min(sizes) < 1 or width % heads:
        raise ValueError(
            f"{path} is no llama2.c checkpoint of version 0 (its header reads "
            f"{sizes}): export it with --version 0, or as a Hugging Face folder"
        )
    model = ModelConfig(
        vocab_size=abs(vocabulary),
        num_layers=layers,
        width=width,
        ff_width=ff_width,
        num_heads=heads,
        num_kv_heads=kv_heads,
        head_dim=width // heads,
        tied_embeddings=vocabulary > 0,
        norm_epsilon=_EPSILON,
    )
    checked_sizes(str(path), model.num_layers, model.head_dim)
    return model, length


class Llama2cFile:
    """The tensors of a .bin, under the names of transformers."""

    def __init__(self, path: Path, model: ModelConfig, length: int):
        self.place, self._head_dim = path, model.head_dim
        self._starts: dict[str, int] = {}
        self.shapes: dict[str, tuple[int, ...]] = {}
        rows = _kinds(model, length)
        size, end = path.stat().st_size, _HEADER.size
        end += sum(4 * math.prod(shape) * layers for _, shape, layers in rows)
        if size != end:
            raise ValueError(
                f"{path} has {size} bytes, and its header tells of {end}: it is "
                "damaged or incomplete, or no checkpoint of llama2.c"
            )
        start = _HEADER.size
        for name, shape, layers in rows:
            for layer in range(layers):
                self._starts[name.format(layer)] = start
                self.shapes[name.format(layer)] = shape
                start += 4 * math.prod(shape)
        self._check_frequencies()

    def tensor(self, name: str) -> np.ndarray:
        shape = self.shapes[name]
        mapped = np.memmap(self.place, "<f4", "r", self._starts[name], shape)
        if any(part in name for part in _TURNED):
            return to_half(mapped, self._head_dim)
        return mapped

    def _check_frequencies(self) -> None:
        """Its tables of cosines and sines have to be those of base 10,000."""
        tables = [self.tensor(name)[:2] for name in ("freq_cos", "freq_sin")]
        for name in ("freq_cos", "freq_sin"):
            del self.shapes[name]
        if len(tables[0]) < 2:
            return  # one position says nothing of frequencies
        found = np.arctan2(tables[1][1], tables[0][1])
        if not np.allclose(found, rope(self._head_dim, _BASE).angular, rtol=1e-3):
            raise ValueError(
                f"{self.place}: its table of angles is not that of RoPE with base "
                f"{_BASE:g}, which llama2.c computes with"
            )


def _kinds(model: ModelConfig, length: int) -> list[tuple[str, tuple[int, ...], int]]:
    """(name, shape, how many) of the tensors in the order of the file.

    The header may tell of as many layers as it likes: nothing is made for each of them
    before the size of the file is known to agree.
    """
    width, ff_width, table = model.width, model.ff_width, model.head_dim // 2
    keys = model.num_kv_heads * model.head_dim
    kinds = [
        ("input_layernorm", (width,)),
        ("self_attn.q_proj", (width, width)),
        ("self_attn.k_proj", (keys, width)),
        ("self_attn.v_proj", (keys, width)),
        ("self_attn.o_proj", (width, width)),
        ("post_attention_layernorm", (width,)),
        ("mlp.gate_proj", (ff_width, width)),
        ("mlp.down_proj", (width, ff_width)),
        ("mlp.up_proj", (ff_width, width)),
    ]
    rows: list[tuple[str, tuple[int, ...], int]] = [
        (EMBEDDING, (model.vocab_size, width), 1)
    ]
    for kind, shape in kinds:
        rows.append((f"model.layers.{{}}.{kind}.weight", shape, model.num_layers))
    rows += [(_NORM, (width,), 1), ("freq_cos", (length, table), 1)]
    rows.append(("freq_sin", (length, table), 1))
    if not model.tied_embeddings:
        rows.append((SCORES, (model.vocab_size, width), 1))
    return rows


def read_tokenizer(path: Path, model: ModelConfig) -> SentencePieceTokenizer:
    """A tokenizer.bin: int32, then score, length and bytes of every piece."""
    if not path.is_file():
        raise ValueError(f"there is no {path.name} beside the checkpoint, in {path}")
    pieces, scores = _pieces(path)
    if len(pieces) != model.vocab_size:
        raise ValueError(
            f"{path} has {len(pieces)} pieces, the model {model.vocab_size} tokens: "
            "they are not of one checkpoint"
        )
    if len(pieces) < _FIRST_BYTE + 256:
        raise ValueError(
            f"{path} has {len(pieces)} pieces; the first {_FIRST_BYTE + 256} are "
            "special ones and single bytes"
        )
    kinds = [NORMAL] * len(pieces)
    kinds[_UNK], kinds[_BOS], kinds[_EOS] = UNKNOWN, CONTROL, CONTROL
    kinds[_FIRST_BYTE : _FIRST_BYTE + 256] = [BYTE] * 256
    # It spells blanks as they are, and puts lines around these two.
    pieces = [piece.replace(" ", SPACE) for piece in pieces]
    pieces[_BOS], pieces[_EOS] = "<s>", "</s>"
    built = model_content(pieces, scores, kinds, _BOS, _EOS)
    tokenizer = SentencePieceTokenizer(path, content=built)
    tokenizer.eos_ids = (_EOS, _BOS)  # its run.c ends a text where the next begins
    return tokenizer


def _pieces(path: Path) -> tuple[list[str], list[float]]:
    content, place = path.read_bytes(), 4
    pieces: list[str] = []
    scores: list[float] = []
    try:
        while place < len(content):
            score, length = struct.unpack_from("<fi", content, place)
            place += 8
            if not 0 <= length <= len(content) - place:
                raise ValueError(f"piece {len(pieces)} has a length of {length} bytes")
            # Single bytes are spelt in more than one way, so by their number.
            byte = len(pieces) - _FIRST_BYTE
            spelt = content[place : place + length]
            own = 0 <= byte < 256
            pieces.append(f"<0x{byte:02X}>" if own else spelt.decode())
            scores.append(score)
            place += length
    except (struct.error, ValueError) as error:
        raise ValueError(f"{path} is no tokenizer of llama2.c: {error}") from None
    return pieces, scores
