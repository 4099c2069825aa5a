"""name -> position logic; the only registry.

To add an encoding, write one function that returns its bands and add one row to
`CATALOGUE`. The function takes a `Setting` and, as keyword-only parameters, the options
of its own; `position_logic` hands it what the user gave, refuses what it does not name,
and adds the options that every encoding has.
"""

from __future__ import annotations

import dataclasses
import inspect
import math
from collections.abc import Callable
from typing import Any

import jax

from rope_lab import rotary
from rope_lab.logic.bands import (
    Band,
    PositionLogic,
    PositionMap,
    Record,
    Unkeyed,
    constant,
)
from rope_lab.logic.biases import Bias, LinearBias, alibi_slopes
from rope_lab.logic.options import (
    DEFAULT_BASE,
    SHARED_DEFAULTS,
    check_shared,
    hint,
    require_whole,
    require_window_in_training,
    target_scale,
)
from rope_lab.logic.temperature import Temperature
from rope_lab.rotary import Frequencies
from rope_lab.rotary.exact import is_traced


@dataclasses.dataclass(frozen=True)
class Setting:
    """What every builder gets: head_dim, base, whether to round, log_n."""

    name: str
    head_dim: int
    base: float
    resonance: bool
    log_n: str

    def finish(self, frequencies: Frequencies) -> Frequencies:
        """Scale first, then round: the last step of every rotary builder."""
        return rotary.resonance(frequencies) if self.resonance else frequencies

    def plain_or(self, frequencies: Frequencies | None) -> Frequencies:
        """The user's frequencies in place of RoPE's own, or RoPE's own."""
        if frequencies is None:
            return self.finish(rotary.rope(self.head_dim, self.base))
        if self.base != DEFAULT_BASE:
            raise ValueError(
                f"{self.name}: base={self.base} means nothing beside frequencies=; "
                "build the frequencies with that base"
            )
        if 2 * frequencies.planes > self.head_dim:
            raise ValueError(
                f"{self.name}: {frequencies.planes} planes need head_dim >= "
                f"{2 * frequencies.planes}, got {self.head_dim}"
            )
        return self.finish(frequencies)


@dataclasses.dataclass(frozen=True)
class Entry:
    """A row of the catalogue: the builder and what the README says of it.

    The builder returns bands, or a bias, which then stands beside one unrotated band.
    """

    build: Callable[..., tuple[Band, ...] | Bias]
    summary: str
    needs_training: str = "none"  # "none", "fine-tuning helps", "from the start"
    rotates: bool = True  # whether resonance, layout and base mean anything

    @property
    def options(self) -> dict[str, inspect.Parameter]:
        """The builder's own keyword options by name."""
        parameters = inspect.signature(self.build).parameters
        return {
            name: parameter
            for name, parameter in parameters.items()
            if parameter.kind is inspect.Parameter.KEYWORD_ONLY
        }


def position_logic(
    name: str, *, head_dim: int, base: float = DEFAULT_BASE, **options: Any
) -> PositionLogic:
    """Build a position encoding by name.

    Args:
      name: one of `CATALOGUE`.
      head_dim: D of queries and keys.
      base: of RoPE's frequencies.
      **options: those of every name: resonance (False), log_n ("off", "test", "train"),
        log_n_minimum (1), train_length (tokens), sliding_window (keys, the query's own
        included), softmax_scale (1/sqrt(head_dim)), layout ("half", "interleaved"); and
        those of this name: scale, length, window, step, group, ... (see its row).
        frequencies= puts any `Frequencies` in place of RoPE's for rope, rerope,
        leaky_rerope, self_extend and dual_chunk.

    Raises:
      ValueError: unknown name, an option that means nothing here, a wrong combination.

    >>> logic = position_logic("rerope", head_dim=64, window=128)
    >>> logic.name, len(logic.bands)
    ('rerope', 2)
    """
    entry = CATALOGUE.get(name)
    if entry is None:
        known = ", ".join(sorted(CATALOGUE))
        raise ValueError(f"unknown encoding {name!r}{hint(name, CATALOGUE)}: {known}")
    shared = {key: options.get(key, value) for key, value in SHARED_DEFAULTS.items()}
    check_shared(name, head_dim, base, shared, entry.rotates)
    own = _own_options(name, entry, options)
    setting = Setting(name, head_dim, base, shared["resonance"], shared["log_n"])
    built = entry.build(setting, **own)
    bands, bias = (built, None) if isinstance(built, tuple) else (_unrotated(), built)
    if shared["sliding_window"] is not None:
        first_key = PositionMap(shift=1 - shared["sliding_window"])
        bands = tuple(band.visible_after(first_key) for band in bands)
    return PositionLogic(
        bands=bands,
        temperature=_temperature(shared),
        layout=shared["layout"],
        bias=bias,
        key_sets=_key_sets(bands),
        record=Unkeyed(_record(name, head_dim, base, options)),
    )


