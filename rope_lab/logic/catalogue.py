"""name -> position logic; the only registry.

To add an encoding, write one function that returns its bands, or its bias, and add one
row to `rows`. The function takes a `Setting` and, as keyword-only parameters, the
options of its own; `position_logic` hands it what the user gave, refuses what it does
not name, and adds the options that every encoding has.
"""

from __future__ import annotations

import inspect
from typing import Any

import jax

from rope_lab import rotary
from rope_lab.logic import biases
from rope_lab.logic.bands import Band, Parts, PositionLogic, Record, Unkeyed
from rope_lab.logic.entry import Entry
from rope_lab.logic.maps import PositionMap
from rope_lab.logic.options import (
    DEFAULT_BASE,
    SHARED_DEFAULTS,
    check_shared,
    hint,
)
from rope_lab.logic.rows import CATALOGUE
from rope_lab.logic.setting import Setting
from rope_lab.logic.temperature import Temperature
from rope_lab.rotary.exact import is_traced

__all__ = ["CATALOGUE", "Entry", "Setting", "position_logic"]


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
    of_all = (shared[key] for key in ("resonance", "log_n", "sliding_window"))
    setting = Setting(name, head_dim, base, *of_all)
    parts = _parts(entry.build(setting, **own))
    bands = parts.bands
    if shared["sliding_window"] is not None:
        first_key = PositionMap(shift=1 - int(shared["sliding_window"]))
        bands = tuple(band.visible_after(first_key) for band in bands)
    return PositionLogic(
        bands=bands,
        temperature=_temperature(shared),
        layout=shared["layout"],
        bias=parts.bias,
        key_sets=_key_sets(bands),
        amplitude=parts.amplitude,
        draw=parts.draw,
        record=Unkeyed(_record(name, head_dim, base, options)),
    )


def _parts(built: tuple[Band, ...] | biases.Bias | Parts) -> Parts:
    """What a function of the catalogue returned, in one form."""
    if isinstance(built, Parts):
        return built
    if isinstance(built, tuple):
        return Parts(built)
    return Parts((Band(rotary.unrotated()),), bias=built)


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
