"""JSON that somebody else wrote: a value, or one ValueError that names the file."""

from __future__ import annotations

import json
from typing import Any


def parse_json(content: bytes | str, place: str) -> Any:
    """The value of a JSON text.

    Args:
      content: UTF-8, where it is bytes.
      place: what to call it: a file, and the line.

    Raises:
      ValueError: no JSON, brackets nested deeper than Python reads, or an object with
        the same key twice, of which readers take one or the other.
    """
    try:
        return json.loads(content, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{place} is not JSON: {error}") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the key {twice!r} stands there twice")
    return values
