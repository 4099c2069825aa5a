import dataclasses
import io
import os
import signal

import jax.numpy as jnp
import numpy as np
import pytest
import tiny_run

from rope_lab.training import (
    Progress,
    TrainingDiverged,
    load_parameters,
    read_metrics,
)


class Stopped(Exception):
    """Ends a run from inside, without any chance to save."""


def step_that(action, config=tiny_run.CONFIG):
    """The training step, with action(n, state, metrics) after the n-th call's work."""
    real, calls = tiny_run.step_function(config), 0

    def step(state, batch, logic):
        nonlocal calls
        calls += 1
        state, metrics = real(state, batch, logic)
        return action(calls, state, metrics) or (state, metrics)

    return step


def rows(workdir):
    """Without what depends on the machine."""
    clock = ("_seconds", "_per_second", "_per_device", "_bytes")
    return [
        {key: value for key, value in row.items() if not key.endswith(clock)}
        for row in read_metrics(workdir)
    ]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """An uninterrupted run: its workdir and its last state."""
    workdir = tmp_path_factory.mktemp("whole")
    return workdir, tiny_run.leaves(tiny_run.run(workdir))


def assert_equal(found, expected):
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_array_equal(a, b)


def stop_at(step):
    def action(n, state, metrics):
        if n == step:
            raise Stopped

    return action


# 4: after a save at 3 and inside a window of the log; 7: at the last step.
@pytest.mark.parametrize("stop", [2, 4, 7])
def test_a_stopped_run_continues_to_the_same_numbers(tmp_path, whole, stop):
    with pytest.raises(Stopped):
        tiny_run.run(tmp_path, step_fn=step_that(stop_at(stop)))
    state = tiny_run.run(tmp_path)
    assert_equal(tiny_run.leaves(state), whole[1])
    assert rows(tmp_path) == rows(whole[0])


def test_a_run_under_tiger_continues_to_the_same_numbers_too(tmp_path):
    config = dataclasses.replace(
        tiny_run.CONFIG, optimizer="tiger", b1=None, b2=None, weight_decay=None
    )
    expected = tiny_run.leaves(tiny_run.run(tmp_path / "whole", config))
    with pytest.raises(Stopped):
        tiny_run.run(tmp_path / "cut", config, step_fn=step_that(stop_at(4), config))
    assert_equal(tiny_run.leaves(tiny_run.run(tmp_path / "cut", config)), expected)
    assert rows(tmp_path / "cut") == rows(tmp_path / "whole")


def test_rows_are_written_every_few_steps_and_at_the_end(whole):
    assert [row["step"] for row in rows(whole[0])] == [2, 4, 6, 7]
    assert {"loss", "accuracy", "tokens", "grad_norm", "learning_rate"} < set(
        rows(whole[0])[0]
    )


def test_training_lowers_the_loss(whole):
    first, *_, last = [row["loss"] for row in rows(whole[0])]
    assert last < 0.9 * first


def test_a_finished_run_gives_its_result_without_a_step(tmp_path, whole):
    tiny_run.run(tmp_path)
    state = tiny_run.run(tmp_path, step_fn=step_that(stop_at(1)))
    assert_equal(tiny_run.leaves(state), whole[1])
    assert rows(tmp_path) == rows(whole[0])


def test_another_configuration_in_the_same_workdir_is_refused(tmp_path):
    tiny_run.run(tmp_path)
    other = dataclasses.replace(tiny_run.CONFIG, learning_rate=0.02, log_every=1)
    with pytest.raises(ValueError) as error:
        tiny_run.run(tmp_path, other, seed=1)
    message = str(error.value)
    assert "training.learning_rate: checkpoint has 0.05, this run asks for 0.02" in (
        message
    )
    assert "seed: checkpoint has 0, this run asks for 1" in message
    assert "log_every" not in message


def test_nan_stops_at_its_step_and_is_never_saved(tmp_path):
    """Step 5 is bad; the log boundary is 6, so the loop learns of it one step late."""

    def action(n, state, metrics):
        if n >= 5:
            return state, metrics | {"loss": jnp.float32(jnp.nan)}

    with pytest.raises(TrainingDiverged) as error:
        tiny_run.run(tmp_path, step_fn=step_that(action))
    assert error.value.step == 5
    assert "batch 4: sequences 16 to 19" in error.value.batch
    assert error.value.checkpoint == str(tmp_path / "checkpoints" / "3")
    assert load_parameters(tmp_path)[1]["step"] == 3
    assert [row["step"] for row in rows(tmp_path)] == [2, 4]


def test_nan_is_found_before_a_save_between_two_rows(tmp_path):
    def action(n, state, metrics):
        if n == 3:
            return state, metrics | {"loss": jnp.float32(jnp.nan)}

    with pytest.raises(TrainingDiverged, match="loss is nan at step 3"):
        tiny_run.run(tmp_path, step_fn=step_that(action))
    assert os.listdir(tmp_path / "checkpoints") == []


def test_a_broken_batch_stops_the_run_by_itself(tmp_path):
    """Nothing injected but data: a weight of infinity in the batch of step 4."""

    class Source(tiny_run.CountingSource):
        def __getitem__(self, n):
            row = super().__getitem__(n)
            if n == 3 * tiny_run.BATCH:
                row["weights"][0] = np.inf
            return row

    with pytest.raises(TrainingDiverged, match="at step 4, on batch 3"):
        tiny_run.run(tmp_path, source=Source())


def test_sigterm_saves_and_exits(tmp_path, whole):
    def action(n, state, metrics):
        if n == 4:
            os.kill(os.getpid(), signal.SIGTERM)

    handler = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as error:
        tiny_run.run(tmp_path, step_fn=step_that(action))
    assert error.value.code == 143
    assert signal.getsignal(signal.SIGTERM) is handler
    assert load_parameters(tmp_path)[1]["step"] == 4
    assert_equal(tiny_run.leaves(tiny_run.run(tmp_path)), whole[1])
    assert rows(tmp_path) == rows(whole[0])


def test_nan_is_found_before_an_evaluation_meets_it(tmp_path):
    def action(n, state, metrics):
        if n == 1:
            return state, metrics | {"loss": jnp.float32(jnp.nan)}

    def evaluate(state):
        raise AssertionError("evaluated parameters that are no numbers")

    with pytest.raises(TrainingDiverged, match="loss is nan at step 1"):
        step = step_that(action)
        tiny_run.run(tmp_path, step_fn=step, evaluate=evaluate, eval_every=1)


def test_evaluation_rows_come_with_their_steps(tmp_path, whole):
    def evaluate(state):
        return {"step_seen": int(state.step)}

    state = tiny_run.run(tmp_path, evaluate=evaluate, eval_every=3)
    seen = [row for row in rows(tmp_path) if "eval/step_seen" in row]
    assert [(row["step"], row["eval/step_seen"]) for row in seen] == [
        (3, 3),
        (6, 6),
        (7, 7),
    ]
    assert_equal(tiny_run.leaves(state), whole[1])
    with pytest.raises(ValueError, match="both evaluate and eval_every"):
        tiny_run.run(tmp_path, evaluate=evaluate)


def test_progress_shows_every_row_and_where_a_run_continues(tmp_path):
    with pytest.raises(Stopped):
        tiny_run.run(tmp_path, step_fn=step_that(stop_at(5)))
    stream = io.StringIO()
    tiny_run.run(tmp_path, progress=Progress(7, "train", stream))
    lines = stream.getvalue().splitlines()
    assert lines[0] == "train  continues after step 3"
    assert [line.split()[2] for line in lines[1:]] == ["4/7", "6/7", "7/7"]
