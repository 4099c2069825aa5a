import pytest

from rope_lab.training import TrainingConfig


@pytest.mark.parametrize(
    "wrong",
    [
        {"num_steps": 0},
        {"learning_rate": 0.0},
        {"schedule": "exponential"},
        {"warmup_steps": 10},
        {"final_learning_rate_fraction": 1.5},
        {"b2": 1.0},
        {"accumulation_steps": 0},
        {"ema_decay": 1.0},
        {"clip_norm": 0.0},
        {"spike_factor": 0.5},
        {"checkpoint_every": 0},
        {"weight_decay": -0.1},
        {"optimizer": "lion"},
        {"b2": 0.95, "optimizer": "tiger"},
    ],
)
def test_a_value_out_of_range_is_refused_by_its_name(wrong):
    (name, value), *_ = wrong.items()
    fields = {"num_steps": 10, "learning_rate": 0.1} | wrong
    with pytest.raises(ValueError, match=f"training.{name} is {value!r}; it must be"):
        TrainingConfig(**fields)


def test_limits_that_can_be_switched_off_accept_none():
    config = TrainingConfig(10, 0.1, clip_norm=None, ema_decay=None, spike_factor=None)
    assert config.clip_norm is None


def test_each_optimizer_has_the_numbers_of_its_authors_where_none_are_given():
    """kexue.fm 9512 for Tiger; a number that is given stays."""
    adam, tiger = (TrainingConfig(10, 0.1, optimizer=n) for n in ("adamw", "tiger"))
    assert (adam.b1, adam.b2, adam.weight_decay) == (0.9, 0.95, 0.1)
    assert (tiger.b1, tiger.b2, tiger.weight_decay) == (0.965, None, 0.01)
    assert (
        TrainingConfig(10, 0.1, optimizer="tiger", weight_decay=0.0).weight_decay == 0
    )
