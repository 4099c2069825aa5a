"""Paired differences among many measurements, on what both of two measured.

A unit is a window, a document or a sample. Two measurements are paired on the units
they share, by the bootstrap of `intervals`: whole documents are drawn.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from rope_lab.evaluation.intervals import mean_interval


@dataclasses.dataclass(frozen=True)
class Units:
    """What was measured one by one.

    Attributes:
      values: float64[N].
      documents: [N], the document of each; those of one are drawn together.
      source: equal where all units are the same, in the same order.
      names: [N], equal for equal units of any source; None where they have none.
    """

    values: np.ndarray
    documents: tuple
    source: str
    names: tuple[str, ...] | None = None


class Pair(NamedTuple):
    """Mean of first minus second with its 95 % interval, NaN with one document."""

    mean: float
    low: float
    high: float
    shared: int  # units


def paired_differences(measured: Sequence[Units]) -> dict[tuple[int, int], Pair]:
    """The difference i minus j for every i < j that share a unit.

    >>> a = Units(np.array([1.0, 2.0]), (0, 1), "text")
    >>> b = Units(np.array([0.5, 1.0]), (0, 1), "text")
    >>> paired_differences([a, b])[0, 1].mean
    0.75
    """
    pairs: dict[tuple[int, int], Pair] = {}
    for i, first in enumerate(measured):
        alike: dict[tuple[int, ...], list[tuple[int, np.ndarray]]] = {}
        for j in range(i + 1, len(measured)):
            ours, theirs = _shared(first, measured[j])
            if len(ours):
                values = first.values[ours] - measured[j].values[theirs]
                alike.setdefault(tuple(ours), []).append((j, values))
        for ours, others in alike.items():
            documents = np.asarray([first.documents[k] for k in ours])
            columns = np.stack([values for _, values in others], axis=1)
            found_3J = np.stack(mean_interval(columns, documents))
            for (j, _), (mean, low, high) in zip(others, found_3J.T, strict=True):
                pairs[i, j] = Pair(float(mean), float(low), float(high), len(ours))
    return pairs


def _shared(first: Units, second: Units) -> tuple[list[int], list[int]]:
    """Places of the shared units in both, in the order of the first."""
    if first.source == second.source:
        places = list(range(len(first.values)))
        return places, places
    if first.names is None or second.names is None:
        return [], []
    ours, theirs = _places(first.names), _places(second.names)
    both = [name for name in ours if name in theirs]
    return [ours[name] for name in both], [theirs[name] for name in both]


def _places(names: Sequence[str]) -> dict[tuple[str, int], int]:
    """(name, how often it came before) -> place: equal windows may come twice."""
    seen: Counter[str] = Counter()
    places = {}
    for place, name in enumerate(names):
        places[name, seen[name]] = place
        seen[name] += 1
    return places
