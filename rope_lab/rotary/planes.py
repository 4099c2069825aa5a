"""What every scaling method returns, and the checks they share."""

from __future__ import annotations

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np

from rope_lab.rotary import exact

Number = float | int | jax.Array | np.ndarray


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Frequencies:
    """What a scaling method decides: how fast each plane turns, and the temperature.

    The same leaves for every method, so that a sweep over methods is a `jax.vmap`.

    Attributes:
      angular: float32[P], radians per token; 0 for a plane that does not turn.
      angular_low: float32[P], what float32 lost: angular + angular_low is the value.
      logit_scale: float32[], multiplies every logit beside the softmax scale (YaRN,
        LongRoPE); 1 elsewhere.
    """

    angular: jax.Array | np.ndarray
    angular_low: jax.Array | np.ndarray
    logit_scale: jax.Array | np.ndarray

    @property
    def planes(self) -> int:
        """P, the number of planes; the rotated dims are the first 2 * P."""
        return self.angular.shape[-1]

    @property
    def wavelengths(self) -> jax.Array | np.ndarray:
        """float32[P], tokens per turn: 2*pi/angular; inf for a plane that rests."""
        if exact.is_traced(self.angular, self.angular_low):
            turning = self.angular > 0
            safe = jnp.where(turning, self.angular, 1.0)
            return jnp.where(turning, 2 * math.pi / safe, jnp.inf)
        return wavelengths64(self).astype(np.float32)


def scaled_down(frequencies: Frequencies, divisor: float) -> Frequencies:
    """Every frequency over `divisor` (a plain number): Leaky ReRoPE's far band."""
    (divisor,) = positive(divisor=divisor)
    high, low = frequencies.angular, frequencies.angular_low
    if not exact.is_traced(high, low, frequencies.logit_scale):
        return make_frequencies(
            exact.join(high, low) / divisor, frequencies.logit_scale
        )
    quotient, rest = exact.divide(high, low, divisor)
    return Frequencies(quotient, rest, frequencies.logit_scale)


def unrotated() -> Frequencies:
    """No planes at all: every dimension passes unturned (NoPE)."""
    return make_frequencies(np.zeros(0))


def make_frequencies(
    angular: np.ndarray | jax.Array, logit_scale: Number = 1.0
) -> Frequencies:
    """Frequencies from radians per token, [P]: float64 on the host keeps both halves.

    A traced array is float32, and then the float32 value is the definition.
    """
    if exact.is_traced(angular):
        high = jnp.asarray(angular, jnp.float32)
        low = jnp.zeros_like(high)
    else:
        high, low = exact.split(angular)
    if exact.is_traced(logit_scale):
        logit_scale = jnp.asarray(logit_scale, jnp.float32)
    else:
        logit_scale = np.asarray(logit_scale, np.float32)
    return Frequencies(high, low, logit_scale)


def wavelengths64(frequencies: Frequencies) -> np.ndarray:
    """float64[P], tokens per turn; inf for a plane that rests. Host only."""
    angular = exact.join(frequencies.angular, frequencies.angular_low)
    turning = angular > 0
    return np.where(turning, 2 * np.pi / np.where(turning, angular, 1.0), np.inf)


def positive(**values: Number) -> list[Number]:
    """The values, in float64 unless traced; refuses what is not a number above 0."""
    return [_checked(name, value, 0.0) for name, value in values.items()]


def finite(**values: Number) -> list[Number]:
    """The same, of any sign."""
    return [_checked(name, value, -math.inf) for name, value in values.items()]


def _checked(name: str, value: Number, above: float) -> Number:
    if exact.is_traced(value):
        return value
    if isinstance(value, jax.Array):  # to compare it would be traced under jit
        value = np.asarray(value)
    number = isinstance(value, int | float | np.number | np.ndarray)
    if not number or isinstance(value, bool) or not above < value < math.inf:
        wanted = "a number above 0" if above == 0 else "a finite number"
        raise ValueError(f"{name} must be {wanted}, got {value!r}")
    return np.float64(value)