def _key_sets(bands: tuple[Band, ...]) -> tuple[int, ...]:
    """The number of each band's key rotation; equal where bands turn keys alike."""
    known: list[Band] = []
    numbers = []
    for band in bands:
        alike = [
            number
            for number, other in enumerate(known)
            if other.frequencies is band.frequencies and other.beta == band.beta
        ]
        numbers.append(alike[0] if alike else len(known))
        if not alike:
            known.append(band)
    return tuple(numbers)


def _record(name: str, head_dim: int, base: float, options: dict[str, Any]) -> Record:
    if is_traced(base, *jax.tree.leaves(list(options.values()))):
        return Record(name, head_dim, DEFAULT_BASE, {}, traced=True)
    given = {
        key: value
        for key, value in options.items()
        if value is not None
        and not (key in SHARED_DEFAULTS and value == SHARED_DEFAULTS[key])
    }
    return Record(name, head_dim, base, given)


def _own_options(name: str, entry: Entry, options: dict[str, Any]) -> dict[str, Any]:
    """The builder's keywords out of the user's options; refuses the rest."""
    for key in options:
        if key not in entry.options and key not in SHARED_DEFAULTS:
            known = list(dict.fromkeys([*entry.options, *SHARED_DEFAULTS]))
            raise ValueError(
                f"{name} has no option {key!r}{hint(key, known)}; its options are "
                f"{', '.join(known)}"
            )
    for key, parameter in entry.options.items():
        if parameter.default is inspect.Parameter.empty and options.get(key) is None:
            raise ValueError(f"{name} needs the option {key!r}")
    return {key: value for key, value in options.items() if key in entry.options}


def _temperature(shared: dict) -> Temperature:
    if shared["log_n"] == "off":  # a train_length only a scaling used stays outside
        return Temperature(shared["softmax_scale"])
    return Temperature(
        shared["softmax_scale"],
        shared["log_n"],
        int(shared["train_length"]),
        int(shared["log_n_minimum"]),
    )


# --- builders ----------------------------------------------------------------------


def _rope(setting: Setting, *, frequencies=None):
    return (Band(setting.plain_or(frequencies)),)


def _interpolated(setting: Setting, *, scale=None, train_length=None, length=None):
    scale = target_scale(setting.name, scale, train_length, length)
    frequencies = rotary.interpolated(setting.head_dim, setting.base, scale)
    return (Band(setting.finish(frequencies), unit=Unkeyed(1.0 / scale)),)


def _scaled(function: Callable[..., Frequencies]) -> Callable[..., tuple[Band, ...]]:
    """A builder for a method of (head_dim, base, scale)."""

    def build(setting: Setting, *, scale=None, train_length=None, length=None):
        scale = target_scale(setting.name, scale, train_length, length)
        frequencies = function(setting.head_dim, setting.base, scale)
        return (Band(setting.finish(frequencies)),)

    return build


def _ntk_mixed(
    setting: Setting, *, scale=None, train_length=None, length=None, exponent=0.625
):
    scale = target_scale(setting.name, scale, train_length, length)
    frequencies = rotary.ntk_mixed(setting.head_dim, setting.base, scale, exponent)
    return (Band(setting.finish(frequencies)),)


