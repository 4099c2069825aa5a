"""What the tests of parsers share: how many cases, and what they are made of.

ROPE_LAB_CASES=100000 runs as many cases of each test; `make fuzz` does.
"""

import inspect
import os

import pytest

pytest.importorskip("hypothesis", reason="hypothesis comes with the extra dev")

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

CASES = int(os.environ.get("ROPE_LAB_CASES", "100"))
BATCH, BYTES = 10, 48  # cases of one draw, bytes of each


def many(test):
    """A test of `choices`, and fixtures, as a test of so many cases.

    Hypothesis spends more on a draw than most readers on a file, so one is cut up into
    several cases.
    """

    def batch(drawn, **fixtures):
        for start in range(0, len(drawn), BYTES):
            test(choices=Choices(drawn[start : start + BYTES]), **fixtures)

    names = [name for name in inspect.signature(test).parameters if name != "choices"]
    kind = inspect.Parameter.KEYWORD_ONLY
    batch.__signature__ = inspect.Signature(
        [inspect.Parameter(name, kind) for name in (*names, "drawn")]
    )
    for name in ("__name__", "__qualname__", "__module__", "__doc__"):
        setattr(batch, name, getattr(test, name))
    every = settings(
        max_examples=-(-CASES // BATCH),
        deadline=None,
        derandomize="ROPE_LAB_CASES" not in os.environ,
        suppress_health_check=list(HealthCheck),
        database=None,
    )
    size = BATCH * BYTES
    return every(given(drawn=st.binary(min_size=size, max_size=size))(batch))


NUMBERS = [0, 1, 2, 7, 255, 2**16, 2**31 - 1, 2**31, 2**32 - 1, 2**60, 2**63, 2**64 - 1]
_FLOATS = [0.0, -0.0, 0.5, 1e300, -1e300, 5e-324, float("inf"), float("nan")]
_TEXTS = ["", "a", "é", "\ud800", "\0", "..", "/", "text", "ab c", "1", "\U0001f600"]


class Choices:
    """Choices by the bytes that hypothesis draws: dearer strategies of it, made cheap.

    A hundred thousand cases of nested strategies take most of an hour. Without bytes
    left, every choice is the first one, so that cases shrink to simple ones.
    """

    def __init__(self, drawn: bytes):
        self._left = iter(drawn)

    def below(self, count: int) -> int:
        """0 to count - 1."""
        number = next(self._left, 0)
        return (number if count <= 256 else number * 256 + next(self._left, 0)) % count

    def of(self, options):
        """One of a sequence."""
        return options[self.below(len(options))]

    def text(self) -> str:
        return "".join(self.of(_TEXTS) for _ in range(self.below(3)))

    def scalar(self):
        kind = self.below(7)
        if kind < 2:
            return self.below(300) - 2
        if kind == 2:
            return self.of(NUMBERS) * self.of([1, -1])
        return self.of([None, True, False, self.text(), self.of(_FLOATS)])

    def plain(self, depth: int = 3):
        """What JSON can hold."""
        kind = self.below(8) if depth else 0
        if kind < 4:
            return self.scalar()
        if kind < 6:
            return [self.plain(depth - 1) for _ in range(self.below(4))]
        return {self.text(): self.plain(depth - 1) for _ in range(self.below(4))}

    def spoilt(self, values: dict) -> dict:
        """A dictionary with a few of its keys left out, added, or of any value."""
        found = dict(values)
        for _ in range(self.below(4)):
            key = self.of(list(values)) if self.below(8) else self.text()
            action = self.below(4)
            if action == 0:
                found.pop(key, None)
            elif action == 1 and isinstance(found.get(key), dict) and found[key]:
                found[key] = self.spoilt(found[key])
            elif action == 2 and isinstance(found.get(key), list):
                found[key] = [*found[key], self.plain()]
            else:
                found[key] = self.plain()
        return found

    def changed(self, content: bytes) -> bytes:
        """Bytes with others in a few places, cut off, or longer."""
        for _ in range(self.below(4)):
            place = self.below(min(len(content), 65_535) + 1)
            piece = self.of(NUMBERS).to_bytes(8, "little")[: self.of([1, 4, 8])]
            if self.below(2):
                piece = bytes([self.below(256)])
            gone = len(piece) * self.of([1, 1, 1, 0])
            content = content[:place] + piece + content[place + gone :]
        return content[: self.below(len(content) + 1)] if not self.below(6) else content
