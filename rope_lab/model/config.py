"""The decoder's dimensions, in one dataclass."""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp

_DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """A Llama-style decoder. The position logic is not part of it: see `Decoder`."""

    vocab_size: int  # V, tokens of the tokenizer
    num_layers: int = 4  # L
    width: int = 128  # E, of the residual stream
    ff_width: int = 320  # F, hidden units of the gated feed-forward block
    num_heads: int = 4  # H, query heads
    num_kv_heads: int = 4  # K, key and value heads; H is a multiple of it
    head_dim: int = 32  # D, even; independent of width / num_heads
    tied_embeddings: bool = True  # one matrix reads tokens and scores them
    qk_norm: bool = False  # RMSNorm on queries and keys of each head, before rotation
    biases: bool = False  # on every projection
    norm_epsilon: float = 1e-6  # of RMSNorm, under the root
    dtype: str = "float32"  # of activations and products: "float32" or "bfloat16"
    remat: bool = False  # recompute a layer in the backward pass instead of storing it

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
        if self.dtype not in _DTYPES:
            raise ValueError(
                f"model.dtype must be one of {sorted(_DTYPES)}, got {self.dtype!r}"
            )

    @property
    def compute_dtype(self) -> jnp.dtype:
        """dtype as JAX knows it."""
        return _DTYPES[self.dtype]
