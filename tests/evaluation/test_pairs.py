"""Differences between any two measurements, on what both of them measured."""

import numpy as np
import pytest

from rope_lab.evaluation.pairs import Units, paired_differences
from rope_lab.evaluation.summaries import difference

RNG = np.random.default_rng(0)
DOCUMENTS = tuple(n // 3 for n in range(12))


def units(count=12, source="text", names=None, shift=0.0):
    values = RNG.normal(size=count) + shift
    return Units(values, DOCUMENTS[:count], source, names)


def test_every_pair_has_the_interval_of_a_paired_bootstrap():
    measured = [units(shift=s) for s in (0.0, 0.3, 1.0)]
    found = paired_differences(measured)
    assert set(found) == {(0, 1), (0, 2), (1, 2)}
    for (i, j), pair in found.items():
        expected = difference(measured[i].values, measured[j].values, DOCUMENTS)
        assert [pair.low, pair.high] == pytest.approx(expected["interval"], abs=1e-6)
        assert pair.mean == pytest.approx(expected["mean"], abs=1e-6)
        assert pair.shared == 12


def test_other_sources_are_paired_on_the_units_of_equal_names_alone():
    names = tuple(f"w{n}" for n in range(12))
    more = units(source="more", names=names)
    fewer = Units(more.values[[7, 2, 9]] - 1, (2, 0, 3), "fewer", ("w7", "w2", "w9"))
    found = paired_differences([more, fewer])[0, 1]
    assert found.shared == 3
    assert found.mean == pytest.approx(1.0)  # each less its own, whatever the order


def test_units_that_are_not_known_to_be_equal_are_not_paired():
    named = units(source="b", names=tuple("abcdefghijkl"))
    others = units(source="c", names=tuple("mnopqrstuvwx"))
    assert not paired_differences([units(source="a"), named, others])


def test_a_name_that_comes_twice_pairs_as_often_as_both_have_it():
    first = Units(np.array([1.0, 2.0, 3.0]), (0, 1, 2), "a", ("x", "x", "y"))
    second = Units(np.array([0.0, 0.0]), (0, 1), "b", ("x", "x"))
    found = paired_differences([first, second])[0, 1]
    assert (found.shared, found.mean) == (2, 1.5)
