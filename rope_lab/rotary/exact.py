"""Arithmetic that keeps angles exact: float64 on the host, integers when traced.

A rotary angle is ``position * frequency`` modulo one turn. In float32 the product is
off by 2e-2 radians at position 2**20, so no such product is ever formed. A frequency
is a high and a low float32 (48 bits together); `turns_per_token` writes it as a 64-bit
fraction of a turn, and `phase` multiplies that by an int32 position modulo 2**32, where
wrapping *is* the reduction modulo one turn. Every float product below has at most 24
significant bits, so it is exact and a fused multiply-add cannot change it.
"""

from __future__ import annotations

import math
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np

AnyArray = np.ndarray | jax.Array
_LIMBS = 4  # a fraction of a turn is four 16-bit limbs, most significant first
_CHUNK_BITS = 12  # two factors of 12 bits make an exact float32 product
_TURN_CHUNKS = 5  # 60 bits of 1 / (2 pi)


def is_traced(*values: object) -> bool:
    """Whether any of the values is known only inside a JAX transformation."""
    return any(isinstance(value, jax.core.Tracer) for value in values)


def split(values: AnyArray | float) -> tuple[np.ndarray, np.ndarray]:
    """float64 -> the nearest float32 and the float32 rest."""
    values = np.asarray(values, np.float64)
    high = values.astype(np.float32)
    return high, (values - high).astype(np.float32)


def join(high: AnyArray, low: AnyArray) -> np.ndarray:
    """The float64 value of a high and low pair; host only."""
    return np.asarray(high, np.float64) + np.asarray(low, np.float64)


def power(base: float | AnyArray, exponents: np.ndarray) -> np.ndarray | jax.Array:
    """``base ** exponents`` in float64 on the host, to 3e-7 relative when traced.

    exp(x * log(base)) in float32 loses the digits of the whole part of its argument;
    here that part leaves as an exact power of two.
    """
    exponents = np.asarray(exponents, np.float64)
    if not is_traced(base):
        return np.float64(base) ** exponents
    coarse, fine = halves(exponents)
    log_high, log_low = log2(base)  # log_high has at most 12 bits: exact products
    whole = jnp.round(log_high * coarse)
    rest = (log_high * coarse - whole) + (log_high * fine + log_low * (coarse + fine))
    return jnp.ldexp(jnp.exp2(rest), whole.astype(jnp.int32))


