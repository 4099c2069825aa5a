"""exp for softmax weights: arguments at most 0 or so, results at most 1 or so.

XLA's own exp on a CPU costs as much as a tenth of the products around it.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp

# (2**f - 1) / f on [-1/2, 1/2] in Chebyshev nodes: 2**f to 2.1e-7 relative, exact at 0.
_COEFFICIENTS = (
    0.6931471880293427,
    0.24022348940946975,
    0.05550357104253049,
    0.009666373693208056,
    0.0013390867351356001,
)


def exp(x: jax.Array) -> jax.Array:
    """e**x, float32, to 4e-7 + |x| * 7e-8 relative.

    Exactly 1 at 0, exactly 0 where the result would not be a normal number
    (x < -87.3), -inf included; NaN of NaN; wrong above 88, where it would overflow.
    """
    x = jnp.maximum(x * math.log2(math.e), -127.0)
    whole = jnp.round(x)
    rest = x - whole
    power = jnp.float32(_COEFFICIENTS[-1])
    for coefficient in (*_COEFFICIENTS[-2::-1], 1.0):
        power = power * rest + coefficient
    # Times 2**whole: `whole` is added to the bits of the exponent.
    bits = jax.lax.bitcast_convert_type(power, jnp.int32)
    bits = bits + (whole.astype(jnp.int32) << 23)
    # NaN is not below, and its bits stay: its whole part adds 0 to them.
    return jnp.where(x < -126.0, 0.0, jax.lax.bitcast_convert_type(bits, jnp.float32))
