"""Members of a group share a loop and nothing else: one that fails fails alone."""

import dataclasses
import shutil

import chex
import jax
import numpy as np
import pytest
import tiny_run
from tiny_run import BATCH, CONFIG, MODEL, CountingSource, leaves, logic, meta

from rope_lab.training import Checkpoints, MetricsWriter, Progress, read_metrics
from rope_lab.training.folders import steps_in
from rope_lab.training.members import Member, member_state, train_members
from rope_lab.training.sweep import init_members, make_member_step, stack_logics

SEEDS = (0, 1, 2)


class Stacked:
    """The one order of the data, as `make_member_step` reads it."""

    def __getitem__(self, n):
        return {k: v[None] for k, v in CountingSource()[n].items() if v is not None}


def run(folder, broken=(), config=CONFIG, evaluate=None):
    """(members, state): a group of three, some with parameters that are no numbers."""
    graphdef, state = init_members(MODEL, config, SEEDS)
    for m in broken:
        params = jax.tree.map(lambda x, m=m: x.at[m].set(np.nan), state.params)
        state = dataclasses.replace(state, params=params)
    members = [
        Member(
            name=str(seed),
            checkpoints=Checkpoints(folder / str(seed), config.keep_checkpoints),
            writer=MetricsWriter(folder / str(seed), tensorboard=False),
            meta=meta(config, seed=seed),
            source=CountingSource(),
        )
        for seed in SEEDS
    ]
    state = train_members(
        state,
        make_member_step(graphdef, config, (0, 0, 0)),
        Stacked(),
        BATCH,
        config,
        stack_logics([logic()] * 3),
        members,
        Progress(config.num_steps),
        evaluate or (lambda state: [{"step": float(x)} for x in state.step]),
        4,
    )
    for member in members:
        member.checkpoints.close()
        member.writer.close()
    return members, state


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    return folder, run(folder)


def test_each_member_ends_and_is_saved_as_a_run_of_its_own(whole, tmp_path):
    folder, (members, state) = whole
    assert [member.failure for member in members] == [None] * 3
    alone = tiny_run.run(tmp_path, decoder=True, seed=1)
    found = leaves(member_state(state, 1))
    chex.assert_trees_all_close(found, leaves(alone), rtol=1e-3, atol=1e-5)
    kept = ("step", "loss", "accuracy", "tokens", "grad_norm", "learning_rate")
    rows = [row for row in read_metrics(folder / "1") if "loss" in row]
    expected = read_metrics(tmp_path)
    for name in kept:
        np.testing.assert_allclose(
            [row[name] for row in rows], [row[name] for row in expected], rtol=1e-3
        )
    assert tiny_run.run(folder / "1", decoder=True, seed=1).step == CONFIG.num_steps


def test_a_member_that_diverges_says_where_and_leaves_the_others_as_they_were(
    whole, tmp_path
):
    members, state = run(tmp_path, broken=(1,))
    assert [member.failure is None for member in members] == [True, False, True]
    assert "loss is nan at step 1" in members[1].failure
    assert read_metrics(tmp_path / "1") == []
    assert members[1].checkpoints.latest_step() is None
    for m in (0, 2):
        assert leaves(member_state(state, m))[0].tobytes() == (
            leaves(member_state(whole[1][1], m))[0].tobytes()
        )


def test_a_group_in_which_all_have_failed_ends(tmp_path):
    for _ in range(2):  # and is tried again
        members, state = run(tmp_path, broken=(0, 1, 2))
        assert all(member.failure for member in members)
        assert state.step[0] == CONFIG.log_every


class Killed(Exception):
    pass


def killed_at(step):
    def evaluate(state):
        if state.step[0] == step:
            raise Killed
        return [{"step": float(x)} for x in state.step]

    return evaluate


def test_one_that_diverged_does_not_take_the_others_back_to_the_start(
    whole, tmp_path, capsys
):
    with pytest.raises(Killed):
        run(tmp_path, broken=(1,), evaluate=killed_at(7))
    members, state = run(tmp_path, broken=(1,))
    assert "continues after step 6\n" in capsys.readouterr().err
    assert "loss is nan at step 1" in members[1].failure
    for m in (0, 2):
        found = leaves(member_state(state, m))
        chex.assert_trees_all_equal(found, leaves(member_state(whole[1][1], m)))


def test_a_damaged_checkpoint_of_one_takes_all_to_the_one_before(
    whole, tmp_path, capsys
):
    with pytest.raises(Killed):
        run(tmp_path, evaluate=killed_at(7))
    item = tmp_path / "1" / "checkpoints" / "6" / "params"
    file = max(
        (p for p in item.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size
    )
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    _, state = run(tmp_path)
    said = capsys.readouterr().err
    assert "6 is damaged" in said and "continues after step 3\n" in said
    chex.assert_trees_all_equal(leaves(state), leaves(whole[1][1]))


def test_members_killed_while_they_saved_go_on_from_what_all_of_them_hold(
    whole, tmp_path, capsys
):
    with pytest.raises(Killed):
        run(tmp_path, evaluate=killed_at(7))  # after the checkpoints of steps 3 and 6
    folders = [tmp_path / str(seed) / "checkpoints" for seed in SEEDS]
    assert [sorted(steps_in(folder)) == [3, 6] for folder in folders] == [True] * 3
    shutil.rmtree(folders[1] / "6")
    _, state = run(tmp_path)
    assert "continues after step 3\n" in capsys.readouterr().err
    for found, expected in zip(leaves(state), leaves(whole[1][1]), strict=True):
        np.testing.assert_array_equal(found, expected)
    for seed in SEEDS:
        rows = read_metrics(tmp_path / str(seed))
        steps = [row["step"] for row in read_metrics(whole[0] / str(seed))]
        assert [row["step"] for row in rows] == steps
