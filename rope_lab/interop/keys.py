"""A checkpoint's own description, read so that no key goes unread."""

from __future__ import annotations

from collections.abc import Iterable
from types import UnionType
from typing import Any

MISSING = object()
LARGEST = 1e30  # of any number: no model has one near it


class Keys:
    """Values by key. Whoever takes one has read it; `finish` refuses what is left.

    Args:
      values: as the file has them.
      place: file, and section of it, for messages.
    """

    def __init__(self, values: dict[str, Any], place: str):
        if not isinstance(values, dict):
            raise ValueError(f"{place} must hold keys and values, got {values!r}")
        self._left = dict(values)
        self.place = place

    def __contains__(self, key: str) -> bool:
        return self._left.get(key) is not None

    def take(self, key: str, default: Any = MISSING) -> Any:
        """The value, read; `default` where the key is absent or null."""
        value = self._left.pop(key, None)
        if value is None:
            if default is MISSING:
                raise ValueError(f"{self.place} lacks the key {key!r}")
            return default
        return value

    def number(self, key: str, default: Any = MISSING) -> Any:
        """The same for a number above 0."""
        value = self.take(key, default)
        if value is default:
            return value
        plain = isinstance(value, int | float) and not isinstance(value, bool)
        if not plain or not 0 < value <= LARGEST:
            raise ValueError(
                f"{self.place}: {key} must be a number above 0 and at most "
                f"{LARGEST:.0e}, got {value!r}"
            )
        return value

    def whole(self, key: str, default: Any = MISSING) -> Any:
        """The same for a whole number of at least 1."""
        value = self.number(key, default)
        if value is not default and int(value) != value:
            raise ValueError(f"{self.place}: {key} must be whole, got {value!r}")
        return value if value is default else int(value)

    def text(self, key: str, default: Any = MISSING) -> Any:
        """The same for a text."""
        value = self.take(key, default)
        if value is not default and not isinstance(value, str):
            raise ValueError(f"{self.place}: {key} must be a text, got {value!r}")
        return value

    def row(self, key: str, kind: type | UnionType, default: Any = MISSING) -> Any:
        """The same for a list whose entries are all of one kind."""
        value = self.take(key, default)
        right = isinstance(value, list) and all(
            isinstance(one, kind) and not isinstance(one, bool) for one in value
        )
        if value is not default and not right:
            name = getattr(kind, "__name__", kind)
            raise ValueError(f"{self.place}: {key} must be a list of {name}")
        return value

    def token(self, key: str) -> int | None:
        """The number of a token, or None."""
        value = self.take(key, None)
        if value is not None and (type(value) is not int or not 0 <= value < 2**31):
            raise ValueError(
                f"{self.place}: {key} must be the number of a token, got {value!r}"
            )
        return value

    def nullable(self, key: str, default: int | None) -> int | None:
        """A whole number; null, written out, is None, and absent the default."""
        if key in self._left and self._left[key] is None:
            del self._left[key]
            return None
        return self.whole(key, default)

    def flag(self, key: str, default: bool) -> bool:
        """The same for true or false."""
        value = self.take(key, default)
        if not isinstance(value, bool):
            raise ValueError(
                f"{self.place}: {key} must be true or false, got {value!r}"
            )
        return value

    def require(self, key: str, allowed: tuple, why: str) -> None:
        """Reads a key that may have these values only, or be absent."""
        value = self.take(key, allowed[0])
        if not any(value == one for one in allowed):
            raise ValueError(f"{self.place}: {key}={value!r} is not supported: {why}")

    def peek(self, key: str, default: Any) -> Any:
        """The value, still to be read by someone."""
        return self._left.get(key, default)

    def left(self) -> list[str]:
        """Keys that nobody has read."""
        return list(self._left)

    def ignore(self, keys: Iterable[str]) -> None:
        """Reads keys that do not change what the model computes."""
        for key in keys:
            self._left.pop(key, None)

    def finish(self) -> None:
        """Raises where a key with a value was not read."""
        left = sorted(key for key, value in self._left.items() if value is not None)
        if left:
            raise ValueError(
                f"{self.place}: nothing here reads {', '.join(map(repr, left))}: the "
                "model might be another one than described; remove the keys if they do "
                "not change it"
            )
