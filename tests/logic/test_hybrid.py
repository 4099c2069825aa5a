"""Patterns over the layers, against what kexue.fm 9603 and 9731 say of theirs."""

import pytest

from rope_lab import position_logic
from rope_lab.logic import hwfa, hwfa2, largest_window, receptive_field


def dicts(logics):
    return [logic.to_dict() for logic in logics]


def logic_of(name, **options):
    return position_logic(name, head_dim=8, **options).to_dict()


def test_hwfa_is_windows_of_rope_below_one_layer_that_sees_all_without_positions():
    found = hwfa(5, head_dim=8, window=3, train_length=16, base=500.0)
    window = logic_of("rope", sliding_window=3, base=500.0)
    above = logic_of("nope", log_n="train", train_length=16)
    assert dicts(found) == [window] * 4 + [above]


@pytest.mark.parametrize(
    ("layers", "count", "places"), [(24, 1, [12]), (24, 2, [8, 16]), (5, 2, [1, 3])]
)
def test_hwfa2_changes_its_full_layers_only_between_training_and_test(
    layers, count, places
):
    options = {"head_dim": 8, "window": 3, "full_layers": count}
    trained = dicts(hwfa2(layers, **options, train_length=16, log_n="train"))
    tested = dicts(
        hwfa2(layers, **options, rerope_window=7, train_length=16, log_n="train")
    )
    log_n = {"log_n": "train", "train_length": 16}
    for number in range(layers):
        if number in places:
            assert trained[number] == logic_of("rope", **log_n)
            assert tested[number] == logic_of("rerope", window=7, **log_n)
        else:
            window = logic_of("rope", sliding_window=3)
            assert trained[number] == tested[number] == window


def test_layers_of_one_kind_share_their_logic():
    found = hwfa2(9, head_dim=8, window=3, full_layers=2)
    assert len({id(logic) for logic in found}) == 2


def test_the_published_window_reaches_346_tokens_and_17_would_be_allowed():
    """24 layers, 512 tokens, at most 3/4 of them: kexue.fm 9603."""
    assert receptive_field(24, 16) == 346
    assert receptive_field(24, 17) <= 0.75 * 512 < receptive_field(24, 18)
    assert largest_window(24, 512) == 17


@pytest.mark.parametrize("layers", [2, 4, 12, 24])
@pytest.mark.parametrize("share", [0.5, 0.75, 1.0])
@pytest.mark.parametrize("length", [64, 128, 513])
def test_one_more_token_of_the_largest_window_would_be_too_much(layers, share, length):
    window = largest_window(layers, length, share)
    reach = [receptive_field(layers, window + more) for more in (0, 1)]
    assert window >= 2 and reach[0] <= share * length < reach[1]


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: hwfa(1, head_dim=8, window=3, train_length=16), "2 layers, got 1"),
        (lambda: hwfa(4, head_dim=8, window=0, train_length=16), "window"),
        (lambda: hwfa(4, head_dim=8, window=2.5, train_length=16), "window"),
        (lambda: hwfa(4, head_dim=8, window=3, train_length=1), "train_length"),
        (
            lambda: hwfa(4, head_dim=8, window=3, train_length=9, sliding_window=2),
            "leave sliding_window out",
        ),
        (
            lambda: hwfa(4, head_dim=8, window=3, train_length=9, log_n="train"),
            "leave log_n out",
        ),
        (lambda: hwfa2(4, head_dim=8, window=3, full_layers=3), "1 or 2 .*=3"),
        (lambda: hwfa2(2, head_dim=8, window=3, full_layers=2), "3 layers, got 2"),
        (
            lambda: hwfa2(
                4, head_dim=8, window=3, rerope_window=9, train_length=8, log_n="test"
            ),
            "window 9 exceeds train_length 8",
        ),
        (lambda: largest_window(64, 64), "even a window of 2 tokens reaches 64"),
    ],
)
def test_what_makes_no_sense_is_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()
