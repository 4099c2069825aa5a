import dataclasses
import os
import shutil
import sys
from types import SimpleNamespace

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_run

from rope_lab.training import Checkpoints, TrainState, load_parameters
from rope_lab.training.abandoned import silence_abandoned_reads


def state_at(step: int) -> TrainState:
    """A state whose every number is its own."""
    state = tiny_run.fresh_state(seed=step)
    key = jax.random.fold_in(jax.random.key(7), step)
    return dataclasses.replace(state, step=jnp.int32(step), key=key)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A workdir with the steps 3 and 5."""
    workdir = tmp_path_factory.mktemp("saved")
    with Checkpoints(workdir) as checkpoints:
        for step in (3, 5):
            checkpoints.save(step, state_at(step), tiny_run.meta())
    return workdir


def assert_equal(one: TrainState, two: TrainState):
    for a, b in zip(tiny_run.leaves(one), tiny_run.leaves(two), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_state_comes_back_exactly_with_its_random_key(saved):
    with Checkpoints(saved) as checkpoints:
        assert checkpoints.latest_step() == 5
        for step in (None, 3):
            found = checkpoints.restore(step, tiny_run.fresh_state(), tiny_run.meta())
            expected = state_at(step or 5)
            assert jax.tree.structure(found) == jax.tree.structure(expected)
            assert_equal(found, expected)
        draws = jax.random.normal(found.key), jax.random.normal(state_at(3).key)
        assert draws[0] == draws[1]


def test_meta_says_what_was_trained_and_where_the_data_stood(saved):
    with Checkpoints(saved) as checkpoints:
        meta = checkpoints.read_meta()
    assert meta["schema_version"] == 3
    assert meta["model"]["num_layers"] == 1
    assert meta["encoding"] == [tiny_run.logic().to_dict()]
    assert meta["data"] == {"corpus": "c" * 64, "tokenizer": "t" * 64}
    assert meta["step"] == meta["data_position"] == 5
    assert {"jax", "flax", "optax", "numpy", "python"} <= set(meta["versions"])


def test_parameters_alone_are_read_from_a_workdir_or_a_step(saved):
    for path, step, expected in [
        (saved, None, 5),
        (saved, 3, 3),
        (saved / "checkpoints", None, 5),
        (saved / "checkpoints" / "3", None, 3),
    ]:
        params, meta = load_parameters(path, step)
        assert meta["step"] == expected
        chex.assert_trees_all_equal(params, state_at(expected).params)
        assert not any(leaf.committed for leaf in jax.tree.leaves(params))


def test_the_average_is_read_on_request_and_missed_where_there_is_none(saved, tmp_path):
    params, _ = load_parameters(saved, average=True)
    chex.assert_trees_all_equal(params, state_at(5).ema)
    with Checkpoints(tmp_path) as checkpoints:
        without = dataclasses.replace(state_at(1), ema=None)
        checkpoints.save(1, without, tiny_run.meta())
    with pytest.raises(ValueError, match="no average: its run had no .*ema_decay"):
        load_parameters(tmp_path, average=True)


def test_a_saved_state_is_that_of_the_call_though_training_goes_on(tmp_path):
    """The step reuses the memory of the state that is still being written."""
    config = dataclasses.replace(tiny_run.CONFIG, ema_decay=None)
    width, step = 400, tiny_run.step_function(config)
    params = tiny_run.stand_in_parameters(width=width)
    state = dataclasses.replace(tiny_run.fresh_state(config), params=params)
    zeros = jax.tree.map(jnp.zeros_like, params)
    adam = state.opt_state[1]._replace(mu=zeros, nu=jax.tree.map(jnp.copy, zeros))
    opt_state = tuple(adam if n == 1 else s for n, s in enumerate(state.opt_state))
    state = dataclasses.replace(state, opt_state=opt_state)
    expected = jax.tree.map(lambda leaf: np.array(leaf, copy=True), params)
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, state, tiny_run.meta())
        for n in range(3):
            state, _ = step(state, tiny_run.batch(n), tiny_run.logic())
        jax.block_until_ready(state.params)
    found, _ = load_parameters(tmp_path)
    chex.assert_trees_all_equal(found, expected)


def test_only_the_newest_checkpoints_stay(tmp_path):
    with Checkpoints(tmp_path, keep=2) as checkpoints:
        for step in (1, 2, 3):
            checkpoints.save(step, state_at(step), tiny_run.meta())
    assert sorted(os.listdir(tmp_path / "checkpoints")) == ["2", "3"]


@pytest.mark.parametrize("bad", [jnp.nan, jnp.inf])
def test_parameters_that_are_not_finite_are_never_saved(tmp_path, bad):
    state = state_at(1)
    state.params["layers"]["bias"] = state.params["layers"]["bias"].at[1, 2].set(bad)
    with Checkpoints(tmp_path) as checkpoints:
        with pytest.raises(ValueError, match="after step 1 are not finite"):
            checkpoints.save(1, state, tiny_run.meta())
        assert checkpoints.latest_step() is None


def test_another_architecture_is_refused_with_the_fields_that_differ(saved):
    model = dataclasses.replace(tiny_run.MODEL, num_layers=8, qk_norm="rms")
    with Checkpoints(saved) as checkpoints, pytest.raises(ValueError) as error:
        other = tiny_run.meta(model=model)
        checkpoints.restore(None, tiny_run.fresh_state(), other)
    message = str(error.value)
    assert "model.num_layers: checkpoint has 1, this run asks for 8" in message
    assert "model.qk_norm: checkpoint has 'none', this run asks for 'rms'" in message
    assert "model.width" not in message


def test_other_shapes_are_refused_with_the_leaves_that_differ(saved):
    like = tiny_run.fresh_state()
    params = tiny_run.stand_in_parameters(width=9)
    like = dataclasses.replace(like, params=params)
    with Checkpoints(saved) as checkpoints, pytest.raises(ValueError) as error:
        checkpoints.restore(None, like)
    assert "embed.embedding: checkpoint has (11, 24), this run asks for (11, 9)" in str(
        error.value
    )


def test_a_place_without_checkpoints_is_named_with_what_to_give(tmp_path, saved):
    with pytest.raises(ValueError, match="no folder .*nowhere; give the workdir"):
        load_parameters(tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()
    with pytest.raises(ValueError, match="no complete checkpoint in .*train there"):
        load_parameters(tmp_path)
    with pytest.raises(ValueError, match=r"step 4 in .*; choose one of \[3, 5\]"):
        load_parameters(saved, step=4)


def files_of(folder) -> list[str]:
    return [str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()]


@pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("how", ["deleted", "cut", "emptied"])
def test_a_damaged_checkpoint_is_refused_and_never_read_wrongly(saved, tmp_path, how):
    whole, _ = load_parameters(saved, 5)
    refused = 0
    for name in files_of(saved / "checkpoints" / "5"):
        if name.startswith(("state", "average")):
            continue
        folder = tmp_path / "checkpoints" / "5"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(saved / "checkpoints" / "5", folder)
        file = folder / name
        if how == "deleted":
            file.unlink()
        else:
            os.truncate(file, file.stat().st_size // 2 if how == "cut" else 0)
        try:
            params, _ = load_parameters(tmp_path)
        except ValueError as error:
            assert len(str(error)) < 600
            assert f"checkpoint {folder} is damaged or incomplete" in str(error)
            assert "delete its folder to use the one before it" in str(error)
            refused += 1
        else:  # a file that nothing needs, such as the mark of completion
            chex.assert_trees_all_equal(params, whole)
    assert refused >= 3


def test_other_exceptions_that_nobody_can_catch_are_still_reported(monkeypatch):
    seen = []
    monkeypatch.setattr(sys, "unraisablehook", lambda x: seen.append(str(x.exc_value)))
    silence_abandoned_reads()
    silence_abandoned_reads()
    for message in ("Event loop is closed", "something else"):
        report = SimpleNamespace(exc_value=RuntimeError(message), object=None)
        sys.unraisablehook(report)
    assert seen == ["something else"]


def test_a_checkpoint_of_a_later_version_is_refused(tmp_path):
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, state_at(1), tiny_run.meta() | {"schema_version": 4})
    with pytest.raises(
        ValueError, match="schema version 4; this rope_lab reads 1 to 3"
    ):
        load_parameters(tmp_path)


def flip_a_byte(file):
    """One bit in the middle, as a disk that forgets."""
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 4
    file.write_bytes(content)


def data_files(folder):
    """Of arrays and of meta, with checksums."""
    return [name for name in files_of(folder) if "/" in name]


def test_a_flipped_bit_in_any_file_is_found_and_the_one_before_used(saved, tmp_path):
    names = data_files(saved / "checkpoints" / "5")
    assert len(names) > 10
    for number, name in enumerate(names):
        workdir = tmp_path / str(number)
        shutil.copytree(saved, workdir)
        flip_a_byte(workdir / "checkpoints" / "5" / name)
        said = []
        with Checkpoints(workdir) as checkpoints:
            assert checkpoints.newest_whole(said.append) == 3
            assert_equal(
                checkpoints.restore(3, tiny_run.fresh_state(), tiny_run.meta()),
                state_at(3),
            )
        assert len(said) == 1 and name in said[0]
        assert f"checkpoint {workdir / 'checkpoints' / '5'} is damaged" in said[0]
        assert (workdir / "damaged" / "5" / name).exists()


def test_a_step_that_was_damaged_can_be_saved_again(saved, tmp_path):
    shutil.copytree(saved, tmp_path / "run")
    folder = tmp_path / "run" / "checkpoints" / "5"
    flip_a_byte(folder / data_files(folder)[0])
    with Checkpoints(tmp_path / "run") as checkpoints:
        assert checkpoints.newest_whole(lambda said: None) == 3
        checkpoints.save(5, state_at(5), tiny_run.meta())
        checkpoints.wait()
        assert checkpoints.newest_whole() == 5
        assert_equal(checkpoints.restore(5, tiny_run.fresh_state()), state_at(5))


def test_reading_parameters_refuses_a_flipped_bit_by_the_name_of_its_file(
    saved, tmp_path
):
    shutil.copytree(saved, tmp_path / "run")
    folder = tmp_path / "run" / "checkpoints" / "5"
    (name,) = [n for n in data_files(folder) if n.startswith("params/d/")][:1]
    flip_a_byte(folder / name)
    with pytest.raises(ValueError, match=f"{name} has another checksum"):
        load_parameters(tmp_path / "run")


def test_a_checkpoint_from_before_there_were_checksums_is_read_to_see(saved, tmp_path):
    for how in ("whole", "cut"):
        shutil.copytree(saved, tmp_path / how)
        (tmp_path / how / "checkpoints" / "5" / "checksums.json").unlink()
    folder = tmp_path / "cut" / "checkpoints" / "5"
    (name,) = [n for n in files_of(folder) if n.startswith("state/d/")][:1]
    os.truncate(folder / name, 1)
    for how, expected in (("whole", 5), ("cut", 3)):
        with Checkpoints(tmp_path / how) as checkpoints:
            assert checkpoints.newest_whole(lambda said: None) == expected


def test_the_last_every_mth_and_the_best_are_kept(tmp_path):
    losses = {1: 5.0, 2: 1.0, 3: 4.0, 4: 2.0, 5: 3.0, 6: 6.0, 7: 7.0, 8: 8.0}
    with Checkpoints(tmp_path, keep=2, keep_every=3, keep_best=2) as checkpoints:
        for step, loss in losses.items():
            checkpoints.save(step, state_at(step), tiny_run.meta(), loss)
    kept = sorted(int(name) for name in os.listdir(tmp_path / "checkpoints"))
    assert kept == [2, 3, 4, 6, 7, 8]
    with Checkpoints(tmp_path, keep=1, keep_best=1) as checkpoints:  # from the disk
        checkpoints.save(9, state_at(9), tiny_run.meta(), 9.0)
        checkpoints.save(10, state_at(10), tiny_run.meta())
    assert set(os.listdir(tmp_path / "checkpoints")) == {"2", "10"}


def test_parameters_come_back_in_the_dtype_that_asks(saved):
    like = tiny_run.fresh_state()
    half = jax.tree.map(lambda x: x.astype(jnp.bfloat16), like.params)
    with Checkpoints(saved) as checkpoints:
        found = checkpoints.restore(5, dataclasses.replace(like, params=half))
    for leaf, expected in zip(
        jax.tree.leaves(found.params), jax.tree.leaves(state_at(5).params), strict=True
    ):
        assert leaf.dtype == jnp.bfloat16
        np.testing.assert_array_equal(leaf, expected.astype(jnp.bfloat16))


def test_a_checkpoint_of_step_0_is_one(tmp_path):
    """That of an imported model: no run may take its folder for an empty one."""
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(0, state_at(0), tiny_run.meta())
        checkpoints.wait()
        assert checkpoints.newest_whole() == 0
    with pytest.raises(ValueError, match="was imported, not trained here"):
        tiny_run.run(tmp_path, decoder=False)
    assert os.listdir(tmp_path / "checkpoints") == ["0"]
