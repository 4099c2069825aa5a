"""A trace of a few steps, for `xprof` or Perfetto to show."""

from pathlib import Path
from typing import Any

import jax

FOLDER = "profile"
SKIPPED, TRACED = 2, 3  # steps: compiling is no part of the picture


class Profile:
    """Traces steps 3 to 5 of a sitting into <workdir>/profile.

    Args:
      workdir: the run's folder; None: traces nothing.
      start: updates done before this sitting.
    """

    def __init__(self, workdir: Path | None, start: int):
        self._folder = None if workdir is None else Path(workdir) / FOLDER
        self._first = start + SKIPPED + 1
        self._running = False

    def before(self, step: int) -> None:
        """Called before update `step` is given to the devices."""
        if self._folder is not None and step == self._first:
            jax.profiler.start_trace(str(self._folder))
            self._running = True

    def after(self, step: int, waited_for: Any) -> None:
        """Called after that, with something that the update computes."""
        if self._running and step >= self._first + TRACED - 1:
            jax.block_until_ready(waited_for)
            self.close()

    def close(self) -> None:
        """Writes the trace, if one is under way."""
        if self._running:
            self._running = False
            jax.profiler.stop_trace()
