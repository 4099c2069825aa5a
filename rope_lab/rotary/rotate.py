"""Angles that stay exact at long positions, and the rotation in both layouts."""

from __future__ import annotations

import math
from typing import Literal

import jax
import jax.numpy as jnp

from rope_lab.rotary import exact
from rope_lab.rotary.planes import Frequencies

Layout = Literal["half", "interleaved"]


def angles(positions: jax.typing.ArrayLike, frequencies: Frequencies) -> jax.Array:
    """positions * frequencies, radians modulo one turn, in [-pi, pi).

    Right to 1e-6 against float64 at position 2**20 and beyond; see `rotary.exact`.
    Differentiable in the frequencies: the derivative is the position.

    Args:
      positions: int32[...], tokens, of either sign.
      frequencies: P planes.

    Returns:
      float32[..., P].

    Raises:
      ValueError: positions are not integers. Fractions of a token are a constant
        rotation: add ``fraction * frequencies.angular``.
    """
    positions = jnp.asarray(positions)
    if not jnp.issubdtype(positions.dtype, jnp.integer):
        raise ValueError(
            f"positions must be integers, got {positions.dtype}: a float32 position "
            "loses whole tokens beyond 2**24, a bfloat16 one beyond 256"
        )
    return _angles(
        positions.astype(jnp.int32), frequencies.angular, frequencies.angular_low
    )


@jax.custom_jvp
def _angles(positions, angular, angular_low):
    turns = exact.turns_per_token(angular, angular_low)
    turns = turns.reshape(2, *(1,) * positions.ndim, turns.shape[-1])
    return exact.phase(positions[..., None], turns).astype(jnp.float32) * (
        2 * math.pi / 2**32
    )


@_angles.defjvp
def _angles_jvp(primals, tangents):
    positions = primals[0]
    tangent = tangents[1] + tangents[2]
    tangent = tangent.reshape(*(1,) * positions.ndim, tangent.shape[-1])
    return _angles(*primals), positions[..., None].astype(jnp.float32) * tangent


@jax.custom_jvp
def cos_sin(angles: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Cosines and sines of float32 angles of a few turns at most, to 1e-7.

    Both at once, and without the reduction of huge arguments that makes XLA's own a
    multiple slower on a CPU.
    """
    quarters = jnp.round(angles * (2 / math.pi))
    # pi/2 as a float32 of few bits, whose multiples are exact, and the rest.
    rest = angles - quarters * 1.5703125 - quarters * (math.pi / 2 - 1.5703125)
    square = rest * rest
    sine = -1.9515295891e-4 * square + 8.3321608736e-3
    sine = rest + rest * square * (sine * square - 1.6666654611e-1)
    cosine = 2.443315711809948e-5 * square - 1.388731625493765e-3
    cosine = cosine * square + 4.166664568298827e-2
    cosine = 1.0 - 0.5 * square + square * square * cosine
    number = quarters.astype(jnp.int32)
    swapped = (number & 1) == 1
    cosine, sine = (
        jnp.where(swapped, sine, cosine),
        jnp.where(swapped, cosine, sine),
    )
    cosine = jnp.where(((number + 1) & 2) == 2, -cosine, cosine)
    return cosine, jnp.where((number & 2) == 2, -sine, sine)


@cos_sin.defjvp
def _cos_sin_jvp(primals, tangents):
    cosine, sine = cos_sin(*primals)
    return (cosine, sine), (-sine * tangents[0], cosine * tangents[0])


def rotate(x: jax.Array, angles: jax.Array, layout: Layout = "half") -> jax.Array:
    """Turn the first 2 * P dims of x plane by plane; the rest passes unchanged.

    Args:
      x: [..., D].
      angles: float32[..., P], radians; leading axes broadcast against those of x.
      layout: "half" pairs dims (i, i + P) (NeoX, Hugging Face Llama); "interleaved"
        pairs (2i, 2i + 1) (RoFormer, Meta's Llama). They differ by a permutation of the
        projection's rows: weights of one in the other are wrong, not merely slower.

    Returns:
      Like x; computed in float32.

    Raises:
      ValueError: 2 * P exceeds D, or the layout is unknown.
    """
    angles = angles.reshape(*(1,) * (x.ndim - angles.ndim), *angles.shape)
    return turn(x, *cos_sin(angles), layout)


def turn(
    x: jax.Array, cos: jax.Array, sin: jax.Array, layout: Layout = "half"
) -> jax.Array:
    """`rotate` by the cosines and sines of the angles, float32[..., P], of x's rank."""
    planes, dim = cos.shape[-1], x.shape[-1]
    if 2 * planes > dim:
        raise ValueError(f"{planes} planes need {2 * planes} dims, x has {dim}")
    turned, passed = x[..., : 2 * planes].astype(jnp.float32), x[..., 2 * planes :]
    if layout == "half":
        first, second = turned[..., :planes], turned[..., planes:]
        pair = (first * cos - second * sin, second * cos + first * sin)
        turned = jnp.concatenate(pair, axis=-1)
    elif layout == "interleaved":
        first, second = turned[..., 0::2], turned[..., 1::2]
        pair = (first * cos - second * sin, second * cos + first * sin)
        turned = jnp.stack(pair, axis=-1)
        turned = turned.reshape(*turned.shape[:-2], 2 * planes)
    else:
        raise ValueError(f"layout must be 'half' or 'interleaved', got {layout!r}")
    return jnp.concatenate([turned.astype(x.dtype), passed], axis=-1)
