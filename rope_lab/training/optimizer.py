"""AdamW and Tiger: the learning-rate schedule, clipping and weight decay."""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from rope_lab.model.learned import LEARNED
from rope_lab.model.trees import names_of
from rope_lab.training.config import TrainingConfig

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
    if names[0] == LEARNED:  # what position logics learn: few numbers, no matrices
        return False
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
    """Clipping, then the optimizer that the config names, at the scheduled rate."""
    rate = optax.scale_by_learning_rate(make_schedule(config))
    chain = [scale_by_tiger(config.b1, config.weight_decay), rate]
    if config.optimizer == "adamw":
        # arXiv 1711.05101: the decay is decoupled, and scaled by the learning rate.
        adam = optax.scale_by_adam(b1=config.b1, b2=config.b2, eps=1e-8)
        chain = [adam, _decay_matrices(config.weight_decay), rate]
    if config.clip_norm is not None:
        chain.insert(0, optax.clip_by_global_norm(config.clip_norm))
    return optax.chain(*chain)


def scale_by_tiger(beta: float, weight_decay: float) -> optax.GradientTransformation:
    """Tiger (kexue.fm 9512) without its learning rate; its state is one momentum.

        m = beta m + (1 - beta) g
        update = size * (sign(m) + weight_decay * parameter)

    size is the root mean square of a matrix, and of each row of an embedding, as in the
    published code; it is 1/2 for gains and biases, which do not decay. A matrix of
    zeros would never move: none of the decoder's starts so.
    """
    return optax.chain(
        optax.ema(beta, debias=False),
        optax.scale_by_sign(),
        _decay_matrices(weight_decay),
        _scale_by_size(),
    )


def _scale_by_size() -> optax.GradientTransformation:
    def scale(path, update, parameter):
        if not is_decayed(path):
            return 0.5 * update
        # Layers are stacked along a leading axis: each matrix has a size of its own.
        axes = -1 if names_of(path)[-1] == "embedding" else (-2, -1)
        square = jnp.mean(jnp.square(parameter), axis=axes, keepdims=True)
        return jnp.sqrt(square) * update

    def update(updates, params):
        return jax.tree_util.tree_map_with_path(scale, updates, params)

    return optax.stateless(update)
