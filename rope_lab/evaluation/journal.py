"""Finished units of a long evaluation, one line of JSON each, appended as they end.

A run that was killed loses the units in flight and nothing else: the file is read to
its last whole line, and a line that was cut off is overwritten.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any


class Journal:
    """What is known by name, on disk as soon as it is added.

    Attributes:
      found: units that were there when the journal was opened.
    """

    def __init__(self, path: str | os.PathLike):
        """Opens or begins the file.

        Raises:
          ValueError: the file is no journal.
        """
        self.path = Path(path)
        self._units: dict[str, Any] = {}
        self._end = 0
        if self.path.exists():
            self._read()
        self.found = len(self._units)

    def __contains__(self, name: str) -> bool:
        return name in self._units

    def __getitem__(self, name: str) -> Any:
        return self._units[name]

    def __len__(self) -> int:
        return len(self._units)

    def add(self, name: str, value: Any) -> None:
        """Writes one finished unit; it is on disk when this returns.

        The value is kept as JSON gives it back, so that a run that was interrupted and
        one that was not compute with the same numbers.
        """
        line = json.dumps([name, value], allow_nan=False) + "\n"
        content = line.encode()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            os.ftruncate(descriptor, self._end)  # a line that was cut off
            os.pwrite(descriptor, content, self._end)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        self._end += len(content)
        self._units[name] = json.loads(line)[1]

    def _read(self) -> None:
        for line in self._whole_lines():
            try:
                name, value = json.loads(line)
            except (ValueError, TypeError):
                raise ValueError(
                    f"{self.path} is not a journal of finished units: its line "
                    f"{len(self._units) + 1} is {line[:40]!r}; move it away to "
                    "measure anew"
                ) from None
            self._units[name] = value
            self._end += len(line)

    def _whole_lines(self) -> Iterator[bytes]:
        with self.path.open("rb") as file:
            for line in file:
                if line.endswith(b"\n"):
                    yield line
