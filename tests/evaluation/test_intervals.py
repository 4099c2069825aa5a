"""Intervals: what they must cover, and what they must not pretend to know."""

import numpy as np
import pytest

from rope_lab.evaluation import mean_interval, paired_interval


def test_the_mean_is_the_mean_over_windows_not_over_documents():
    interval = mean_interval([1.0, 1.0, 1.0, 5.0], [0, 0, 0, 1])
    assert interval.mean == 2.0
    assert interval.low < 2.0 < interval.high


@pytest.mark.parametrize("documents", [6, 25])
def test_intervals_cover_the_truth_nineteen_times_in_twenty(documents):
    rng = np.random.default_rng(0)
    ids = np.repeat(np.arange(documents), 4)
    trials, covered = 400, 0
    for _ in range(trials):
        shared = rng.normal(size=documents)[ids]  # windows of a document agree
        values = 3.0 + shared + 0.3 * rng.normal(size=len(ids))
        interval = mean_interval(values, ids, resamples=400)
        covered += interval.low <= 3.0 <= interval.high
    # Three standard deviations of a binomial of 400 at 0.95 are 0.033.
    assert 0.91 <= covered / trials <= 0.99


def test_drawing_windows_in_place_of_documents_would_be_far_too_sure():
    rng = np.random.default_rng(1)
    ids = np.repeat(np.arange(10), 20)
    values = rng.normal(size=10)[ids]
    honest = mean_interval(values, ids)
    windows_as_documents = mean_interval(values, np.arange(len(ids)))
    assert honest.high - honest.low > 3 * (
        windows_as_documents.high - windows_as_documents.low
    )


def test_one_document_gives_a_mean_and_no_interval():
    interval = mean_interval([[1.0, 2.0], [3.0, 4.0]], ["a", "a"])
    np.testing.assert_array_equal(interval.mean, [2.0, 3.0])
    assert np.isnan(interval.low).all() and np.isnan(interval.high).all()


def test_equal_documents_give_an_interval_of_no_width():
    interval = mean_interval([2.0, 2.0, 2.0], [0, 1, 2])
    assert interval == (2.0, 2.0, 2.0)


def test_bins_are_treated_each_like_a_single_column():
    rng = np.random.default_rng(2)
    values, ids = rng.normal(size=(30, 5)), np.arange(30) % 7
    together = mean_interval(values, ids)
    for k in range(5):
        alone = mean_interval(values[:, k], ids)
        np.testing.assert_allclose([x[k] for x in together], alone)


def test_names_of_documents_and_order_of_windows_do_not_matter_to_the_mean():
    rng = np.random.default_rng(3)
    values, ids = rng.normal(size=40), np.arange(40) % 8
    order = rng.permutation(40)
    a = mean_interval(values, ids)
    b = mean_interval(values[order], ids[order])
    np.testing.assert_allclose(a, b)


def test_pairing_removes_what_the_two_rows_share():
    rng = np.random.default_rng(4)
    ids = np.arange(40) % 10
    text = 5 * rng.normal(size=10)[ids]
    a, b = text + 0.2 + 0.01 * rng.normal(size=40), text
    paired = paired_interval(a, b, ids)
    assert paired.low > 0.15 and paired.high < 0.25
    assert paired == mean_interval(a - b, ids)
    swapped = paired_interval(b, a, ids)
    np.testing.assert_allclose(-swapped.mean, paired.mean)


def test_values_that_are_not_of_the_same_windows_are_refused():
    with pytest.raises(ValueError, match="same windows"):
        paired_interval([1.0, 2.0], [1.0], [0, 1])
    with pytest.raises(ValueError, match="one document id for each"):
        mean_interval([1.0, 2.0], [0])
    with pytest.raises(ValueError, match="at least one window"):
        mean_interval([], [])
