"""The article's claims and order, answered by paired differences of accuracies.

Everything here is computed from a results dictionary of `combine`. A comparison whose
rows are not both measured is left out; `absent_rows` names what is missing. Repeated
text counts for a model only if it has learned to copy, see `copying`.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from rope_lab.evaluation.article import (
    ARTICLE,
    SUFFIXES,
    WINDOWS,
    treatment,
)
from rope_lab.evaluation.combine import of_model
from rope_lab.evaluation.findings import AGREES, OPEN, REVERSED, contrast, sign
from rope_lab.evaluation.results import (
    NATURAL,
    REPEATED,
    Results,
    cell,
    truncated_row,
)

GATE = 0.20  # accuracy gained on the second copy by a model that has learned to copy
MAIN = "ReRoPE w=L/2"  # the article's main row
NTK = ("NTK-aware", "NTK-old", "NTK-fixed", "NTK-mixed")
RESONANCE = "Resonance "  # before the label of the row whose wavelengths are rounded
CLEAR = 1.0  # points: a published difference of one run that is worth a comparison


@dataclass(frozen=True)
class Comparison:
    """Accuracy of one row minus that of another on the same windows, and the claim."""

    upper: str  # claimed to be the better
    lower: str
    kind: str  # of text
    accuracy: dict[str, Any]  # upper minus lower: mean and interval, fractions
    published: float | None  # the same of the article, a fraction

    @property
    def verdict(self) -> str:
        """Whether the interval lies on the claimed side, on the other, or holds 0."""
        return {1: AGREES, -1: REVERSED, 0: OPEN}[sign(self.accuracy)]


def copying(results: Results, model: str) -> dict[str, Any] | None:
    """Within the training length: accuracy on first and second copy, and the gain.

    None where the model was not measured on repeated text of the training length.
    """
    row = truncated_row(of_model(results, model))
    kinds = row["cells"].get(str(results["train_length"]), {}) if row else {}
    return kinds.get(REPEATED, {}).get("copies")


def has_learned_to_copy(results: Results, model: str) -> bool:
    """The gate before any number of repeated text: a gain of at least `GATE`."""
    found = copying(results, model)
    return found is not None and found["gain"]["mean"] >= GATE


def rerope_above_ntk(results: Results) -> list[Comparison]:
    """Claim 1: ReRoPE is above every NTK variant, with the same use of log n."""
    pairs = [(MAIN + suffix, name + suffix) for suffix in SUFFIXES for name in NTK]
    return compare(results, pairs)


def log_n_helps(results: Results) -> list[Comparison]:
    """Claim 2: log n, at test or trained in, improves ReRoPE at each window."""
    windows = [name for name in WINDOWS if name != "L"]
    return compare(
        results,
        [
            (f"ReRoPE w={window}{suffix}", f"ReRoPE w={window}")
            for window in windows
            for suffix in SUFFIXES[1:]
        ],
    )


def whole_window_fails(results: Results) -> list[Comparison]:
    """Claim 3: a window of the training length is worse than half of it."""
    return compare(results, [(MAIN + s, f"ReRoPE w=L{s}") for s in SUFFIXES])


def order(results: Results) -> list[Comparison]:
    """Each pair of rows of one use of log n that the article tells apart clearly."""
    chosen = []
    for kind in kinds(results):
        for suffix in SUFFIXES:
            names = [name for name in ARTICLE if treatment(name) == suffix]
            for one, other in combinations(names, 2):
                gap = _published(one, other, kind)
                if gap is not None and abs(gap) * 100 >= CLEAR:
                    pair = (one, other) if gap > 0 else (other, one)
                    chosen += compare(results, [pair], [kind])
    return chosen


def compare(
    results: Results,
    pairs: Iterable[tuple[str, str]],
    chosen_kinds: Sequence[str] | None = None,
) -> list[Comparison]:
    """Comparisons of the pairs of labels that were measured, kind by kind of text."""
    rows = {row["label"]: row for row in results["rows"]}
    pairs = [pair for pair in pairs if set(pair) <= set(rows)]
    found = []
    for kind in chosen_kinds or kinds(results):
        for upper, lower in pairs:
            if not all(counts(results, rows[name], kind) for name in (upper, lower)):
                continue
            both = rows[upper], rows[lower]
            accuracy = contrast(results, *both, "whole_accuracy", kind=kind)
            gap = _published(upper, lower, kind)
            found.append(Comparison(upper, lower, kind, accuracy, gap))
    return found


def compare_again(
    results: Results, found: Sequence[Comparison]
) -> list[Comparison | None]:
    """The same comparisons in other results; None for what was not measured there.

    Nor is one there whose model did not learn to copy, if it is of repeated text.
    """
    measured, again = kinds(results), []
    for one in found:
        kind = [one.kind] if one.kind in measured else []
        same = compare(results, [(one.upper, one.lower)], kind) if kind else []
        again.append(same[0] if same else None)
    return again


def answers_again(
    trainings: Sequence[Results],
    asked: Mapping[str, Callable[[Results], list[Comparison]]],
) -> dict[str, list[list[Comparison]]]:
    """By claim: of each training, the comparisons that all of them have."""
    answers = {}
    for claim, comparisons in asked.items():
        tables = [
            {(one.kind, one.upper, one.lower): one for one in comparisons(results)}
            for results in trainings
        ]
        common = [pair for pair in tables[0] if all(pair in t for t in tables)]
        answers[claim] = [[table[pair] for pair in common] for table in tables]
    return answers


def rows_again(
    trainings: Sequence[Results],
) -> dict[str, list[list[float] | None]]:
    """By row and kind of text: accuracy at the longest length in each training.

    Rows that all have; None where a model did not learn to copy in one of them.
    """
    tables = [{row["label"]: row for row in t["rows"]} for t in trainings]
    length = max(trainings[0]["lengths"])
    found: dict[str, list[list[float] | None]] = {}
    for label in (label for label in tables[0] if all(label in t for t in tables)):
        found[label] = []
        for kind in kinds(trainings[0]):
            told = [
                accuracy_of(results, table[label], length, kind)
                for results, table in zip(trainings, tables, strict=True)
            ]
            values = [one[0] for one in told if one is not None]
            found[label].append(values if len(values) == len(trainings) else None)
    return found


def resonance_again(
    trainings: Sequence[Results],
) -> dict[str, list[list[float] | None]]:
    """What Resonance adds to a row, as `rows_again` has it, by the row's label."""
    rows = rows_again(trainings)
    pairs = [(label, label.removeprefix(RESONANCE)) for label in rows]
    return {
        plain: [
            None
            if a is None or b is None
            else [x - y for x, y in zip(a, b, strict=True)]
            for a, b in zip(rows[label], rows[plain], strict=True)
        ]
        for label, plain in pairs
        if label != plain and plain in rows
    }


