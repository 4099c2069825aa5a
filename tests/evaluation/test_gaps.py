"""Feature gaps of rows, and rank correlations against SciPy and by hand."""

import copy

import numpy as np
import pytest
import synthetic_results
from scipy import stats

from rope_lab import position_logic, rotary
from rope_lab.cli.study_text import gaps as gap_text
from rope_lab.evaluation import gaps
from rope_lab.evaluation.combine import combine

L = synthetic_results.TRAIN_LENGTH
RNG = np.random.default_rng(0)


@pytest.fixture
def results():
    """The made-up rows under real logics, all of one model."""
    table = copy.deepcopy(synthetic_results.make_results())
    for row in table["rows"]:
        row["model"] = "pretrained"
        for kinds in row["cells"].values():
            for cell in kinds.values():
                name = cell["logic"]["name"]
                options = {
                    "rope": {},
                    "rerope": {"window": 8},
                    "leaky_rerope": {"window": 8, "step": 16},
                    "yarn": {"scale": 8.0, "train_length": L},
                }.get(name, {"scale": 8.0})
                resonance = cell["logic"]["options"].get("resonance", False)
                logic = position_logic(
                    name, head_dim=16, resonance=resonance, **options
                )
                cell["logic"] = logic.to_dict()
    return combine({"RoPE": table})


def test_rows_of_one_band_have_the_gap_to_their_models_trained_angles(results):
    found = gaps.row_gaps(results)
    assert set(found) == {
        "RoPE", "PI", "NTK-old", "NTK-fixed", "NTK-mixed", "YaRN, fine-tuned",
        "Resonance-YaRN, fine-tuned",
    }  # fmt: skip
    trained = rotary.rope(16)
    changed = rotary.interpolated(16, 1e4, 8.0)
    expected = rotary.feature_gap(changed, L, 256, trained)
    np.testing.assert_array_equal(found["PI"], expected)
    own = rotary.feature_gap(trained, L, 256)
    np.testing.assert_array_equal(found["RoPE"], own)


def test_the_loss_increase_is_that_over_truncated_context(results):
    (row,) = [row for row in results["rows"] if row["label"] == "PI"]
    gap = row["cells"]["256"]["natural"]["minus_truncated"]["beyond"]["mean"]
    assert gaps.loss_increase(results, "PI") == gap > 0


def test_correlations_name_their_rows_and_hold_their_intervals(results):
    found = gaps.gap_correlations(results)
    assert found["rows"] == 7
    for name in ("mean", "largest"):
        low, high = found[name]["interval"]
        assert -1 <= low <= found[name]["mean"] <= high <= 1
    few = {**results, "rows": results["rows"][:3]}
    assert gaps.gap_correlations(few)["mean"] is None


def as_if_of_two_models(results):
    """The results with another model of the same rows, losing a nat more in each."""
    other = copy.deepcopy(results["rows"])
    for row in other:
        row |= {"label": row["label"] + ", again", "model": "again"}
        for kinds in row["cells"].values():
            part = kinds["natural"].get("minus_truncated") or {}
            if "beyond" in part:
                part["beyond"]["mean"] += 1.0
    return {**results, "rows": results["rows"] + other}


def test_one_encoding_under_two_names_counts_once(results):
    (row,) = [row for row in results["rows"] if row["label"] == "NTK-mixed"]
    twice = {**results, "rows": [*results["rows"], row | {"label": "the same"}]}
    assert len(gaps.row_gaps(twice)) == 8
    assert gaps.gap_correlations(twice) == gaps.gap_correlations(results)
    other = copy.deepcopy(row) | {"label": "another loss"}
    other["cells"]["256"]["natural"]["minus_truncated"]["beyond"]["mean"] += 0.1
    changed = {**results, "rows": [*results["rows"], other]}
    assert gaps.gap_correlations(changed)["rows"] == 8


def test_each_model_has_a_correlation_of_its_own(results):
    alone = gaps.gap_correlations(results)
    both = gaps.gap_correlations(as_if_of_two_models(results))
    assert both["rows"] == 14 and set(both["models"]) == {"RoPE", "again"}
    for found in both["models"].values():  # ranks do not change with the level
        for name in ("rows", "mean", "largest"):
            assert found[name] == alone[name]
    assert both["mean"]["mean"] != alone["mean"]["mean"]


def test_the_page_names_the_correlation_of_each_model(results):
    text = "\n".join(gap_text(as_if_of_two_models(results)))
    assert "over 14 rows of all models" in text
    assert "- RoPE (7 rows): mean gap" in text
    assert "- again (7 rows): mean gap" in text
    assert "Over the rows of one model" not in "\n".join(gap_text(results))
    single = copy.deepcopy(results["rows"][:2])
    for row in single:
        row |= {"label": row["label"] + " alone", "model": "alone"}
    text = "\n".join(gap_text({**results, "rows": results["rows"] + single}))
    assert text.endswith("so no correlation: alone.")


def test_a_model_whose_gaps_are_equal_has_no_correlation(results):
    (row,) = [row for row in results["rows"] if row["label"] == "PI"]
    (plain,) = [row for row in results["rows"] if row["truncated"]]
    rows = [plain]
    for n in range(gaps.FEWEST):
        rows.append(copy.deepcopy(row) | {"label": f"PI {n}"})
        natural = rows[-1]["cells"]["256"]["natural"]
        natural["minus_truncated"]["beyond"]["mean"] += n
    found = gaps.gap_correlations({**results, "rows": rows})
    assert found["rows"] == gaps.FEWEST and found["mean"] is None


def test_draws_keep_the_number_of_rows_of_each_model():
    # Within each model the order is turned round; the models lie far apart.
    a = np.array([3.0, 2.0, 1.0, 0.0, 13.0, 12.0, 11.0, 10.0])
    b = np.array([0.0, 1.0, 2.0, 3.0, 10.0, 11.0, 12.0, 13.0])
    models = ["x", "y"]
    together = gaps.rank_correlation(a, b)
    apart = gaps.rank_correlation(a, b, groups=np.repeat(models, 4))
    assert apart.mean == together.mean == pytest.approx(stats.spearmanr(a, b).statistic)
    assert together.low < 0 < apart.low  # a draw of one model alone is turned round
    with pytest.raises(ValueError, match="2 names for 8 pairs; give one name per pair"):
        gaps.rank_correlation(a, b, groups=models)


@pytest.mark.parametrize("ties", [False, True])
def test_the_rank_correlation_is_spearmans(ties):
    a, b = RNG.normal(size=(2, 30))
    b = b + a
    if ties:
        a, b = a.round(), b.round()
    found = gaps.rank_correlation(a, b)
    assert found.mean == pytest.approx(stats.spearmanr(a, b).statistic)
    assert found.low < found.mean < found.high


def test_an_order_kept_or_turned_round_correlates_fully():
    values = np.arange(12.0)
    assert gaps.rank_correlation(values, np.exp(values)) == (1, 1, 1)
    assert gaps.rank_correlation(values, -values) == pytest.approx((-1, -1, -1))


def test_unequal_and_single_values_are_refused():
    for a, b in (([1.0], [2.0]), ([1.0, 2.0], [1.0])):
        with pytest.raises(ValueError, match="at least two pairs"):
            gaps.rank_correlation(a, b)
