"""AdamW with warm-up: the learning-rate schedule, clipping and weight decay."""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from rope_lab.training.config import TrainingConfig
from rope_lab.training.trees import names_of

# Decay goes by name: layers that are scanned stack their parameters along a leading
# axis, so a norm's scale can have two dimensions and still is no matrix.
DECAYED = ("kernel", "embedding")
NOT_DECAYED = ("scale", "bias")


def make_schedule(config: TrainingConfig) -> optax.Schedule:
    """Learning rate as a function of the updates done before.

    Rises linearly, lr * (n + 1) / warmup_steps (so that no update has rate 0), then
    falls from lr at the end of the warm-up to lr * final_learning_rate_fraction at
    the last update.
    """
    peak, last = config.learning_rate, config.final_learning_rate_fraction
    decay_steps = max(config.num_steps - 1 - config.warmup_steps, 1)

    def schedule(count: jax.Array) -> jax.Array:
        count = jnp.asarray(count, jnp.float32)
        warmup = jnp.minimum((count + 1) / max(config.warmup_steps, 1), 1.0)
        done = jnp.clip((count - config.warmup_steps) / decay_steps, 0.0, 1.0)
        if config.schedule == "cosine":
            left = 0.5 * (1 + jnp.cos(jnp.pi * done))
        elif config.schedule == "linear":
            left = 1 - done
        else:
            return peak * warmup
        return peak * warmup * (last + (1 - last) * left)

    return schedule


def is_decayed(path: tuple[Any, ...]) -> bool:
    """True for a matrix, False for a norm's scale or a bias, by the leaf's name.

    Raises:
      ValueError: the name is none that is known.
    """
    names = names_of(path)
    if names[-1] in DECAYED:
        return True
    if names[-1] in NOT_DECAYED:
        return False
    raise ValueError(
        f"the parameter {'.'.join(names)} is neither a matrix {DECAYED} nor one of "
        f"{NOT_DECAYED}; rename it, or add its name to rope_lab/training/optimizer.py"
    )


def _decay_matrices(weight_decay: float) -> optax.GradientTransformation:
    def decay(path, update, parameter):
        return update + weight_decay * parameter if is_decayed(path) else update

    def update(updates, params):
        return jax.tree_util.tree_map_with_path(decay, updates, params)

    return optax.stateless(update)


def make_optimizer(config: TrainingConfig) -> optax.GradientTransformation:
    """AdamW as in arXiv:1711.05101, decoupled decay scaled by the learning rate."""
    clip = [] if config.clip_norm is None else [config.clip_norm]
    return optax.chain(
        *(optax.clip_by_global_norm(norm) for norm in clip),
        optax.scale_by_adam(b1=config.b1, b2=config.b2, eps=1e-8),
        _decay_matrices(config.weight_decay),
        optax.scale_by_learning_rate(make_schedule(config)),
    )
