"""One function per scaling method, each returning `Frequencies`.

Notation of every docstring: d = head_dim, plane i = 0 .. d/2 - 1 of two dimensions,
theta_i = base**(-2i/d) radians per token, wavelength 2*pi/theta_i tokens, L the train
length in tokens, s = scale = target length / train length.

Plain numbers are computed in float64 on the host; traced arguments in float32, and then
the float32 frequency is the definition (see `exact`). Plain numbers are checked and
raise ValueError; traced ones cannot be.
"""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rope_lab.rotary import exact
from rope_lab.rotary.planes import (
    Frequencies,
    Number,
    finite,
    make_frequencies,
    positive,
)
from rope_lab.rotary.ramps import clip, index_ramp, rotation_ramp


def rope(head_dim: int, base: Number = 10_000.0) -> Frequencies:
    """RoPE: theta_i = base**(-2i/d) (arXiv 2104.09864, eq. 15).

    Args:
      head_dim: d, even.
      base: above 1; 10,000 in the paper.

    >>> [round(float(w), 1) for w in rope(8).wavelengths]
    [6.3, 62.8, 628.3, 6283.2]
    """
    return make_frequencies(_geometric(head_dim, base))


def interpolated(head_dim: int, base: Number, scale: Number) -> Frequencies:
    """Position interpolation: theta_i / s (arXiv 2306.15595, eq. 4)."""
    (scale,) = positive(scale=scale)
    return make_frequencies(_geometric(head_dim, base) / scale)


def ntk_aware(head_dim: int, base: Number, scale: Number) -> Frequencies:
    """NTK-aware: base * s**(d/(d-2)), so that the slowest plane equals interpolation.

    Source: bloc97's original, and `rope_type="ntk"` elsewhere. Papers that write
    ``s * base`` mean `ntk_old`.
    """
    (scale,) = positive(scale=scale)
    return make_frequencies(_ntk(head_dim, base, scale))


def ntk_old(head_dim: int, base: Number, scale: Number) -> Frequencies:
    """NTK-RoPE-old: base * s, no exponent (kexue.fm 9675)."""
    (scale,) = positive(scale=scale)
    exponents = -_exponents(head_dim)
    return make_frequencies(_geometric(head_dim, base) * exact.power(scale, exponents))


def ntk_fixed(head_dim: int, base: Number, scale: Number) -> Frequencies:
    """NTK-RoPE-fixed: theta_i * s**(-2(i+1)/d); the last plane is theta / s.

    Source: kexue.fm 9706, lambda = s**(2/d) once more than in `ntk_old`.
    """
    (scale,) = positive(scale=scale)
    exponents = -(_exponents(head_dim) + 2.0 / head_dim)
    return make_frequencies(_geometric(head_dim, base) * exact.power(scale, exponents))


def ntk_mixed(
    head_dim: int, base: Number, scale: Number, exponent: Number = 0.625
) -> Frequencies:
    """NTK-RoPE-mixed: theta_i exp(-a m**exponent), m = i + 1, a (d/2)**exponent = ln s.

    The last plane is theta / s for every exponent; 1 gives `ntk_fixed`, 0 gives
    `interpolated`. Source: kexue.fm 9706 (0.625); its LLaMA patch uses 0.75.
    """
    (scale,) = positive(scale=scale)
    finite(exponent=exponent)
    planes = _planes(head_dim)
    logs = np.log(np.arange(1, planes + 1) / planes)
    if exact.is_traced(exponent, scale):
        share = jnp.exp(exponent * logs.astype(np.float32))
        factors = jnp.exp(-share * jnp.log(jnp.asarray(scale, jnp.float32)))
    else:
        factors = np.float64(scale) ** -np.exp(exponent * logs)
    return make_frequencies(_geometric(head_dim, base) * factors)


def dynamic_ntk(
    head_dim: int,
    base: Number,
    train_length: Number,
    length: Number,
    scale: Number = 1.0,
) -> Frequencies:
    """NTK-aware for one total length: s = max(1, scale*length/L - (scale-1)).

    Args:
      length: tokens, the total this array is built for; below L nothing changes.
      scale: transformers' factor, *not* length / train_length; 1 gives the paper's
        s = length / L, 2 at length 2L gives s = 3.
    """
    train_length, length, scale = positive(
        train_length=train_length, length=length, scale=scale
    )
    if exact.is_traced(train_length, length, scale):
        ratio = jnp.asarray(length, jnp.float32) / train_length
        return make_frequencies(
            _ntk(head_dim, base, jnp.maximum(1.0, scale * ratio - (scale - 1.0)))
        )
    grown = max(1.0, float(scale) * float(length) / float(train_length) - (scale - 1))
    return make_frequencies(_ntk(head_dim, base, grown))


