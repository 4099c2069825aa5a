"""Members of a sweep train side by side as they would alone, on any devices."""

import dataclasses
import functools
import os
import subprocess
import sys
from pathlib import Path

import chex
import jax
import numpy as np
import pytest
from fake_devices import xla_flags

from rope_lab import position_logic
from rope_lab.data import PosGenConfig, PosGenSource, batches, generate_splits
from rope_lab.model import ModelConfig, init_model
from rope_lab.training import (
    TrainingConfig,
    init_state,
    make_optimizer,
    make_train_step,
)
from rope_lab.training.sweep import (
    init_members,
    make_sweep_step,
    member_mesh,
    shard,
    stack_logics,
)

ROOT = Path(__file__).parents[2]
DATA = PosGenConfig(
    modulus=7, train_length=16, test_length=16, num_train=32, num_validation=1,
    num_test=1,
)  # fmt: skip
MODEL = ModelConfig(
    vocab_size=12, num_layers=2, width=16, ff_width=24, num_heads=1, num_kv_heads=1,
    head_dim=8,
)  # fmt: skip
CONFIG = TrainingConfig(num_steps=6, learning_rate=1e-2, warmup_steps=2)
SEEDS = (3, 8)
MEMBERS = ((0, 0), (0, 1), (1, 0), (1, 1))  # places in logics() and SEEDS
ORDERS = tuple(seed for _, seed in MEMBERS)


def logics():
    yarn = {"scale": 2, "train_length": 16, "resonance": True}
    return (
        position_logic("rope", head_dim=8),
        position_logic("yarn", head_dim=8, **yarn),
    )


def source(seeds=SEEDS):
    return PosGenSource(DATA, generate_splits(DATA)["train"], list(seeds))


def swept(steps=4):
    """(state, metrics of each step) of all members."""
    seeds = [SEEDS[seed] for seed in ORDERS]
    graphdef, state = init_members(MODEL, CONFIG, seeds)
    mesh = member_mesh(len(seeds))
    logic = shard(stack_logics([logics()[row] for row, _ in MEMBERS]), mesh)
    state, step = shard(state, mesh), make_sweep_step(graphdef, CONFIG, ORDERS)
    history = []
    for _, batch in zip(range(steps), batches(source(), 4), strict=False):
        state, metrics = step(state, batch, logic)
        history.append(metrics)
    return state, history


@functools.cache
def single_step():
    """The step of every other run, compiled once."""
    return make_train_step(init_model(MODEL, 0)[0], make_optimizer(CONFIG), CONFIG)


def alone(logic, seed, steps=4):
    """(state, metrics of each step) of one run."""
    params = init_model(MODEL, seed)[1]
    state = init_state(params, make_optimizer(CONFIG), CONFIG, seed)
    step, history = single_step(), []
    for _, batch in zip(range(steps), batches(source([seed]), 4), strict=False):
        batch = {key: value[:, 0] for key, value in batch.items()}
        batch |= {"positions": None, "segment_ids": None}
        state, metrics = step(state, batch, logic)
        history.append(metrics)
    return state, history


def test_a_mapped_sweep_gives_the_losses_and_parameters_of_separate_runs():
    state, together = swept()
    losses = []
    for member, (row, place) in enumerate(MEMBERS):
        single, history = alone(logics()[row], SEEDS[place])
        mine = jax.tree.map(lambda leaf, m=member: leaf[m], state.params)
        chex.assert_trees_all_close(mine, single.params, rtol=1e-3, atol=1e-5)
        losses.append([float(metrics["loss"]) for metrics in history])
    assert np.ptp(losses, axis=0).min() > 1e-4  # the members do differ
    means = [float(metrics["loss"]) for metrics in together]
    np.testing.assert_allclose(means, np.mean(losses, axis=0), rtol=1e-5)


def test_a_member_that_diverges_shows_in_the_loss_of_the_sweep():
    seeds = [SEEDS[seed] for seed in ORDERS]
    graphdef, state = init_members(MODEL, CONFIG, seeds)
    broken = jax.tree.map(lambda leaf: leaf.at[2].set(np.nan), state.params)
    state = dataclasses.replace(state, params=broken)
    logic = stack_logics([logics()[row] for row, _ in MEMBERS])
    step = make_sweep_step(graphdef, CONFIG, ORDERS)
    state, metrics = step(state, next(batches(source(), 4)), logic)
    assert np.isnan(metrics["loss"])
    finite = [np.isfinite(leaf).all((1, 2)) for leaf in _matrices(state.params)]
    np.testing.assert_array_equal(np.all(finite, axis=0), [True, True, False, True])


def _matrices(params):
    return [np.asarray(x) for x in jax.tree.leaves(params) if x.ndim == 3]


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("rerope", {"window": 4}),
        ("partial", {"fraction": 0.5}),
        ("rope", {"log_n": "train", "train_length": 16}),
        ("rope", {"softmax_scale": 1.0}),
        ("rope", {"sliding_window": 4}),
    ],
)
def test_logics_of_different_programs_are_not_stacked(name, options):
    other = position_logic(name, head_dim=8, **options)
    with pytest.raises(ValueError, match="frequencies alone"):
        stack_logics([logics()[0], other])


def test_every_rotary_scaling_is_a_member_of_one_program():
    scaled = {"scale": 2, "train_length": 16}
    names = ("interpolated", "ntk_aware", "ntk_old", "ntk_fixed", "ntk_mixed", "llama3")
    many = [position_logic(name, head_dim=8, **scaled) for name in names]
    many += [position_logic("p_rope", head_dim=8, train_length=16), *logics()]
    stacked = stack_logics(many)
    assert stacked.bands[0].frequencies.angular.shape == (len(many), 4)


def _print_spread_losses() -> None:
    """What the test below compares; run with several devices."""
    state, history = swept()
    leaf = jax.tree.leaves(state.params)[0]
    print(len(leaf.sharding.device_set), leaf.addressable_shards[0].data.shape[0])
    print(*(float(metrics["loss"]) for metrics in history))


@pytest.mark.slow
def test_members_spread_over_devices_train_the_same():
    environment = os.environ | {
        "XLA_FLAGS": xla_flags(3),  # 4 members divide by 2
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")]),
    }
    done = subprocess.run(
        [sys.executable, __file__], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    spread, losses = done.stdout.splitlines()
    assert spread == "2 2"  # two devices, two members on each
    expected = [float(metrics["loss"]) for metrics in swept()[1]]
    np.testing.assert_allclose([*map(float, losses.split())], expected, rtol=1e-5)


if __name__ == "__main__":
    _print_spread_losses()