def counts(results: Results, row: dict[str, Any], kind: str) -> bool:
    """Whether a row's number on a kind of text may be shown."""
    return kind == NATURAL or has_learned_to_copy(results, row["model"])


def kinds(results: Results) -> list[str]:
    """Kinds of text at the longest length, natural first."""
    found = results["targets"][str(max(results["lengths"]))]
    return sorted(found, key=lambda kind: (kind != NATURAL, kind != REPEATED))


def absent_rows(results: Results, planned: Iterable[str]) -> list[str]:
    """The article's rows, and those planned, that were not measured."""
    measured = {row["label"] for row in results["rows"]}
    wanted = dict.fromkeys([*ARTICLE, *planned])
    return [label for label in wanted if label not in measured]


def accuracy_of(results: Results, row: dict[str, Any], length: int, kind: str):
    """(mean, interval) of the accuracy, or None where it may not be shown."""
    if kind not in row["cells"].get(str(length), {}):
        return None
    if not counts(results, row, kind):
        return None
    found = cell(row, length, kind)
    return found["accuracy"], found["accuracy_interval"]


def _published(upper: str, lower: str, kind: str) -> float | None:
    if upper not in ARTICLE or lower not in ARTICLE:
        return None
    key = "natural" if kind == NATURAL else "repeated"
    return (getattr(ARTICLE[upper], key) - getattr(ARTICLE[lower], key)) / 100
