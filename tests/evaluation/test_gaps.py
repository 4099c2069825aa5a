"""Feature gaps of rows, and rank correlations against SciPy and by hand."""

import copy

import numpy as np
import pytest
import synthetic_results
from scipy import stats

from rope_lab import position_logic, rotary
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