def yarn(
    head_dim: int,
    base: Number,
    scale: Number,
    train_length: Number,
    beta_fast: Number = 32.0,
    beta_slow: Number = 1.0,
    truncate: bool = True,
    ramp: str = "index",
    logit_scale: Number | None = None,
) -> Frequencies:
    """YaRN: fast planes keep theta, slow ones get theta / s, a ramp between.

    theta'_i = theta_i * (kept_i + (1 - kept_i) / s) (arXiv 2309.00071, eq. 13 mixes the
    frequencies; the wavelength form quoted elsewhere is another function).

    Args:
      train_length: L, the *original* length, not the extended one.
      beta_fast: turns within L from which a plane keeps its frequency.
      beta_slow: turns within L down to which a plane is fully interpolated.
      truncate: round the ends of the index ramp outwards to whole planes.
      ramp: "index", linear in the plane index, is the released code and checkpoints;
        "rotations", linear in the number of turns, is the paper's eq. 11.
      logit_scale: multiplies the logits; default (0.1 ln s + 1)**2 for s > 1, the
        square because the rotations of query and key both carry the paper's sqrt(1/t).
    """
    base, scale, train_length, beta_fast, beta_slow = positive(
        base=base,
        scale=scale,
        train_length=train_length,
        beta_fast=beta_fast,
        beta_slow=beta_slow,
    )
    if not exact.is_traced(beta_fast, beta_slow) and beta_fast <= beta_slow:
        raise ValueError(
            f"yarn needs beta_fast > beta_slow, got {beta_fast} <= {beta_slow}: "
            "beta_fast is the number of turns of the fast planes (32 in the paper)"
        )
    theta = _geometric(head_dim, base)
    if ramp == "index":
        kept = index_ramp(head_dim, base, train_length, beta_fast, beta_slow, truncate)
    elif ramp == "rotations":
        if not truncate:
            raise ValueError(
                "truncate rounds the ends of the index ramp; it means nothing with "
                "ramp='rotations'"
            )
        kept = rotation_ramp(head_dim, base, train_length, beta_fast, beta_slow)
    else:
        raise ValueError(f"ramp must be 'index' or 'rotations', got {ramp!r}")
    if logit_scale is None:
        log = jnp.log if exact.is_traced(scale) else np.log
        logit_scale = (0.1 * clip(log(scale), 0.0, None) + 1.0) ** 2
    (logit_scale,) = positive(logit_scale=logit_scale)
    return make_frequencies(theta * (kept + (1.0 - kept) / scale), logit_scale)


def llama3(
    head_dim: int,
    base: Number,
    scale: Number,
    train_length: Number,
    low_freq_factor: Number = 1.0,
    high_freq_factor: Number = 4.0,
) -> Frequencies:
    """Llama 3.1 scaling: YaRN's ramp in turns, from low to high factor, no temperature.

    Wavelengths under L / high_freq_factor stay, over L / low_freq_factor become s times
    longer (meta-llama/llama-models, apply_scaling). Llama 3.1: s = 8, L = 8192.
    """
    low_freq_factor, high_freq_factor = positive(
        low_freq_factor=low_freq_factor, high_freq_factor=high_freq_factor
    )
    if (
        not exact.is_traced(low_freq_factor, high_freq_factor)
        and high_freq_factor <= low_freq_factor
    ):
        raise ValueError(
            "llama3 needs high_freq_factor > low_freq_factor, got "
            f"{high_freq_factor} <= {low_freq_factor}"
        )
    return yarn(
        head_dim,
        base,
        scale,
        train_length,
        beta_fast=high_freq_factor,
        beta_slow=low_freq_factor,
        ramp="rotations",
        logit_scale=1.0,
    )


