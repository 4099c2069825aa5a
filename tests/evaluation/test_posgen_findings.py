"""Claims of the PosGen study from accuracies made up to decide them."""

import numpy as np
import pytest
from scipy import stats

from rope_lab import position_logic
from rope_lab.evaluation import posgen_findings as findings
from rope_lab.evaluation.posgen_published import published


def entry(plain, resonant, subtask="cot", within=(0.99, 0.98, 0.97)):
    """A cell of two rows, RoPE and Resonance RoPE, with accuracies per seed."""
    logics = [position_logic("rope", head_dim=8, resonance=r) for r in (False, True)]
    return {
        "settings": {
            "data": {"subtask": subtask},
            "measured": [logic.to_dict() for logic in logics],
        },
        "rows": [
            {"label": "plain", "within": list(within), "beyond": list(plain)},
            {"label": "resonant", "within": list(within), "beyond": list(resonant)},
        ],
    }


def test_a_difference_is_paired_by_seed():
    (claim,) = findings.claims(entry([0.1, 0.5, 0.9], [0.2, 0.7, 1.0]))
    gaps = [0.1, 0.2, 0.1]
    assert (claim.plain, claim.resonant) == ("plain", "resonant")
    assert claim.difference.mean == pytest.approx(np.mean(gaps))
    assert claim.difference.error == pytest.approx(np.std(gaps, ddof=1) / 3**0.5)
    assert claim.difference.sign == 1
    assert claim.published == pytest.approx(0.0569)


def test_the_interval_is_that_of_a_paired_t_test():
    plain, resonant = [0.1, 0.5, 0.9, 0.3], [0.2, 0.7, 1.0, 0.35]
    (claim,) = findings.claims(entry(plain, resonant, within=[1.0] * 4))
    expected = stats.ttest_rel(resonant, plain).confidence_interval(0.95)
    assert claim.difference.interval == pytest.approx(tuple(expected))


@pytest.mark.parametrize(
    ("values", "sign", "side"),
    [
        ([0.1, 0.11, 0.12], 1, 1),
        ([-0.1, -0.11, -0.12], -1, -1),
        ([0.0, 0.1, 0.2], 1, 0),  # more than its standard error, and still open
        ([-0.1, 0.0, 0.1], 0, 0),
        ([0.1], 0, 0),
    ],
)
def test_a_difference_may_count_and_not_exclude_zero(values, sign, side):
    found = findings.difference({"loss": values}, {"loss": [0.0] * len(values)}, "loss")
    assert (found.sign, found.side) == (sign, side)
    assert (found.interval is None) == (len(values) == 1)


@pytest.mark.parametrize(
    ("subtask", "resonant", "answer"),
    [
        ("cot", [0.6, 0.7, 0.65], "as published"),
        ("cot", [0.4, 0.3, 0.35], "the other way round"),
        ("recursive", [0.4, 0.3, 0.35], "as published"),  # the paper's exception
        ("recursive", [0.6, 0.7, 0.65], "the other way round"),
        ("cot", [0.9, 0.1, 0.51], "no difference that counts"),
    ],
)
def test_the_answer_follows_the_published_order(subtask, resonant, answer):
    (claim,) = findings.claims(entry([0.5, 0.5, 0.5], resonant, subtask))
    assert claim.answer == answer


def test_rows_that_are_not_learned_answer_nothing():
    made = entry([0.1, 0.1, 0.1], [0.9, 0.9, 0.9], within=[0.94, 0.95, 0.95])
    (claim,) = findings.claims(made)
    assert claim.answer == "does not count: not learned"
    made["rows"][0]["within"] = made["rows"][1]["within"] = [0.95, 0.95, 0.95]
    assert findings.claims(made)[0].answer == "as published"


def test_one_seed_has_no_error_and_answers_nothing():
    (claim,) = findings.claims(entry([0.1], [0.9], within=[1.0]))
    assert claim.difference.error is None and claim.difference.sign == 0
    assert claim.answer == "does not count: one seed"


def test_resonance_is_compared_with_equal_options_only():
    made = entry([0.1, 0.1], [0.9, 0.9])
    other = position_logic("rope", head_dim=8, base=500.0)
    made["settings"]["measured"][0] = other.to_dict()
    assert findings.claims(made) == []


def test_steps_to_learn_is_the_first_validation_whose_mean_reaches_95_percent():
    row = {"validation": {"steps": [10, 20, 30]}}
    row["validation"]["within"] = [[0.9, 1.0, 1.0], [0.8, 0.89, 0.95]]
    assert findings.steps_to_learn(row) == 30
    row["validation"]["within"] = [[0.5, 0.5, 0.5]]
    assert findings.steps_to_learn(row) is None


def test_the_published_table_has_its_one_exception_on_recursive():
    worse = [
        (name, subtask)
        for name in ("rope", "yarn")
        for subtask in ("recursive", "cot", "semi_recursive")
        if published(name, True, subtask).mean < published(name, False, subtask).mean
    ]
    assert worse == [("rope", "recursive")]
    assert published("ntk_old", False, "cot") is None