def _dynamic_ntk(setting: Setting, *, train_length, length, scale=1.0):
    frequencies = rotary.dynamic_ntk(
        setting.head_dim, setting.base, train_length, length, scale
    )
    return (Band(setting.finish(frequencies)),)


def _yarn(
    setting: Setting,
    *,
    scale=None,
    train_length,
    length=None,
    beta_fast=32.0,
    beta_slow=1.0,
    truncate=True,
    ramp="index",
    logit_scale=None,
):
    frequencies = rotary.yarn(
        setting.head_dim,
        setting.base,
        target_scale(setting.name, scale, train_length, length),
        train_length,
        beta_fast,
        beta_slow,
        truncate,
        ramp,
        logit_scale,
    )
    return (Band(setting.finish(frequencies)),)


def _llama3(
    setting: Setting,
    *,
    scale=None,
    train_length,
    length=None,
    low_freq_factor=1.0,
    high_freq_factor=4.0,
):
    frequencies = rotary.llama3(
        setting.head_dim,
        setting.base,
        target_scale(setting.name, scale, train_length, length),
        train_length,
        low_freq_factor,
        high_freq_factor,
    )
    return (Band(setting.finish(frequencies)),)


def _longrope(
    setting: Setting,
    *,
    short_factors,
    long_factors,
    scale,
    train_length,
    length,
    logit_scale=None,
):
    frequencies = rotary.longrope(
        setting.head_dim,
        setting.base,
        short_factors,
        long_factors,
        scale,
        train_length,
        length,
        logit_scale,
    )
    return (Band(setting.finish(frequencies)),)


def _partial(setting: Setting, *, fraction):
    frequencies = rotary.partial(setting.head_dim, setting.base, fraction)
    return (Band(setting.finish(frequencies)),)


def _p_rope(setting: Setting, *, fraction=None, train_length=None):
    if fraction is not None and setting.log_n != "off":
        train_length = None  # it belongs to log n
    frequencies = rotary.p_rope(setting.head_dim, setting.base, fraction, train_length)
    return (Band(setting.finish(frequencies)),)


def _rerope(setting: Setting, *, window, train_length=None, frequencies=None):
    window = require_whole(setting.name, "window", window)
    require_window_in_training(setting.name, window, train_length)
    turning = setting.plain_or(frequencies)
    return (
        Band(turning, first_key=PositionMap(shift=1 - window)),
        Band(
            turning,
            alpha=constant(window),
            beta=constant(0),
            last_key=PositionMap(shift=-window),
        ),
    )


def _leaky_rerope(
    setting: Setting,
    *,
    window,
    step,
    train_length=None,
    length=None,
    frequencies=None,
):
    window = require_whole(setting.name, "window", window)
    if not step > 0:
        raise ValueError(f"{setting.name} needs step above 0, got {step}")
    require_window_in_training(setting.name, window, train_length)
    if length is not None and train_length is None:
        raise ValueError(
            f"{setting.name}: length only checks the reach against train_length; give "
            "both or neither"
        )
    if length is not None:
        farthest = window + (length - 1 - window) / step
        if farthest > train_length:
            raise ValueError(
                f"{setting.name}: at length {length} the farthest key stands at "
                f"{farthest:.1f} tokens, beyond train_length {train_length}: use a "
                "larger step or a smaller window"
            )
    turning = setting.plain_or(frequencies)
    # (i - j) / step + window (1 - 1/step), in units of 1/step tokens.
    shift = window * (step - 1)
    return (
        Band(turning, first_key=PositionMap(shift=1 - window)),
        Band(
            rotary.scaled_down(turning, step),
            alpha=PositionMap(shift=math.floor(shift)),
            last_key=PositionMap(shift=-window),
            offset=shift - math.floor(shift),
            unit=Unkeyed(1.0 / step),
        ),
    )