def longrope(
    head_dim: int,
    base: Number,
    short_factors: jax.typing.ArrayLike,
    long_factors: jax.typing.ArrayLike,
    scale: Number,
    train_length: Number,
    length: Number,
    logit_scale: Number | None = None,
) -> Frequencies:
    """LongRoPE: theta_i / factor_i, one searched list up to L and one beyond it.

    Args:
      short_factors, long_factors: [P], used when length <= L and length > L.
      scale: s of the model, for the temperature; independent of `length`.
      length: tokens, the total this array is built for.
      logit_scale: default 1 + ln s / ln L for s > 1, the square of transformers'
        attention factor (arXiv 2402.13753 and its released configs).
    """
    scale, train_length, length = positive(
        scale=scale, train_length=train_length, length=length
    )
    planes = _planes(head_dim)
    factors = []
    for name, given in (
        ("short_factors", short_factors),
        ("long_factors", long_factors),
    ):
        values: Any = given if exact.is_traced(given) else np.asarray(given, np.float64)
        if values.shape != (planes,):
            raise ValueError(
                f"longrope needs {planes} {name} for head_dim {head_dim}, one per "
                f"plane, got an array of shape {values.shape}"
            )
        if not exact.is_traced(values):
            wrong = values[~((values > 0) & (values < math.inf))]
            if wrong.size:
                raise ValueError(
                    f"longrope needs {name} that are finite numbers above 0, got "
                    f"{wrong[0]}"
                )
        factors.append(values)
    if logit_scale is None:
        if not exact.is_traced(train_length) and train_length <= 1:
            raise ValueError(
                "longrope divides by ln train_length and needs it above 1, got "
                f"{train_length}; or give logit_scale"
            )
        log = jnp.log if exact.is_traced(scale, train_length) else np.log
        logit_scale = 1.0 + clip(log(scale), 0.0, None) / log(train_length)
    (logit_scale,) = positive(logit_scale=logit_scale)
    where = jnp.where if exact.is_traced(train_length, length) else np.where
    chosen = where(length > train_length, factors[1], factors[0])
    return make_frequencies(_geometric(head_dim, base) / chosen, logit_scale)


def partial(head_dim: int, base: Number, fraction: float) -> Frequencies:
    """Partial rotary (GPT-J, NeoX): rotate the first int(head_dim * fraction) dims.

    The grid is re-spaced over rotary_dim, so the slowest frequencies remain; compare
    `p_rope`, which drops them. Returns rotary_dim / 2 planes.
    """
    _planes(head_dim)
    (fraction,) = positive(fraction=fraction)
    rotary_dim = int(head_dim * fraction)
    if fraction > 1 or rotary_dim < 2 or rotary_dim % 2:
        raise ValueError(
            f"partial needs int(head_dim * fraction) even, from 2 to {head_dim}; "
            f"got int({head_dim} * {fraction}) = {rotary_dim}"
        )
    return make_frequencies(_geometric(rotary_dim, base))


def p_rope(
    head_dim: int,
    base: Number,
    fraction: float | None = None,
    train_length: Number | None = None,
) -> Frequencies:
    """p-RoPE and HoPE: keep fast planes of the full grid, let the others rest.

    Args:
      fraction: keep the fastest floor(fraction * P) planes (arXiv 2410.06205), of the
        floating-point product, as transformers does.
      train_length: or keep those with wavelength <= L, tokens (HoPE, arXiv 2410.21216).
        Exactly one of the two.
    """
    if (fraction is None) == (train_length is None):
        raise ValueError(
            "p_rope needs exactly one of fraction (p-RoPE) and train_length (HoPE), "
            f"got fraction={fraction}, train_length={train_length}"
        )
    theta = _geometric(head_dim, base)
    if fraction is not None:
        if not exact.is_traced(fraction) and not 0 <= fraction <= 1:
            raise ValueError(f"p_rope needs fraction from 0 to 1, got {fraction}")
        floor = jnp.floor if exact.is_traced(fraction) else np.floor
        kept = np.arange(theta.shape[0]) < floor(fraction * theta.shape[0])
    else:
        (train_length,) = positive(train_length=train_length)
        kept = theta * train_length >= 2 * math.pi
    return make_frequencies(theta * kept)


def _planes(head_dim: int) -> int:
    if head_dim < 2 or head_dim % 2:
        raise ValueError(
            f"head_dim must be even and at least 2, got {head_dim}: a plane of "
            "rotation is a pair of dimensions"
        )
    return head_dim // 2


def _exponents(head_dim: int) -> np.ndarray:
    """2i/d for every plane."""
    return np.arange(_planes(head_dim)) * (2.0 / head_dim)


def _geometric(head_dim: int, base: Number) -> np.ndarray | jax.Array:
    exponents = _exponents(head_dim)
    (base,) = positive(base=base)
    if not exact.is_traced(base) and base <= 1:
        raise ValueError(f"base must be above 1, got {base}")
    return exact.power(base, -exponents)


def _ntk(head_dim: int, base: Number, scale: Number) -> np.ndarray | jax.Array:
    if head_dim == 2:
        raise ValueError(
            "NTK-aware scaling has the exponent d/(d-2) and needs head_dim >= 4, got 2"
        )
    exponents = -_exponents(head_dim) * head_dim / (head_dim - 2)
    return _geometric(head_dim, base) * exact.power(scale, exponents)