def halves(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """float64 below one as a multiple of 2**-12 and the rest, float32 both."""
    coarse = np.round(values * 2**_CHUNK_BITS) / 2**_CHUNK_BITS
    return coarse.astype(np.float32), (values - coarse).astype(np.float32)


def log2(value: AnyArray | float) -> tuple[jax.Array, jax.Array]:
    """Base-2 logarithm as a pair: a multiple of 1/128 and a small rest, to 1e-9.

    value = mantissa * 2**e; a table of 2**(-k/128) leaves mantissa * 2**(-k/128) within
    3e-3 of one, where float32 is fine enough. Traced counterpart of np.log2.
    """
    mantissa, exponent = jnp.frexp(jnp.asarray(value, jnp.float32))
    k = jnp.round(jnp.log2(mantissa) * 128.0)  # -128 .. 0
    table_high, table_low = split(2.0 ** (np.arange(129) / 128))  # 2**(-k/128)
    row = (-k).astype(jnp.int32)
    factor, factor_low = jnp.asarray(table_high)[row], jnp.asarray(table_low)[row]
    excess = jnp.float32(-1.0)
    for first in _halves(mantissa):
        for second in _halves(factor):
            excess = excess + first * second
    excess = excess + mantissa * factor_low
    return exponent + k / 128.0, jnp.log1p(excess) / math.log(2.0)


def turns_per_token(high: jax.Array, low: jax.Array) -> jax.Array:
    """Radians per token as a 64-bit fraction of a turn: uint32[2, P] (high, low)."""
    factors = jnp.stack([*_halves(jnp.asarray(high)), *_halves(jnp.asarray(low))])
    planes = factors.shape[-1]
    chunks = jnp.asarray(_inverse_turn_chunks()).reshape(1, _TURN_CHUNKS, 1)
    products = factors.reshape(4, 1, planes) * chunks
    rest = jnp.abs(products)
    rest = rest - jnp.floor(rest)
    sign = jnp.sign(products).astype(jnp.int32)
    limbs = []
    for _ in range(_LIMBS):
        rest = rest * 2.0**16
        limb = jnp.floor(rest)
        rest = rest - limb
        limbs.append(jnp.sum(sign * limb.astype(jnp.int32), axis=(0, 1)))
    for k in range(_LIMBS - 1, 0, -1):  # carry upwards; the last carry is whole turns
        limbs[k - 1] = limbs[k - 1] + (limbs[k] >> 16)
    words = [(limb & 0xFFFF).astype(jnp.uint32) for limb in limbs]
    return jnp.stack([words[0] << 16 | words[1], words[2] << 16 | words[3]])


def phase(positions: jax.Array, turns: jax.Array) -> jax.Array:
    """``position * turns`` modulo one turn, in units of 2**-32 turn: int32.

    positions: int32[..., 1] (or anything broadcastable), of either sign.
    turns: uint32[2, ..., P] of `turns_per_token`, of that rank after the first axis.
    """
    high, low = turns[0], turns[1]
    unsigned = positions.astype(jnp.uint32)  # modulo 2**32, as the product is anyway
    upper, lower = positions >> 16, unsigned & 0xFFFF
    low_upper, low_lower = low >> 16, low & 0xFFFF
    # The words below carry weight 2**-32; what is shifted out is under 2**-31 turn.
    carried = (
        upper.astype(jnp.uint32) * low_upper
        + ((upper * low_lower.astype(jnp.int32)) >> 16).astype(jnp.uint32)
        + (lower * low_upper >> 16)
    )
    return jax.lax.bitcast_convert_type(unsigned * high + carried, jnp.int32)


def whole_wavelengths(high: AnyArray, low: AnyArray) -> tuple[jax.Array, jax.Array]:
    """Traced counterpart of rounding ``2 pi / angular``: the pair of 2 pi / whole.

    A float32 quotient may round to the wrong neighbour, so the phase after that many
    tokens, which is exact, corrects it. Wavelengths from 1 to 2**24; zero stays zero.
    """
    safe = jnp.where(high > 0, high, 1.0)
    whole = jnp.maximum(jnp.round(2 * math.pi / safe), 1.0)
    turns = turns_per_token(safe, jnp.where(high > 0, low, 0.0))
    overshoot = phase(whole.astype(jnp.int32), turns).astype(jnp.float32) * 2.0**-32
    whole = jnp.maximum(whole - jnp.round(overshoot * (2 * math.pi) / safe), 1.0)
    turn_high, turn_low = split(np.float64(2 * math.pi))
    quotient, rest = divide(turn_high, turn_low, whole)
    return jnp.where(high > 0, quotient, 0.0), jnp.where(high > 0, rest, 0.0)


def divide(
    high: AnyArray,
    low: AnyArray,
    divisor: AnyArray | float,
    divisor_low: AnyArray | float = 0.0,
) -> tuple[AnyArray, AnyArray]:
    """(high + low) / (divisor + divisor_low) as a high and low pair of float32."""
    if not is_traced(divisor):
        divisor, divisor_low = split(np.float64(divisor) + divisor_low)
    quotient = high / divisor
    # high - quotient * divisor without rounding: 12-bit halves, products exact.
    rest = high
    for first in _halves(quotient):
        for second in _halves(divisor):
            rest = rest - first * second
    rest = rest + low - quotient * divisor_low
    return quotient, rest / (divisor + divisor_low)


def _halves(given: AnyArray | float) -> tuple[jax.Array, jax.Array]:
    """A float32 as the sum of two of at most 12 significant bits."""
    values = jnp.asarray(given)
    bits = jax.lax.bitcast_convert_type(values, jnp.uint32)
    upper = jax.lax.bitcast_convert_type(bits & np.uint32(0xFFFFF000), jnp.float32)
    return upper, values - upper


def _inverse_turn_chunks() -> np.ndarray:
    """1 / (2 pi) as a sum of float32 of 12 bits each, most significant first."""
    # 40 decimals of pi: float64 would end the expansion after 53 bits.
    pi = Fraction("3.1415926535897932384626433832795028841971")
    rest, chunks = 1 / (2 * pi), []
    for k in range(1, _TURN_CHUNKS + 1):
        scale = 2 ** (_CHUNK_BITS * k)
        chunk = math.floor(rest * scale)
        chunks.append(float(chunk) / scale)
        rest -= Fraction(chunk, scale)
    return np.asarray(chunks, np.float32)
