"""Numbers of results.json against plain loops over tokens."""

import json

import numpy as np
import pytest

from rope_lab.evaluation import paired_interval, summaries

RNG = np.random.default_rng(0)
LOSS = RNG.gamma(2.0, size=(12, 40)).astype(np.float32)
HIT = RNG.random((12, 40)) < 0.4
IDS = np.arange(12) % 5


def measured(loss=LOSS, hit=HIT, checksum="same"):
    return summaries.summarise(loss, hit, IDS, 16) | {"targets_checksum": checksum}


def test_levels_are_plain_means_of_their_positions():
    cell = measured()
    assert cell["loss"] == pytest.approx(LOSS.mean(), abs=1e-6)
    assert cell["accuracy"] == pytest.approx(HIT.mean(), abs=1e-6)
    assert cell["inside"]["loss"] == pytest.approx(LOSS[:, :16].mean(), abs=1e-6)
    assert cell["beyond"]["accuracy"] == pytest.approx(HIT[:, 16:].mean(), abs=1e-6)
    assert (cell["tokens"], cell["windows"], cell["documents"]) == (480, 12, 5)
    assert cell["inside"]["tokens"] + cell["beyond"]["tokens"] == cell["tokens"]
    assert cell["loss_interval"][0] < cell["loss"] < cell["loss_interval"][1]


def test_beyond_minus_inside_is_paired_within_each_window():
    beyond, inside = LOSS[:, 16:].mean(1), LOSS[:, :16].mean(1)
    mean, low, high = paired_interval(beyond, inside, IDS)
    found = measured()["beyond_minus_inside"]
    assert found["mean"] == pytest.approx(mean, abs=1e-5)
    assert found["interval"] == pytest.approx([low, high], abs=1e-5)


def test_within_the_training_length_nothing_lies_beyond():
    cell = summaries.summarise(LOSS[:, :16], HIT[:, :16], IDS, 16)
    assert cell["beyond"] is None and cell["beyond_minus_inside"] is None
    assert cell["inside"]["loss"] == cell["loss"]


@pytest.mark.parametrize("bins", ["log", "equal"])
def test_bins_cover_every_position_once_and_average_to_the_whole(bins):
    found = measured()["by_position"][bins]
    widths = np.diff(found["edges"])
    assert found["edges"][0] == 0 and found["edges"][-1] == 40 and (widths > 0).all()
    assert np.average(found["loss"], weights=widths) == pytest.approx(LOSS.mean())
    k = len(widths) // 2
    part = LOSS[:, found["edges"][k] : found["edges"][k + 1]]
    assert found["loss"][k] == pytest.approx(part.mean(), abs=1e-6)
    assert found["low"][k] <= found["loss"][k] <= found["high"][k]


@pytest.mark.parametrize("length", [1, 2, 3, 100, 2048])
def test_log_edges_grow_and_hold_the_training_length(length):
    edges = summaries.log_edges(length, 24)
    assert edges[0] == 0 and edges[-1] == length
    assert (np.diff(edges) > 0).all()
    assert (24 in edges) == (length >= 24)
    assert len(edges) <= 3 + 2 * np.log2(length + 1) + 1


def test_comparison_pairs_windows_and_refuses_other_targets():
    ours, theirs = measured(LOSS + 0.25), measured()
    found = summaries.compare(ours, theirs, IDS)
    assert found["beyond"]["mean"] == pytest.approx(0.25, abs=1e-5)
    assert found["whole"]["interval"] == pytest.approx([0.25, 0.25], abs=1e-5)
    with pytest.raises(ValueError, match="different target tokens"):
        summaries.compare(ours, measured(checksum="other"), IDS)


def test_one_document_gives_null_intervals_and_valid_json():
    cell = summaries.summarise(LOSS, HIT, np.zeros(12, int), 16)
    assert cell["loss_interval"] is None
    assert set(cell["by_position"]["log"]["low"]) == {None}
    json.dumps(cell, allow_nan=False)


def test_a_share_of_equal_scores_has_no_interval():
    assert summaries.share([0.0] * 11, range(11)) == {"mean": 0, "interval": None}
    found = summaries.share([0.0, 1.0] * 20, range(40))
    low, high = found["interval"]
    assert low < found["mean"] == 0.5 < high
