"""Verdicts on the article's claims: computed from the numbers, and only where shown."""

import copy

import numpy as np
import pytest
import synthetic_results

from rope_lab.evaluation import claims, summaries
from rope_lab.evaluation.article import ARTICLE, SUFFIXES, base_label, treatment
from rope_lab.evaluation.combine import combine, model_labels, of_model

L = synthetic_results.TRAIN_LENGTH
PLAIN = synthetic_results.make_results()


def part(rows, gain=0.5):
    """A table of some of the made-up rows whose model gains `gain` on second copies."""
    table = copy.deepcopy(PLAIN)
    table["rows"] = [r for r in table["rows"] if r["truncated"] or r["label"] in rows]
    for row in table["rows"]:
        row["model"] = "pretrained"
    (reference,) = [row for row in table["rows"] if row["truncated"]]
    reference["label"] = "truncated"
    rng = np.random.default_rng(0)
    hit = rng.random((24, L)) < np.where(np.arange(L) < L // 2 - 1, 0.2, 0.2 + gain)
    ids = np.arange(24) % 8
    reference["cells"][str(L)]["repeated"]["copies"] = summaries.copies(
        hit, ids, L // 2
    )
    return table


@pytest.fixture
def results():
    first = part(["RoPE", "NTK-old", "ReRoPE w=L/2", "ReRoPE w=L/4"])
    second = part(["NTK-mixed"], gain=0.0)
    return combine({"RoPE": first, "other": second})


def test_rows_keep_their_order_and_say_which_model_is_theirs(results):
    assert [(row["label"], row["model"]) for row in results["rows"]] == [
        ("RoPE", "RoPE"),
        ("truncated", "RoPE"),
        ("NTK-old", "RoPE"),
        ("ReRoPE w=L/2", "RoPE"),
        ("ReRoPE w=L/4", "RoPE"),
        ("truncated, other", "other"),
        ("NTK-mixed", "other"),
    ]
    assert model_labels(results) == ["RoPE", "other"]
    assert len(of_model(results, "other")["rows"]) == 2


def test_tables_of_other_targets_and_equal_labels_are_refused():
    first, second = part(["RoPE"]), part(["RoPE"])
    with pytest.raises(ValueError, match="two rows are called 'RoPE'"):
        combine({"a": first, "b": second})
    second["targets"]["32"]["natural"]["checksum"] = "another"
    with pytest.raises(ValueError, match="model 'b' has another targets"):
        combine({"a": first, "b": second})
    with pytest.raises(ValueError, match="no tables"):
        combine({})


def test_the_gate_opens_for_the_model_that_gains_twenty_points(results):
    assert claims.has_learned_to_copy(results, "RoPE")
    assert not claims.has_learned_to_copy(results, "other")
    assert claims.copying(results, "RoPE")["gain"]["mean"] == pytest.approx(
        0.5, abs=0.1
    )
    rows = {row["label"]: row for row in results["rows"]}
    assert claims.accuracy_of(results, rows["NTK-mixed"], 256, "repeated") is None
    assert claims.accuracy_of(results, rows["NTK-mixed"], 256, "natural")
    assert claims.accuracy_of(results, rows["NTK-old"], 256, "repeated")


def test_rerope_is_compared_with_each_ntk_variant_on_each_kind_of_text(results):
    found = claims.rerope_above_ntk(results)
    pairs = [(one.lower, one.kind) for one in found]
    assert pairs == [
        ("NTK-old", "natural"),
        ("NTK-mixed", "natural"),
        ("NTK-old", "repeated"),  # the model of NTK-mixed has not learned to copy
    ]
    rows = {row["label"]: row for row in results["rows"]}
    for one in found:
        cells = [rows[n]["cells"]["256"][one.kind] for n in (one.upper, one.lower)]
        expected = cells[0]["accuracy"] - cells[1]["accuracy"]
        assert one.accuracy["mean"] == pytest.approx(expected, abs=1e-5)
        low = one.accuracy["interval"][0]
        assert (one.verdict == claims.AGREES) == (low > 0)
    assert found[0].published == pytest.approx((48.48 - 39.27) / 100)


def test_the_order_holds_pairs_the_article_tells_apart_the_better_one_above(results):
    found = [one for one in claims.order(results) if one.kind == "natural"]
    pairs = {(one.upper, one.lower) for one in found}
    assert ("NTK-old", "RoPE") in pairs and ("ReRoPE w=L/2", "NTK-mixed") in pairs
    assert ("ReRoPE w=L/2", "ReRoPE w=L/4") not in pairs  # 0.66 points apart
    assert all(one.published >= 0.01 for one in found)


def test_what_another_table_lacks_is_none_and_not_left_out(results):
    found = claims.rerope_above_ntk(results)
    again = claims.compare_again(results, found)
    assert again == found
    without = combine({"RoPE": part(["NTK-old", "ReRoPE w=L/2"], gain=0.0)})
    natural, mixed, repeated = claims.compare_again(without, found)
    assert (natural.lower, natural.kind) == ("NTK-old", "natural")
    assert mixed is None  # its row is not there
    assert repeated is None  # its model did not learn to copy


def moved(results, label, by):
    """The results of a training whose model reads one row better, on all text."""
    other = copy.deepcopy(results)
    (row,) = [row for row in other["rows"] if row["label"] == label]
    for found in row["cells"]["256"].values():
        found["accuracy"] += by
        held = found["per_window"]
        held["whole_accuracy"] = [x + by for x in held["whole_accuracy"]]
    return other


def test_trainings_are_compared_in_what_all_of_them_have(results):
    shorter = combine({"RoPE": part(["RoPE", "NTK-old", "ReRoPE w=L/2"])})
    trainings = [results, moved(shorter, "NTK-old", 1.0)]
    asked = {"ntk": claims.rerope_above_ntk}
    (here, again) = claims.answers_again(trainings, asked)["ntk"]
    pairs = [(one.lower, one.kind) for one in here]
    assert pairs == [("NTK-old", "natural"), ("NTK-old", "repeated")]
    assert [(one.lower, one.kind) for one in again] == pairs
    assert [one.verdict for one in again] == [claims.REVERSED] * 2
    rows = claims.rows_again(trainings)
    assert list(rows) == ["RoPE", "truncated", "NTK-old", "ReRoPE w=L/2"]
    for first, second in rows["NTK-old"]:
        assert second - first == pytest.approx(1.0)
    unlearned = combine({"RoPE": part(["RoPE"], gain=0.0)})
    natural, repeated = claims.rows_again([results, unlearned])["RoPE"]
    assert len(natural) == 2 and repeated is None


def test_resonance_is_told_from_its_plain_row_in_each_training(results):
    first = part(["RoPE", "PI"])
    rows = {row["label"]: row for row in first["rows"]}
    rounded = copy.deepcopy(rows["RoPE"]) | {"label": "Resonance RoPE"}
    first["rows"].append(rounded)  # of PI there is no such row
    here = combine({"RoPE": first})
    trainings = [moved(here, "Resonance RoPE", by) for by in (0.25, -0.5)]
    found = claims.resonance_again(trainings)
    assert list(found) == ["RoPE"]
    for values in found["RoPE"]:
        assert values == pytest.approx([0.25, -0.5])


def test_claims_without_their_rows_are_left_out_and_named(results):
    assert claims.whole_window_fails(results) == []
    absent = claims.absent_rows(results, ["FIRE", "RoPE"])
    assert {"HWFA", "PI", "FIRE"} <= set(absent) and "RoPE" not in absent


def test_the_articles_table_is_whole_and_its_labels_tell_the_use_of_log_n():
    assert len(ARTICLE) == 2 * 11 + 7 + 8 + 9
    assert ARTICLE["ReRoPE w=L/2 †"] == (49.41, 82.40, 48.85)
    assert ARTICLE["Leaky ReRoPE w=L/2 k=8, log n"] == (49.40, 69.80, 45.72)
    assert ARTICLE["YaRN, log n"].natural == 46.52
    assert {treatment(label) for label in ARTICLE} == set(SUFFIXES)
    assert base_label("NTK-mixed †") == "NTK-mixed" and base_label("PI") == "PI"