def _self_extend(
    setting: Setting, *, window, group, train_length=None, frequencies=None
):
    window = require_whole(setting.name, "window", window)
    group = require_whole(setting.name, "group", group)
    require_window_in_training(setting.name, window, train_length)
    turning = setting.plain_or(frequencies)
    return (
        Band(turning, first_key=PositionMap(shift=1 - window)),
        Band(
            turning,
            alpha=PositionMap(divide=group, shift=window - window // group),
            beta=PositionMap(divide=group),
            last_key=PositionMap(shift=-window),
        ),
    )


def _dual_chunk(
    setting: Setting,
    *,
    chunk_length,
    local_window,
    train_length=None,
    frequencies=None,
):
    chunk = require_whole(setting.name, "chunk_length", chunk_length)
    local = require_whole(setting.name, "local_window", local_window)
    if local > chunk:
        raise ValueError(
            f"{setting.name}: local_window {local} exceeds chunk_length {chunk}; "
            "2402.17463 uses a fifth of it"
        )
    farthest = chunk + local
    if train_length is not None and farthest > train_length:
        raise ValueError(
            f"{setting.name}: chunk_length {chunk} + local_window {local} is the "
            f"farthest distance seen, beyond train_length {train_length}; three "
            "quarters of train_length works best"
        )
    turning = setting.plain_or(frequencies)
    inside = PositionMap(modulus=chunk)
    begin = PositionMap(divide=chunk, multiply=chunk)  # of the query's chunk

    def before(tokens: int) -> PositionMap:
        return dataclasses.replace(begin, shift=-tokens)

    return (
        Band(turning, alpha=inside, beta=inside, first_key=begin),
        Band(
            turning,
            alpha=dataclasses.replace(inside, shift=chunk, limit=farthest),
            beta=inside,
            first_key=before(chunk),
            last_key=before(1),
        ),
        Band(
            turning, alpha=constant(farthest), beta=inside, last_key=before(chunk + 1)
        ),
    )


def _unrotated() -> tuple[Band, ...]:
    return (Band(rotary.unrotated()),)


def _nope(setting: Setting):
    return _unrotated()


def _alibi(setting: Setting, *, num_heads):
    return LinearBias(alibi_slopes(require_whole(setting.name, "num_heads", num_heads)))


CATALOGUE: dict[str, Entry] = {
    "rope": Entry(_rope, "RoPE (arXiv 2104.09864)"),
    "interpolated": Entry(
        _interpolated, "position interpolation, PI (2306.15595)", "fine-tuning helps"
    ),
    "ntk_aware": Entry(_scaled(rotary.ntk_aware), "NTK-aware, exponent d/(d-2)"),
    "ntk_old": Entry(_scaled(rotary.ntk_old), "NTK-RoPE-old (kexue.fm 9675)"),
    "ntk_fixed": Entry(_scaled(rotary.ntk_fixed), "NTK-RoPE-fixed (kexue.fm 9706)"),
    "ntk_mixed": Entry(_ntk_mixed, "NTK-RoPE-mixed (kexue.fm 9706)"),
    "dynamic_ntk": Entry(_dynamic_ntk, "NTK-aware for one total length"),
    "yarn": Entry(_yarn, "YaRN (2309.00071)", "fine-tuning helps"),
    "llama3": Entry(_llama3, "Llama 3.1 scaling", "fine-tuning helps"),
    "longrope": Entry(_longrope, "LongRoPE (2402.13753)", "fine-tuning helps"),
    "partial": Entry(_partial, "partial rotary (GPT-J, NeoX)", "from the start"),
    "p_rope": Entry(
        _p_rope, "p-RoPE (2410.06205), HoPE (2410.21216)", "from the start"
    ),
    "rerope": Entry(_rerope, "ReRoPE (kexue.fm 9708)"),
    "leaky_rerope": Entry(_leaky_rerope, "Leaky ReRoPE (kexue.fm 9708)"),
    "self_extend": Entry(_self_extend, "Self-Extend (2401.01325)"),
    "dual_chunk": Entry(_dual_chunk, "dual chunk attention (2402.17463)"),
    "nope": Entry(_nope, "no position encoding", "from the start", rotates=False),
    "alibi": Entry(_alibi, "ALiBi (2108.12409)", "from the start", rotates=False),
}
