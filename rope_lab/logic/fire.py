"""FIRE: a small network of the distance over the query's position (2310.04418).

Legend: B batch, T queries, S keys, H query heads, U hidden units.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from rope_lab.logic.learned import (
    Leaf,
    LearnedBias,
    distance,
    first_draw,
    pytree,
    static,
)
from rope_lab.logic.options import require_whole
from rope_lab.logic.setting import Setting


@pytree
class FireBias(LearnedBias):
    """MLP(psi(i - j) / psi(max(L, i))), psi(x) = ln(|c x| + 1): arXiv 2310.04418.

    L = |multiplier * threshold| tokens. The MLP has one input, U hidden units with
    ReLU, and one output for each head. The constant of an output, which the authors'
    network has, would cancel in every softmax and is left out. Of all biases this one
    alone depends on where the query is.

    Attributes:
      c: []; multiplier: []; hidden_kernel_U, hidden_bias_U, out_kernel_UH.
      threshold: tokens; up to there the distances of all queries are divided alike.
    """

    c: Leaf
    multiplier: Leaf
    hidden_kernel_U: Leaf
    hidden_bias_U: Leaf
    out_kernel_UH: Leaf
    threshold: float = static()

    @property
    def num_heads(self) -> int:
        """H."""
        return self.out_kernel_UH.shape[-1]

    def fresh(self, key: jax.Array) -> FireBias:
        """c = 0.1, multiplier = 1; weights uniform within 1/sqrt(inputs) (PyTorch)."""
        units, heads = self.out_kernel_UH.shape
        shapes = {
            "hidden_kernel_U": ((units,), 1.0),
            "hidden_bias_U": ((units,), 1.0),
            "out_kernel_UH": ((units, heads), units**-0.5),
        }
        drawn = {
            name: jax.random.uniform(one, shape, minval=-bound, maxval=bound)
            for one, (name, (shape, bound)) in zip(
                jax.random.split(key, len(shapes)), shapes.items(), strict=True
            )
        }
        c, multiplier = jnp.float32(0.1), jnp.float32(1.0)
        return FireBias(c, multiplier, **drawn, threshold=self.threshold)

    def __call__(self, queries: jax.Array, keys: jax.Array) -> jax.Array:
        """float32[B, H, T, S]."""
        return _fire(self, distance(queries, keys), queries)


@jax.checkpoint  # the hidden layer is U numbers for each pair: made again, not kept
def _fire(bias: FireBias, distance_BTS: jax.Array, queries: jax.Array) -> jax.Array:
    def psi(tokens):
        return jnp.log1p(jnp.abs(bias.c * tokens))

    first = jnp.abs(bias.multiplier * bias.threshold)
    longest = jnp.maximum(first, queries.astype(jnp.float32))
    x_BTS1 = (psi(distance_BTS.astype(jnp.float32)) / (psi(longest) + 1e-6))[..., None]
    kernel_111U, bias_111U = (
        jnp.asarray(x)[None, None, None]
        for x in (bias.hidden_kernel_U, bias.hidden_bias_U)
    )
    hidden_BTSU = jax.nn.relu(x_BTS1 * kernel_111U + bias_111U)
    return jnp.einsum(
        "BTSU,UH->BHTS",
        hidden_BTSU,
        bias.out_kernel_UH,
        precision=jax.lax.Precision.HIGHEST,
    )


def fire(setting: Setting, *, num_heads, threshold=512, hidden=32):
    """A network of the distance over the query's position (arXiv 2310.04418)."""
    heads = require_whole(setting.name, "num_heads", num_heads)
    units = require_whole(setting.name, "hidden", hidden)
    if not threshold > 0:
        raise ValueError(
            f"{setting.name} needs threshold in tokens, above 0, got {threshold!r}"
        )
    shapes = ((), (), (units,), (units,), (units, heads))
    c, by, kernel_U, bias_U, out_UH = (np.zeros(s, np.float32) for s in shapes)
    return first_draw(FireBias(c, by, kernel_U, bias_U, out_UH, float(threshold)))
