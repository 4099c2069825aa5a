"""What the values of a config can mean, whatever section they stand in.

A refusal begins with the key, before which `config.read` puts the sections.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

_SEEDS = 2**32  # what every generator takes
_WHOLE = 2**63


class Meaningless(ValueError):
    """A value of the right type that nothing could be done with."""


def number(where: str, value: Any) -> None:
    """A finite float, an integer of 64 bits, a seed that every generator takes.

    Raises:
      ValueError: another number; `where` names it.
    """
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{where} must be a finite number, got {value!r}")
    if not isinstance(value, int):
        return
    if "seed" in where.rpartition(".")[2] and not 0 <= value < _SEEDS:
        raise ValueError(f"{where} must be a seed from 0 to {_SEEDS - 1}, got {value}")
    if abs(value) >= _WHOLE:
        raise ValueError(f"{where} must have 64 bits at most, got {value}")


def at_least(least: int, **values: int | None) -> None:
    """Raises Meaningless for the first that is less; None is not given."""
    for key, value in values.items():
        if value is not None and value < least:
            raise Meaningless(f"{key} is {value}; expected at least {least}")


def one_of(known: Sequence[str], **values: str) -> None:
    """Raises Meaningless for the first that is not known."""
    for key, value in values.items():
        if value not in known:
            raise Meaningless(f"{key} is {value!r}; expected one of {', '.join(known)}")


def logic(key: str, spec: Any) -> None:
    """{"name": text, **options}, or a list of them."""
    several = isinstance(spec, Sequence) and not isinstance(spec, str)
    for one in spec if several else [spec]:
        if not isinstance(one, Mapping) or not isinstance(one.get("name"), str):
            raise Meaningless(
                f"{key} is a dict with the name of an encoding, like "
                f"{{'name': 'rope'}}, or a list of them; got {one!r}"
            )


def rows(key: str, given: Sequence[Any]) -> None:
    """Each a dict with a label."""
    for one in given:
        if not isinstance(one, Mapping) or not isinstance(one.get("label"), str):
            raise Meaningless(
                f"{key} holds {one!r}; each of them is a dict with a label and a name"
            )
