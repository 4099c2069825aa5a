import math

import jax.numpy as jnp
import pytest

from rope_lab.training import TrainingDiverged
from rope_lab.training.monitor import Monitor


def monitor(factor=10.0):
    return Monitor(factor, lambda step: f"batch {step - 1}", lambda: "run/10")


def feed(watch, losses, start=1, **more):
    for step, loss in enumerate(losses, start=start):
        metrics = {"loss": loss, "accuracy": 0.5, "tokens": 8.0, "grad_norm": 1.0}
        watch.add(step, {k: jnp.float32(v) for k, v in (metrics | more).items()})


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_the_first_bad_step_of_a_window_is_named_with_its_batch(bad):
    watch = monitor()
    feed(watch, [3.0, 2.9, bad, bad, 2.5])
    with pytest.raises(TrainingDiverged) as error:
        watch.check()
    assert (error.value.step, error.value.batch) == (3, "batch 2")
    assert error.value.checkpoint == "run/10"
    for part in (str(bad), "step 3", "batch 2", "run/10"):
        assert part in str(error.value)


def test_a_gradient_that_is_not_finite_stops_too():
    watch = monitor()
    feed(watch, [3.0], grad_norm=math.nan)
    with pytest.raises(TrainingDiverged, match="grad_norm is nan at step 1"):
        watch.check()


def test_a_spike_is_a_jump_of_the_perplexity_by_the_factor():
    watch = monitor(factor=10.0)
    feed(watch, [2.0, 2.0 + math.log(10) - 0.1])
    watch.check()
    watch = monitor(factor=10.0)
    feed(watch, [2.0, 2.0 + math.log(10) + 0.1])
    with pytest.raises(TrainingDiverged, match="jumped to 4.4026 .* 2.0000 at step 2"):
        watch.check()
    watch = monitor(factor=None)
    feed(watch, [2.0, 20.0])
    watch.check()


def test_a_report_is_the_mean_since_the_last():
    watch = monitor()
    feed(watch, [4.0])
    watch.check()
    watch.report()
    feed(watch, [3.0, 2.0], start=2)
    watch.check()
    assert watch.report() == {
        "loss": 2.5,
        "accuracy": 0.5,
        "tokens": 8.0,
        "grad_norm": 1.0,
    }


def test_a_restored_monitor_goes_on_as_the_first():
    one, two = monitor(), monitor()
    feed(one, [3.0, 2.0])
    one.check()
    two.restore(one.to_dict())
    for watch in (one, two):
        feed(watch, [1.0], start=3)
        watch.check()
    assert one.report() == two.report()
    assert one.to_dict() == two.to_dict()
