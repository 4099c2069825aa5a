"""Position-logic specs of configs: {"name": ..., **options}.

An option may be the word "trained" (the length that the checkpoint was trained at) or
"measured" (the length it is measured at), also as a share, "trained/4", or a ratio,
"measured/trained"; so one spec serves every length.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

_PATTERN = re.compile(r"(trained|measured)(?:/(\d+|trained))?")


def resolve(spec: Any, trained: int, measured: int | None = None) -> Any:
    """The spec with its length words replaced by tokens.

    >>> resolve({"name": "rerope", "window": "trained/2"}, trained=128)
    {'name': 'rerope', 'window': 64}
    """
    if isinstance(spec, Mapping):
        return {
            key: value if key == "name" else _value(key, value, trained, measured)
            for key, value in spec.items()
        }
    if isinstance(spec, Sequence) and not isinstance(spec, str):
        return [resolve(one, trained, measured) for one in spec]
    raise ValueError(f"a position logic is a dict with a name, or a list; got {spec!r}")


def _value(key: str, value: Any, trained: int, measured: int | None) -> Any:
    match = _PATTERN.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        return value
    lengths = {"trained": trained, "measured": measured}
    length = lengths[match[1]]
    if length is None:
        raise ValueError(f"{key}={value!r}: there is no measured length here")
    if match[2] is None:
        return length
    divisor = trained if match[2] == "trained" else int(match[2])
    quotient = length / divisor
    return int(quotient) if quotient == int(quotient) else quotient
