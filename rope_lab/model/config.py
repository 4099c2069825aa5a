"""The decoder's block and dimensions, in one dataclass."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp

BLOCKS = ("llama", "gau")
REMATS = ("none", "full", "dots")
EXCHANGES = ("keys", "heads")
# How the same numbers are computed.
COMPUTED = ("dtype", "remat", "context_exchange")
QK_NORMS = ("none", "rms", "keys", "queries", "cosine")
# ModelConfig.biases -> the groups of projections that have one.
BIASES: dict[bool | str, tuple[str, ...]] = {
    False: (),
    "qkv": ("qkv",),
    "attention": ("qkv", "out"),
    "feed_forward": ("feed_forward",),
    True: ("qkv", "out", "feed_forward"),
}
_DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """A decoder. The position logic is not part of it: see `Decoder`.

    qk_norm is done before rotation: "rms", RMSNorm with learned gains on the queries
    and keys of each head (Qwen3, arXiv 2505.09388); or of kexue.fm 9859: "keys", keys
    of length 1 (KeyNorm); "queries", queries of length 1 (QueryNorm); "cosine", both.
    The logits of KeyNorm and QueryNorm are q . k without 1/sqrt(head_dim): where a
    logic leaves its softmax scale open, it is 1. Cosines are at most 1, so there a
    logic has to state one. A plain callable computes logits of such vectors itself.

    remat trades time for memory: "none" keeps what a layer computed, "full" its input
    alone, "dots" its input and the results of its products with parameters.

    context_exchange is what devices send each other that hold parts of one sequence:
    "keys" in a ring, for every logic; or "heads", all to all, of which each then has
    some for the whole sequence: the kernels of accelerators, but no biases, and key
    heads that the context axis divides (see `rope_lab.attention.attend_by_heads`).
    """

    vocab_size: int  # V, tokens of the tokenizer
    num_layers: int = 4  # L
    width: int = 128  # E, of the residual stream
    ff_width: int = 320  # F, hidden units of the gated feed-forward; GAU: of u and v
    num_heads: int = 4  # H, query heads; GAU: 1
    num_kv_heads: int = 4  # K, key and value heads; H is a multiple of it
    head_dim: int = 32  # D, even; independent of width / num_heads
    tied_embeddings: bool = True  # one matrix reads tokens and scores them
    block: str = "llama"  # or "gau", the gated attention unit, see gau.py
    qk_norm: str = "none"  # of queries and keys: "none", "rms" or "keys", see above
    biases: bool | str = False  # True: on every projection; or a name of BIASES
    norm_epsilon: float = 1e-6  # of RMSNorm, under the root
    dtype: str = "float32"  # of activations and products: "float32" or "bfloat16"
    remat: str = "none"  # what the backward pass computes again, see above
    context_exchange: str = "keys"  # between parts of a sequence, see above

    def __post_init__(self) -> None:
        for field in (
            "vocab_size",
            "num_layers",
            "width",
            "ff_width",
            "num_heads",
            "num_kv_heads",
        ):
            if getattr(self, field) < 1:
                raise ValueError(f"model.{field} must be at least 1: {self}")
        if self.head_dim < 2 or self.head_dim % 2:
            raise ValueError(
                f"model.head_dim must be even and at least 2, got {self.head_dim}: a "
                "plane of rotation is a pair of dimensions"
            )
        if self.num_heads % self.num_kv_heads:
            raise ValueError(
                f"model.num_heads {self.num_heads} must be a multiple of "
                f"model.num_kv_heads {self.num_kv_heads}"
            )
        for field, known in (
            ("block", BLOCKS),
            ("qk_norm", QK_NORMS),
            ("remat", REMATS),
            ("context_exchange", EXCHANGES),
            ("dtype", tuple(_DTYPES)),
            ("biases", tuple(BIASES)),
        ):
            given = getattr(self, field)
            if given not in known:
                raise ValueError(f"model.{field} must be one of {known}: {given!r}")
        if self.block == "gau" and (self.num_heads != 1 or self.biases):
            raise ValueError(
                "the gated attention unit has one head and no biases: set "
                f"model.num_heads=1, model.num_kv_heads=1 (got {self.num_heads} and "
                f"{self.num_kv_heads}) and model.biases=False (got {self.biases})"
            )

    def has_bias(self, group: str) -> bool:
        """Whether projections of a group have biases: "qkv", "out", "feed_forward"."""
        return group in BIASES[self.biases]

    def computed_as(self, changes: Mapping[str, Any]) -> ModelConfig:
        """The same parameters in another dtype, or rematerialised otherwise.

        Raises:
          ValueError: a change that would need other parameters, or none that is known.
        """
        for key, value in changes.items():
            if key not in {field.name for field in dataclasses.fields(self)}:
                raise ValueError(f"model.{key}: nothing reads this key")
            if key not in COMPUTED and value != getattr(self, key):
                raise ValueError(
                    f"model.{key} is {value!r}, and the checkpoint was trained with "
                    f"{getattr(self, key)!r}; only {', '.join(COMPUTED)} can change"
                )
        return dataclasses.replace(self, **changes)

    def same_parameters(self, other: ModelConfig) -> bool:
        """Whether parameters of one mean the same in the other, however computed."""
        plain = dict.fromkeys(COMPUTED)
        some, others = dataclasses.asdict(self), dataclasses.asdict(other)
        return some | plain == others | plain

    @property
    def value_dim(self) -> int:
        """C, of the values of each key head."""
        return self.ff_width if self.block == "gau" else self.head_dim

    @property
    def compute_dtype(self) -> jnp.dtype:
        """dtype as JAX knows it."""
        return _DTYPES[self.dtype]
