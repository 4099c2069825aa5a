"""Many small runs as one compiled program: a step that is mapped over its members.

A member is one run: parameters from a seed of its own, the frequencies of an encoding,
and an order of the data. All three are data to the program, so members that differ in
nothing else train side by side, on one device or spread over several.

Letters: M members, R orders of the data, B sequences, T tokens.
"""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from rope_lab.model import ModelConfig, init_model
from rope_lab.training.config import TrainingConfig
from rope_lab.training.optimizer import make_optimizer
from rope_lab.training.state import TrainState, init_state
from rope_lab.training.step import Batch, Step, make_update

AXIS = "member"


def stack_logics(logics: Sequence[Any]) -> Any:
    """One logic whose leaves (frequencies, learned biases) have a leading member axis.

    Args:
      logics: one per member; each a position logic, or a tuple of one per layer.

    Raises:
      ValueError: the logics need different programs: other bands, windows, log n,
        layout, softmax scale or number of planes. Says which logic differs.
    """
    first = logics[0]
    for logic in logics[1:]:
        if program_of(logic) != program_of(first):
            raise ValueError(
                f"{_shape(logic)} cannot be swept in one program with "
                f"{_shape(first)}: members may differ in frequencies "
                "alone, so give them equal bands, planes and options, or a run each"
            )
    return jax.tree.map(lambda *leaves: np.stack(leaves), *logics)


def program_of(logic: Any) -> Any:
    """What logics that share a program have in common; also of one per layer."""
    leaves, structure = jax.tree.flatten(logic)
    return structure, [np.shape(leaf) for leaf in leaves]


def _shape(logic: Any) -> str:
    if isinstance(logic, tuple):
        return f"a pattern of {', '.join(one.name for one in logic)}"
    planes = [band.frequencies.planes for band in logic.bands]
    about = f"bands {len(planes)}, planes {max(planes)}, {logic.temperature}"
    return f"{logic.name} ({about})"


def member_mesh(members: int) -> Mesh:
    """A mesh of the most devices of this host among which the members divide evenly."""
    devices = jax.local_devices()
    count = max(n for n in range(1, len(devices) + 1) if members % n == 0)
    return Mesh(np.array(devices[:count]), (AXIS,))


def shard(tree: Any, mesh: Mesh) -> Any:
    """Puts arrays with a leading member axis onto the devices of the mesh."""
    return jax.device_put(tree, NamedSharding(mesh, PartitionSpec(AXIS)))


def init_members(
    model: ModelConfig, config: TrainingConfig, seeds: Sequence[int]
) -> tuple[Any, TrainState]:
    """(graphdef, state) whose arrays are those of `init_state`, stacked over members.

    Member i starts exactly as a run of its own with seed seeds[i] would.
    """
    optimizer, states = make_optimizer(config), {}
    for seed in sorted(set(seeds)):
        graphdef, params = init_model(model, seed)
        states[seed] = init_state(params, optimizer, config, seed)
    members = [states[seed] for seed in seeds]
    return graphdef, jax.tree.map(lambda *leaves: jnp.stack(leaves), *members)


@functools.cache
def make_member_step(
    graphdef: Any, config: TrainingConfig, orders: tuple[int, ...]
) -> Step:
    """`step(state, batch, logic) -> (state, metrics)` for stacked states and logics.

    The state is consumed, as by `make_train_step`. Batch leaves are [B, R, T]: inputs,
    targets, weights, and where the data has them positions and segment_ids. Metrics are
    float32[M]. Compiled once in a process for equal arguments.

    Args:
      graphdef: the static half of the model, from `init_model`.
      config: of the optimizer and the update.
      orders: for each member, which of the R orders of the data it reads.
    """
    return jax.jit(_mapped(graphdef, config, orders), donate_argnums=0)


@functools.cache
def make_sweep_step(
    graphdef: Any, config: TrainingConfig, orders: tuple[int, ...]
) -> Step:
    """The same with metrics that are means over the members.

    So the loop for one run watches all: a single loss that is not finite makes the mean
    so.
    """
    mapped = _mapped(graphdef, config, orders)

    def step(state: TrainState, batch: Batch, logic: Any):
        state, metrics = mapped(state, batch, logic)
        return state, jax.tree.map(jnp.mean, metrics)

    return jax.jit(step, donate_argnums=0)


def _mapped(graphdef: Any, config: TrainingConfig, orders: tuple[int, ...]) -> Step:
    update = make_update(graphdef, make_optimizer(config), config)
    order_M = np.asarray(orders)
    unpacked = {"positions": None, "segment_ids": None}

    def member(state, batch, logic):
        return update(state, unpacked | batch, logic)

    def step(state: TrainState, batch: Batch, logic: Any):
        batch_MBT = jax.tree.map(lambda x: jnp.swapaxes(x, 0, 1)[order_M], batch)
        return jax.vmap(member)(state, batch_MBT, logic)

    return step
