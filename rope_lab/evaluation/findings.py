"""What the numbers of results.json say, and no more than their intervals allow.

Everything here is computed from a results dictionary: verdicts follow from paired 95 %
intervals over documents and change with them.
"""

from dataclasses import dataclass
from itertools import pairwise, product
from typing import Any

from rope_lab.evaluation.published import (
    ORDER,
    PublishedRow,
    comparable_rows,
    measured_row,
)
from rope_lab.evaluation.results import (
    NATURAL,
    Results,
    cell,
    document_ids,
    truncated_row,
)
from rope_lab.evaluation.summaries import difference, same_targets

TOLERANCE = 0.05  # nats: as good as truncated context
FAILURE = 0.3  # nats: plain RoPE fails outside its training length

AGREES, REVERSED, OPEN = "agrees", "reversed", "undecided"


@dataclass(frozen=True)
class Step:
    """Two neighbours of the published order, and what was measured here."""

    lower: PublishedRow
    upper: PublishedRow
    accuracy: dict[str, Any]  # upper minus lower: mean and interval, fractions

    @property
    def verdict(self) -> str:
        """Whether the upper row is better, worse, or the interval holds zero."""
        return {1: AGREES, -1: REVERSED, 0: OPEN}[sign(self.accuracy)]

    @property
    def published(self) -> dict[str, float]:
        """The published difference by kind of text, as a fraction."""
        natural = self.upper.natural - self.lower.natural
        repeated = self.upper.repeated - self.lower.repeated
        return {"natural": natural / 100, "repeated": repeated / 100}


def sign(statistic: dict[str, Any]) -> int:
    """1 or -1 if the interval excludes zero, 0 if it does not or there is none."""
    if statistic["interval"] is None:
        return 0
    low, high = statistic["interval"]
    return int(low > 0) - int(high < 0)


def contrast(
    results: Results,
    row: dict[str, Any],
    other: dict[str, Any],
    quantity: str = "beyond_loss",
    length: int | None = None,
    kind: str = NATURAL,
) -> dict[str, Any]:
    """Paired difference of two rows, row minus other, at one length.

    Args:
      results: from ``evaluate_rows``.
      row, other: two of its rows.
      quantity: a key of ``per_window``: {whole,inside,beyond}_{loss,accuracy}.
      length: tokens, by default the longest.
      kind: of text.

    Raises:
      ValueError: if the rows did not score the same targets.
    """
    length = length or max(results["lengths"])
    ours, theirs = cell(row, length, kind), cell(other, length, kind)
    same_targets(ours, theirs)
    ids = document_ids(results, length, kind)
    return difference(ours["per_window"][quantity], theirs["per_window"][quantity], ids)


def plain_row(results: Results) -> dict[str, Any] | None:
    """The row that reads long text with the logic of training, or None."""
    reference = truncated_row(results)
    if reference is None:
        return None
    length = max(results["lengths"])
    trained = cell(reference, length)["logic"]
    return next(
        (
            row
            for row in results["rows"]
            if not row["truncated"]
            and row["model"] == reference["model"]
            and cell(row, length)["logic"] == trained
        ),
        None,
    )


def without_training(results: Results) -> list[dict[str, Any]]:
    """Rows of changed encodings on the unchanged model, best beyond L first."""
    plain, reference = plain_row(results), truncated_row(results)
    model = reference["model"] if reference else "pretrained"
    rows = [
        row
        for row in results["rows"]
        if row["model"] == model and row is not plain and row is not reference
    ]
    return _best_first(results, rows)


def fine_tuned(results: Results) -> list[dict[str, Any]]:
    """Rows of models trained further, best beyond L first."""
    reference = truncated_row(results)
    model = reference["model"] if reference else "pretrained"
    rows = [row for row in results["rows"] if row["model"] != model]
    return _best_first(results, rows)


def ordered_rows(results: Results) -> list[dict[str, Any]]:
    """All rows: truncated, plain, then changed encodings and fine-tuned models."""
    first = [row for row in (truncated_row(results), plain_row(results)) if row]
    return first + without_training(results) + fine_tuned(results)


def order_steps(results: Results, kind: str) -> list[Step]:
    """Every pair of neighbouring groups of the published order, measured here."""
    rows = comparable_rows(results)
    found = {row: measured_row(results, row) for row in rows if row.group}
    steps = []
    for lower_group, upper_group in pairwise(ORDER):
        lowers = [row for row in found if row.group == lower_group and found[row]]
        uppers = [row for row in found if row.group == upper_group and found[row]]
        for lower, upper in product(lowers, uppers):
            pair = found[upper], found[lower]
            accuracy = contrast(results, *pair, "whole_accuracy", kind=kind)
            steps.append(Step(lower, upper, accuracy))
    return steps


def _best_first(results: Results, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    length = max(results["lengths"])
    part = "beyond" if length > results["train_length"] else "inside"
    return sorted(rows, key=lambda row: cell(row, length)[part]["loss"])
