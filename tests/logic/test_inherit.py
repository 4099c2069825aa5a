"""What a new encoding of a trained model takes over from the one before."""

import numpy as np
import pytest

from rope_lab import position_logic
from rope_lab.logic import PositionLogic
from rope_lab.logic.hybrid import hwfa, hwfa2
from rope_lab.logic.inherit import completed
from rope_lab.logic.temperature import Temperature

D = 16
YARN = {"scale": 4, "train_length": 64}
LOG_N = {"log_n": "train", "train_length": 64}


def logic(name="rope", **options):
    return position_logic(name, head_dim=D, **options)


@pytest.mark.parametrize(
    ("trained", "spec", "added"),
    [
        ({}, {"name": "yarn", **YARN}, {}),
        ({"base": 5e5}, {"name": "yarn", **YARN}, {"base": 5e5}),
        ({"base": 5e5}, {"name": "yarn", "base": 1e4, **YARN}, {}),
        ({"base": 5e5, "sliding_window": 8}, {"name": "nope"}, {"sliding_window": 8}),
        ({"sliding_window": 8}, {"name": "rope", "sliding_window": 4}, {}),
        ({"layout": "interleaved"}, {"name": "rope"}, {"layout": "interleaved"}),
        ({"base": 5e5}, {"name": "rerope", "window": 4}, {"base": 5e5}),
        ({"base": 5e5}, {"name": "hwfa", "window": 4}, {"base": 5e5}),
        ({"softmax_scale": 1.0}, {"name": "nope"}, {"softmax_scale": 1.0}),
        ({"softmax_scale": 1.0}, {"name": "nope", "softmax_scale": 2.0}, {}),
        (
            {"base": 5e5, **LOG_N},
            {"name": "rerope", "window": 16},
            {"base": 5e5, **LOG_N},
        ),
        (
            LOG_N | {"log_n_minimum": 16},
            {"name": "nope"},
            LOG_N | {"log_n_minimum": 16},
        ),
        (LOG_N, {"name": "yarn", **YARN}, {"log_n": "train"}),
        # What a spec says of log n is all that holds.
        (LOG_N, {"name": "rope", "log_n": "off"}, {}),
        (LOG_N, {"name": "rope", "log_n": "test", "train_length": 32}, {}),
        # That at test alone is no property of a model, and rounding is not either.
        (LOG_N | {"log_n": "test"}, {"name": "rope"}, {}),
        ({"resonance": True}, {"name": "yarn", **YARN}, {}),
    ],
)
def test_what_a_spec_leaves_open_stays(trained, spec, added):
    assert completed(spec, logic(**trained)) == spec | added


@pytest.mark.parametrize("name", ["yarn", "longrope"])
def test_piecewise_encodings_keep_frequencies_that_were_scaled(name):
    options = {"base": 5e5, **YARN}
    if name == "longrope":
        factors = {"short_factors": [1.0] * 8, "long_factors": [3.0] * 8}
        options |= factors | {"length": 100}
    trained = logic(name, **options)
    spec = completed({"name": "rerope", "window": 4}, trained)
    built = position_logic(head_dim=D, **spec)
    for found, expected in zip(
        (built.bands[1].frequencies.angular, built.logit_scale),
        (trained.bands[0].frequencies.angular, trained.logit_scale),
        strict=True,
    ):
        np.testing.assert_array_equal(found, expected)
    assert "frequencies" not in completed({"name": "rope"}, trained)
    own = {"name": "rerope", "window": 4, "base": 100.0}
    assert completed(own, trained) == own


def test_layers_that_differ_hand_on_what_they_share():
    layers = [logic(base=5e5, sliding_window=8), logic(base=5e5)]
    spec = {"name": "rerope", "window": 4}
    assert completed(spec, layers) == spec | {"base": 5e5}


def test_a_logic_put_together_by_hand_says_nothing_of_itself():
    by_hand = PositionLogic(logic().bands, Temperature())
    with pytest.raises(ValueError, match="put together by hand"):
        completed({"name": "rope"}, by_hand)


def test_log_n_that_layers_do_not_share_is_handed_on_to_none():
    spec = {"name": "rerope", "window": 4}
    for other in ({}, LOG_N | {"train_length": 32}, LOG_N | {"log_n_minimum": 2}):
        assert completed(spec, [logic(**LOG_N), logic(**other)]) == spec


def test_another_train_length_has_to_say_what_log_n_is_measured_against():
    spec = {"name": "yarn", "scale": 4, "train_length": 32}
    with pytest.raises(ValueError, match="train_length 32.*train_length 64.*log_n"):
        completed(spec, logic(**LOG_N))
    said = spec | {"log_n": "train"}
    assert completed(said, logic(**LOG_N)) == said


def test_a_pattern_keeps_base_and_the_log_n_of_layers_that_see_all_keys():
    options = {"window": 8, "base": 5e5, **LOG_N}
    trained = hwfa2(4, head_dim=D, **options)
    spec = {"name": "hwfa2", "window": 8, "rerope_window": 8}
    assert completed(spec, trained) == spec | options
    assert completed(spec, logic(base=5e5)) == spec | {"base": 5e5}
    own = spec | {"base": 100.0, "log_n": "off"}
    assert completed(own, trained) == own
    # hwfa makes its log n itself.
    spec = {"name": "hwfa", "window": 8, "train_length": 64}
    assert completed(spec, trained) == spec | {"base": 5e5}


def test_layers_that_rotate_nothing_have_no_say_in_the_base():
    trained = hwfa(2, head_dim=D, window=8, train_length=64, base=5e5)
    assert completed({"name": "rope"}, trained) == {"name": "rope", "base": 5e5}
