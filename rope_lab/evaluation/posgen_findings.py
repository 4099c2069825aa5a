"""What the results of a PosGen study say: learned or not, differences, claims.

An entry is one cell of results.json (`rope_lab.cli.posgen_cells.measure_cell`), a row
one encoding in it, with a value per seed. Accuracies are fractions.
"""

from typing import Any, NamedTuple

import numpy as np
from scipy import stats

from rope_lab.evaluation.posgen_published import WITHIN_LEARNED, published

Row = dict[str, Any]
Entry = dict[str, Any]
_ROUNDING = 1e-9  # the mean of values that are the threshold may lie just below


class Spread(NamedTuple):
    """Over seeds; the deviation (divisor n - 1) is None with one seed."""

    mean: float
    deviation: float | None


class Difference(NamedTuple):
    """Mean over seeds of a paired difference; the error is None with one seed."""

    mean: float
    error: float | None
    seeds: int

    @property
    def sign(self) -> int:
        """1 or -1 where it exceeds its standard error, else 0."""
        if self.error is None or abs(self.mean) <= self.error:
            return 0
        return 1 if self.mean > 0 else -1

    @property
    def interval(self) -> tuple[float, float] | None:
        """95 %, by Student's t with a degree of freedom less than seeds."""
        if self.error is None:
            return None
        reach = float(stats.t.ppf(0.975, self.seeds - 1)) * self.error
        return self.mean - reach, self.mean + reach

    @property
    def side(self) -> int:
        """1 or -1 where the 95 % interval excludes 0, else 0."""
        if self.interval is None:
            return 0
        low, high = self.interval
        return int(low > 0) - int(high < 0)


class Claim(NamedTuple):
    """Resonance against its counterpart beyond the training length, in one sub-task."""

    plain: str  # labels
    resonant: str
    difference: Difference  # resonant minus plain
    learned: bool  # both rows
    published: float | None  # the published difference, a fraction

    @property
    def counts(self) -> bool:
        """Both rows are learned, and the difference exceeds its standard error."""
        return self.learned and self.difference.sign != 0

    @property
    def answer(self) -> str:
        """Whether the published order, or Resonance >= plain, is found here."""
        if not self.learned:
            return "does not count: not learned"
        if self.difference.error is None:
            return "does not count: one seed"
        expected = 1 if self.published is None or self.published > 0 else -1
        found = self.difference.sign
        if found == 0:
            return "no difference that counts"
        return "as published" if found == expected else "the other way round"


def spread(values: list[float]) -> Spread:
    """Mean and standard deviation over seeds."""
    deviation = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return Spread(float(np.mean(values)), deviation)


def learned(row: Row) -> bool:
    """Whether the mean accuracy within the training length reaches 95 %."""
    return spread(row["within"]).mean >= WITHIN_LEARNED - _ROUNDING


def difference(a: Row, b: Row, key: str) -> Difference:
    """a - b, paired by seed: a pair starts from equal parameters and equal data."""
    values = np.array(a[key]) - np.array(b[key])
    count = len(values)
    error = float(np.std(values, ddof=1) / count**0.5) if count > 1 else None
    return Difference(float(values.mean()), error, count)


def kind(entry: Entry, place: int) -> tuple[str, bool]:
    """(name in the catalogue, Resonance) of the encoding a row is measured under."""
    logic = entry["settings"]["measured"][place]
    return logic["name"], bool(logic["options"].get("resonance"))


def claims(entry: Entry) -> list[Claim]:
    """One per row with Resonance whose counterpart without it is there too."""
    found = []
    measured = entry["settings"]["measured"]
    for place, row in enumerate(entry["rows"]):
        name, resonant = kind(entry, place)
        if not resonant or "beyond" not in row:
            continue
        for other, logic in enumerate(measured):
            if _without_resonance(measured[place]) == logic:
                plain = entry["rows"][other]
                found.append(
                    Claim(
                        plain["label"],
                        row["label"],
                        difference(row, plain, "beyond"),
                        learned(row) and learned(plain),
                        _published_difference(name, entry),
                    )
                )
    return found


def _without_resonance(logic: dict[str, Any]) -> dict[str, Any]:
    options = {k: v for k, v in logic["options"].items() if k != "resonance"}
    return {**logic, "options": options}


def _published_difference(name: str, entry: Entry) -> float | None:
    subtask = entry["settings"]["data"]["subtask"]
    plain, resonant = (published(name, r, subtask) for r in (False, True))
    if plain is None or resonant is None:
        return None
    return (resonant.mean - plain.mean) / 100


def steps_to_learn(row: Row) -> int | None:
    """The first validation at which the mean accuracy within reaches 95 %, or None."""
    curve = np.mean(row["validation"]["within"], axis=0)
    reached = np.flatnonzero(curve >= WITHIN_LEARNED - _ROUNDING)
    return row["validation"]["steps"][reached[0]] if len(reached) else None
