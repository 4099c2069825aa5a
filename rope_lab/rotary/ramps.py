"""YaRN's ramps: which share of its own frequency each plane keeps.

1 on fast planes (beta_fast turns within the training length, or more), 0 on slow ones
(beta_slow or fewer), linear between: in the plane's index, as the released code has it,
or in the number of turns, as the paper has it (arXiv 2309.00071, eq. 11).
"""

from __future__ import annotations

import math

import jax.numpy as jnp
import numpy as np

from rope_lab.rotary import exact

_TURN = round(math.log2(2 * math.pi) * 128) / 128  # a pair, as those of exact.log2
_TURN_REST = math.log2(2 * math.pi) - _TURN


def rotation_ramp(head_dim, base, train_length, beta_fast, beta_slow):
    """[P] shares, linear in the turns that a plane makes within train_length tokens."""
    exponents = np.arange(head_dim // 2) * (2.0 / head_dim)
    if not exact.is_traced(base, train_length, beta_fast, beta_slow):
        turns = train_length * base**-exponents / (2 * np.pi)
        return clip((turns - beta_slow) / (beta_fast - beta_slow))
    # Near beta_slow the difference would cancel: beta_slow * (2**octaves - 1) does not.
    logs = [exact.log2(value) for value in (base, train_length, beta_slow)]
    coarse, fine = exact.halves(exponents)
    octaves = (logs[1][0] - logs[2][0] - _TURN) - logs[0][0] * coarse
    octaves += (logs[1][1] - logs[2][1] - _TURN_REST) - (
        logs[0][0] * fine + logs[0][1] * (coarse + fine)
    )
    beyond = beta_slow * jnp.expm1(math.log(2.0) * octaves)
    return clip(beyond / (beta_fast - beta_slow))


def index_ramp(head_dim, base, train_length, beta_fast, beta_slow, truncate):
    """[P] shares, linear in the plane's index; truncate rounds the ends outwards."""
    planes = np.arange(head_dim // 2, dtype=np.float64)
    ends = [(beta_fast, jnp.floor, 0.0), (beta_slow, jnp.ceil, head_dim - 1.0)]
    if exact.is_traced(base, train_length, beta_fast, beta_slow):
        return _traced_index_ramp(planes, base, train_length, ends, truncate)
    low, high = (
        head_dim * np.log(train_length / (turns * 2 * np.pi)) / (2 * np.log(base))
        for turns, _, _ in ends
    )  # the planes that make beta_fast and beta_slow turns within train_length
    if truncate:
        low, high = np.floor(low), np.ceil(high)
    low, high = max(low, 0.0), min(high, head_dim - 1.0)
    if low == high:
        high += 0.001  # as in the released code
    return clip((high - planes) / (high - low))


def _traced_index_ramp(planes, base, train_length, ends, truncate):
    """The same in pairs of float32: a slow plane shows an error scale times larger."""
    logs = [exact.log2(value) for value in (base, train_length)]
    found = []
    for turns, round_outwards, bound in ends:
        log_turns = exact.log2(turns)
        high = logs[1][0] - log_turns[0] - _TURN
        low = logs[1][1] - log_turns[1] - _TURN_REST
        count = len(planes)  # times 12 bits: exact before the division, not after
        place, rest = exact.divide(count * high, count * low, *logs[0])
        if truncate:
            place, rest = round_outwards(place + rest), 0.0
        outside = place + rest < bound if bound == 0 else place + rest > bound
        found.append((jnp.where(outside, bound, place), jnp.where(outside, 0.0, rest)))
    (low, low_rest), (high, high_rest) = found
    width = (high - low) + (high_rest - low_rest)
    width = jnp.where(width == 0, 0.001, width)
    return clip(((high - planes.astype(np.float32)) + high_rest) / width)


def clip(values, low: float | None = 0.0, high: float | None = 1.0):
    """jnp.clip for traced values, np.clip for others; by default to 0 .. 1."""
    xp = jnp if exact.is_traced(values) else np
    return xp.clip(values, low, high)
