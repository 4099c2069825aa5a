"""GGUF files of the Llama architecture.

The format keeps q and k for interleaved planes; they are regrouped here
(ggml-org/llama.cpp, convert_hf_to_gguf.py, LlamaModel.permute).
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from rope_lab.interop.described import Described, checked_sizes
from rope_lab.interop.gguf_blocks import dequantized, row_bytes
from rope_lab.interop.gguf_header import GgufTensor, read_header
from rope_lab.interop.gguf_tokenizer import read_tokenizer
from rope_lab.interop.keys import Keys
from rope_lab.interop.leaves import EMBEDDING, SCORES
from rope_lab.interop.pairs import to_half
from rope_lab.interop.rope_types import Spec, factored
from rope_lab.model import ModelConfig
from rope_lab.model.config import BIASES

_FREQUENCIES = "rope_freqs.weight"
_TOP = {
    "token_embd.weight": EMBEDDING,
    "output.weight": SCORES,
    "output_norm.weight": "model.norm.weight",
}
_IN_LAYER = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
# Tensors whose bias tells that a group of projections has them, see `BIASES`.
_BIASED = {"qkv": "attn_q", "out": "attn_output", "feed_forward": "ffn_up"}
_TURNED = ("attn_q.", "attn_k.")


def open_gguf(path: Path):
    """(description, tensors, tokenizer) of a .gguf file.

    Raises:
      ValueError: another architecture; a key, tensor or pre-tokenizer that nothing
        reads; a damaged file; the package gguf is not installed.
    """
    values, tensors = read_header(path, row_bytes(path))
    keys = Keys(values, str(path))
    keys.require("general.architecture", ("llama",), "only Llama's is read")
    stored = {tensor.name: tensor for tensor in tensors}
    model = _model(keys, set(stored))
    checked_sizes(str(path), model.num_layers, model.head_dim)
    length = keys.whole("llama.context_length")
    encoding = _rope(keys, stored.pop(_FREQUENCIES, None), model.head_dim, length)
    tokenizer, bos_id = read_tokenizer(keys, path, model.vocab_size)
    keys.ignore(key for key in keys.left() if key.startswith(_BOOKKEEPING))
    keys.finish()
    described = Described(model, encoding, length, bos_id)
    return described, GgufTensors(path, stored, model.head_dim), tokenizer


# Sources, licences, names; how the weights were quantized, which each tensor says too.
_BOOKKEEPING = ("general.", "quantize.")


def _model(keys: Keys, stored: set[str]) -> ModelConfig:
    keys.require("llama.expert_count", (0,), "there are no experts here")
    keys.require("llama.expert_used_count", (0,), "there are no experts here")
    width = keys.whole("llama.embedding_length")
    heads = keys.whole("llama.attention.head_count")
    head_dim = keys.whole("llama.attention.key_length", width // heads)
    for key in ("llama.attention.value_length", "llama.rope.dimension_count"):
        keys.require(key, (head_dim,), f"heads have {head_dim} dims, all rotated")
    pieces = keys.peek("tokenizer.ggml.tokens", [])
    vocabulary = len(pieces) if isinstance(pieces, list) else 0
    return ModelConfig(
        vocab_size=keys.whole("llama.vocab_size", vocabulary),
        num_layers=keys.whole("llama.block_count"),
        width=width,
        ff_width=keys.whole("llama.feed_forward_length"),
        num_heads=heads,
        num_kv_heads=keys.whole("llama.attention.head_count_kv", heads),
        head_dim=head_dim,
        tied_embeddings="output.weight" not in stored,
        biases=_biases(keys, stored),
        norm_epsilon=keys.number("llama.attention.layer_norm_rms_epsilon"),
    )


def _biases(keys: Keys, stored: set[str]) -> bool | str:
    has = tuple(g for g, name in _BIASED.items() if f"blk.0.{name}.bias" in stored)
    for name, groups in BIASES.items():
        if groups == has:
            return name
    raise ValueError(f"{keys.place}: biases on {has} alone are not read")


def _rope(keys: Keys, factors: GgufTensor | None, head_dim: int, length: int) -> Spec:
    """The spec of rope.freq_base, rope.scaling.* and rope_freqs.weight."""
    base = float(keys.number("llama.rope.freq_base", 10_000.0))
    keys.ignore(["llama.rope.scaling.finetuned"])  # says whether, not how
    kind = keys.take("llama.rope.scaling.type", "none")
    if kind not in ("none", "linear", "yarn"):
        raise ValueError(f"{keys.place}: unknown llama.rope.scaling.type {kind!r}")
    if factors is not None:
        divisors = np.asarray(dequantized(factors), np.float64).reshape(-1)
        if kind != "none" or len(divisors) != head_dim // 2 or divisors.min() <= 0:
            raise ValueError(
                f"{keys.place}: {_FREQUENCIES} holds {len(divisors)} factors beside "
                f"llama.rope.scaling.type {kind!r}; expected {head_dim // 2} above 0 "
                "and none"
            )
        return factored(divisors.tolist(), length) | {"base": base}
    if kind == "none":
        return {"name": "rope", "base": base}
    scale = keys.number("llama.rope.scaling.factor")
    if kind == "linear":
        return {"name": "interpolated", "scale": scale, "base": base}
    # ggml multiplies cos and sin by 0.1 ln(scale) + 1, and by attn_factor.
    root = (0.1 * math.log(max(scale, 1.0)) + 1.0) * keys.number(
        "llama.rope.scaling.attn_factor", 1.0
    )
    return {
        "name": "yarn",
        "scale": scale,
        "train_length": keys.whole("llama.rope.scaling.original_context_length"),
        "logit_scale": root**2,
        "base": base,
    }


class GgufTensors:
    """The tensors of a file under the names of transformers."""

    def __init__(self, path: Path, stored: dict[str, GgufTensor], head_dim: int):
        self.place, self._head_dim = path, head_dim
        self._stored = {_renamed(name): tensor for name, tensor in stored.items()}
        self.shapes = {name: tensor.shape for name, tensor in self._stored.items()}

    def tensor(self, name: str) -> np.ndarray:
        stored = self._stored[name]
        rows = dequantized(stored).reshape(self.shapes[name])
        turned = any(part in stored.name for part in _TURNED)
        return to_half(rows, self._head_dim) if turned else rows


def _renamed(name: str) -> str:
    """A name of transformers; one that is not known stays, and is then refused."""
    parts = name.split(".")
    if name in _TOP:
        return _TOP[name]
    if len(parts) == 4 and parts[0] == "blk" and parts[2] in _IN_LAYER:
        return f"model.layers.{parts[1]}.{_IN_LAYER[parts[2]]}.{parts[3]}"
    return name
