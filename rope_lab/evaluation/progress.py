"""How far a table of rows is, and how long the rest will take."""

import time
from collections.abc import Callable
from typing import NamedTuple

from rope_lab.evaluation.positions import Progress


class RowProgress(NamedTuple):
    """Where an evaluation stands; fraction and seconds_left are of the whole table."""

    label: str
    length: int
    kind: str
    fraction: float
    seconds_left: float


class Work:
    """Turns tokens scored, of ``total``, into a fraction and a time left."""

    def __init__(self, total: int, report: Callable[[RowProgress], None] | None):
        self.total, self.done, self.report = total, 0, report
        self.start = time.monotonic()

    def batches(self, label: str, length: int, kind: str, tokens: int) -> Progress:
        """The per-batch callback of one cell of ``tokens`` targets."""
        before = self.done

        def update(done: int, count: int) -> None:
            self.done = before + tokens * done // count
            fraction = self.done / self.total
            spent = time.monotonic() - self.start
            left = spent * (1 - fraction) / fraction if fraction else float("inf")
            if self.report is not None:
                self.report(RowProgress(label, length, kind, fraction, left))

        return update
