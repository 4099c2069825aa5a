"""What of a fault suite is done, in files: one that was interrupted goes on from it."""

from __future__ import annotations

import dataclasses
import json
import time
from pathlib import Path
from typing import Any

from rope_lab.cli.record import commit

SUITE, RESULTS = "suite.json", "results.json"


class Cycles:
    """The kills of one kind that were done, a line each.

    Attributes:
      advanced: how many starts saved a new step before they were killed.
      lost: steps lost at most, at one time.
      seconds: of these kills, over all sittings.
    """

    def __init__(self, path: Path):
        self._path, self._start = path, time.monotonic()
        lines = path.read_text().splitlines() if path.exists() else []
        self._done = [json.loads(line) for line in lines]
        self.earlier = sum(cycle["seconds"] for cycle in self._done)

    def __len__(self) -> int:
        return len(self._done)

    def add(self, advanced: bool, lost: int) -> None:
        """Keeps one kill, with the seconds since the one before."""
        now = time.monotonic()
        seconds, self._start = round(now - self._start, 1), now
        self._done.append({"advanced": advanced, "lost": lost, "seconds": seconds})
        with self._path.open("a") as file:
            file.write(json.dumps(self._done[-1]) + "\n")

    @property
    def advanced(self) -> int:
        return sum(cycle["advanced"] for cycle in self._done)

    @property
    def lost(self) -> int:
        return max((cycle["lost"] for cycle in self._done), default=0)


def open_suite(folder: Path, **settings: Any) -> str | None:
    """The commit of the suite in a folder, which is begun or goes on.

    Raises:
      ValueError: the folder holds a suite of another commit or of other settings.
    """
    own = {"commit": commit(), **settings}
    path = folder / SUITE
    if path.exists():
        begun = json.loads(path.read_text())
        if begun != own:
            raise ValueError(
                f"{folder} holds a suite of {begun}, not of {own}: go on with those, "
                "or give another folder"
            )
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(own))
    return own["commit"]


def read_results(folder: Path) -> list[dict[str, Any]]:
    """The kinds that are done."""
    path = folder / RESULTS
    return json.loads(path.read_text()) if path.exists() else []


def keep_result(folder: Path, result: Any) -> None:
    """Adds a kind that is done, a dataclass."""
    rows = [*read_results(folder), dataclasses.asdict(result)]
    (folder / RESULTS).write_text(json.dumps(rows, indent=1))
