"""Everything an update reads and writes, as one pytree."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import optax

from rope_lab.training.config import TrainingConfig


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TrainState:
    """The state of a run after `step` updates.

    The data position is `step` too: the next update trains on batch number `step`.
    """

    params: Any  # float32
    opt_state: optax.OptState
    step: jax.Array  # int32 []
    ema: Any  # like params, or None
    key: jax.Array  # typed key of the run; update n draws from fold_in(key, n)


def init_state(
    params: Any, optimizer: optax.GradientTransformation, config: TrainingConfig, seed=0
) -> TrainState:
    """The state before the first update.

    Copies the parameters: a training step gives away the memory of its state, and the
    caller may start several runs from the same ones.
    """
    params = jax.tree.map(jnp.array, params)
    return TrainState(
        params=params,
        opt_state=optimizer.init(params),
        step=jnp.zeros((), jnp.int32),
        ema=None if config.ema_decay is None else jax.tree.map(jnp.array, params),
        key=jax.random.key(seed),
    )
