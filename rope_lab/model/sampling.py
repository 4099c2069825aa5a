"""From the scores of the next token to a token.

Legend: B batch, V vocabulary.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Sampling:
    """How to choose. The numbers are data; what decides the program is static.

    Attributes:
      temperature: float32[], divides the scores.
      top_p: float32[], probability that the kept tokens reach together.
      greedy: the most likely token, whatever the rest says.
      top_k: keep only so many of the most likely tokens; None keeps all.
      nucleus: whether top_p is looked at.
    """

    temperature: Any
    top_p: Any
    greedy: bool = dataclasses.field(metadata={"static": True})
    top_k: int | None = dataclasses.field(metadata={"static": True})
    nucleus: bool = dataclasses.field(metadata={"static": True})

    def choose(self, logits_BV: jax.Array, key: jax.Array) -> jax.Array:
        """int32[B] of float32[B, V]; row b draws from its own key, whatever B is."""
        if self.greedy:
            return jnp.argmax(logits_BV, axis=-1).astype(jnp.int32)
        logits_BV = logits_BV / self.temperature
        if self.top_k is None and not self.nucleus:
            kept, tokens = logits_BV, None
        else:  # sorted, the most likely first
            count = logits_BV.shape[-1] if self.top_k is None else self.top_k
            kept, tokens = jax.lax.top_k(logits_BV, min(count, logits_BV.shape[-1]))
        if self.nucleus:
            weights = jax.nn.softmax(kept, axis=-1)
            before = jnp.cumsum(weights, axis=-1) - weights
            kept = jnp.where(before < self.top_p, kept, -jnp.inf)
        rows = jnp.arange(kept.shape[0])
        keys = jax.vmap(jax.random.fold_in, (None, 0))(key, rows)
        drawn = jax.vmap(jax.random.categorical)(keys, kept).astype(jnp.int32)
        if tokens is None:
            return drawn
        return jnp.take_along_axis(tokens, drawn[:, None], axis=-1)[:, 0]


def make_sampling(
    temperature: float | None, top_k: int | None, top_p: float | None
) -> Sampling:
    """Checked. temperature None: greedy, or 1 where top_k or top_p ask for a draw."""
    if temperature is None:
        temperature = 0.0 if top_k is None and top_p is None else 1.0
    if not 0 <= temperature < math.inf:
        raise ValueError(
            f"temperature must be a number from 0 (greedy) up, got {temperature}"
        )
    if top_k is not None and (isinstance(top_k, bool) or top_k != int(top_k)):
        raise ValueError(f"top_k must be a whole number of tokens, got {top_k}")
    if top_k is not None and top_k < 1:
        raise ValueError(f"top_k must keep at least one token, got {top_k}")
    if top_p is not None and not 0 < top_p <= 1:
        raise ValueError(f"top_p must be in (0, 1], got {top_p}")
    greedy = temperature == 0
    return Sampling(
        temperature=np.float32(temperature),
        top_p=np.float32(1.0 if top_p is None else top_p),
        greedy=greedy,
        top_k=None if greedy or top_k is None else int(top_k),
        nucleus=not greedy and top_p is not None,
    )
