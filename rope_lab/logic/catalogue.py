"""name -> position logic; the only registry.

To add an encoding, write one function that returns its bands, or its bias, and add one
row to `CATALOGUE`. The function takes a `Setting` and, as keyword-only parameters, the
options of its own; `position_logic` hands it what the user gave, refuses what it does
not name, and adds the options that every encoding has. Functions of one band are in
`scalings`, those of several in `piecewise`, those of a bias in `biases`.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable
from typing import Any

import jax

from rope_lab import rotary
from rope_lab.logic import biases, piecewise, scalings
from rope_lab.logic.bands import Band, PositionLogic, PositionMap, Record, Unkeyed
from rope_lab.logic.options import (
    DEFAULT_BASE,
    SHARED_DEFAULTS,
    check_shared,
    hint,
)
from rope_lab.logic.setting import Setting
from rope_lab.logic.temperature import Temperature
from rope_lab.rotary.exact import is_traced

__all__ = ["CATALOGUE", "Entry", "Setting", "position_logic"]


@dataclasses.dataclass(frozen=True)
class Entry:
    """A row of the catalogue: the function and what the README says of it.

    The function returns bands, or a bias, which then stands beside one unrotated band.
    """

    build: Callable[..., tuple[Band, ...] | biases.Bias]
    summary: str
    needs_training: str = "none"  # "none", "fine-tuning helps", "from the start"
    rotates: bool = True  # whether resonance, layout and base mean anything

    @property
    def options(self) -> dict[str, inspect.Parameter]:
        """The function's own keyword options by name."""
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
    bands, bias = built, None
    if not isinstance(built, tuple):
        bands, bias = (Band(rotary.unrotated()),), built
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
    """The function's keywords out of the user's options; refuses the rest."""
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


CATALOGUE: dict[str, Entry] = {
    "rope": Entry(scalings.rope, "RoPE (arXiv 2104.09864)"),
    "interpolated": Entry(
        scalings.interpolated,
        "position interpolation, PI (2306.15595)",
        "fine-tuning helps",
    ),
    "ntk_aware": Entry(
        scalings.scaled(rotary.ntk_aware), "NTK-aware, exponent d/(d-2)"
    ),
    "ntk_old": Entry(scalings.scaled(rotary.ntk_old), "NTK-RoPE-old (kexue.fm 9675)"),
    "ntk_fixed": Entry(
        scalings.scaled(rotary.ntk_fixed), "NTK-RoPE-fixed (kexue.fm 9706)"
    ),
    "ntk_mixed": Entry(scalings.ntk_mixed, "NTK-RoPE-mixed (kexue.fm 9706)"),
    "dynamic_ntk": Entry(scalings.dynamic_ntk, "NTK-aware for one total length"),
    "yarn": Entry(scalings.yarn, "YaRN (2309.00071)", "fine-tuning helps"),
    "llama3": Entry(scalings.llama3, "Llama 3.1 scaling", "fine-tuning helps"),
    "longrope": Entry(scalings.longrope, "LongRoPE (2402.13753)", "fine-tuning helps"),
    "partial": Entry(
        scalings.partial, "partial rotary (GPT-J, NeoX)", "from the start"
    ),
    "p_rope": Entry(
        scalings.p_rope, "p-RoPE (2410.06205), HoPE (2410.21216)", "from the start"
    ),
    "rerope": Entry(piecewise.rerope, "ReRoPE (kexue.fm 9708)"),
    "leaky_rerope": Entry(piecewise.leaky_rerope, "Leaky ReRoPE (kexue.fm 9708)"),
    "self_extend": Entry(piecewise.self_extend, "Self-Extend (2401.01325)"),
    "dual_chunk": Entry(piecewise.dual_chunk, "dual chunk attention (2402.17463)"),
    "nope": Entry(
        scalings.nope, "no position encoding", "from the start", rotates=False
    ),
    "alibi": Entry(biases.alibi, "ALiBi (2108.12409)", "from the start", rotates=False),
}
