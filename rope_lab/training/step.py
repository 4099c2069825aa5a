"""One update: loss, gradients, optimizer, compiled once per band structure.

A microbatches, B batch, T tokens.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from rope_lab.logic.arguments import join_logic, split_logic
from rope_lab.logic.draws import training_positions
from rope_lab.model import apply_model
from rope_lab.model.sharding import constrain
from rope_lab.training.config import TrainingConfig
from rope_lab.training.losses import cross_entropy
from rope_lab.training.optimizer import make_schedule
from rope_lab.training.sharding import constrain_tree
from rope_lab.training.state import TrainState

Batch = dict[str, Any]  # inputs, targets, positions, segment_ids, weights: [B, T]
Metrics = dict[str, jax.Array]
Step = Callable[[TrainState, Batch, Any], tuple[TrainState, Metrics]]


def make_train_step(
    graphdef: Any,
    optimizer: optax.GradientTransformation,
    config: TrainingConfig,
    apply: Callable[..., jax.Array] = apply_model,
    mesh: Mesh | None = None,
) -> Step:
    """Returns `step(state, batch, logic) -> (state, metrics)`, compiled by jax.jit.

    The given state is consumed: its memory becomes the new state's. The arrays of
    `logic` (a position logic, or one per layer) are data, so logics that differ in
    frequencies alone share one program; a plain callable is compiled in. A logic that
    draws positions does so here, by the state's key and the number of the update.

    Arguments and metrics are those of `make_update`; on a mesh, state and batch lie on
    it already, as `rope_lab.training.sharding` places them.
    """
    step = _compile(make_update(graphdef, optimizer, config, apply))
    return step if mesh is None else on_mesh(step, mesh)


def lowered_train_step(
    graphdef: Any,
    optimizer: optax.GradientTransformation,
    config: TrainingConfig,
    state: TrainState,
    batch: Batch,
    logic: Any,
    mesh: Mesh,
) -> jax.stages.Lowered:
    """The program of `make_train_step` for shapes in place of arrays, not yet compiled.

    state, batch: of jax.ShapeDtypeStruct with shardings on the mesh, whose devices need
      not be there.
    """
    arrays, structure = split_logic(logic)
    everywhere = NamedSharding(mesh, PartitionSpec())
    shapes = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(jnp.shape(x), x.dtype, sharding=everywhere),
        arrays,
    )
    program = _jitted(make_update(graphdef, optimizer, config))
    with jax.set_mesh(mesh):
        return program.lower(state, batch, shapes, structure)


def on_mesh(function: Callable[..., Any], mesh: Mesh) -> Callable[..., Any]:
    """The function, called with the mesh set, which the model then follows."""

    def call(*arguments):
        with jax.set_mesh(mesh):
            return function(*arguments)

    return call


def make_update(
    graphdef: Any,
    optimizer: optax.GradientTransformation,
    config: TrainingConfig,
    apply: Callable[..., jax.Array] = apply_model,
) -> Step:
    """The same as a pure function, to be mapped over or compiled by the caller.

    Metrics are float32 scalars on the device: those of `cross_entropy`, `grad_norm`
    (before clipping) and `learning_rate`.

    Args:
      graphdef: the static half of the model, from `init_model`.
      optimizer: from `make_optimizer`.
      config: reads accumulation_steps, z_loss, ema_decay and the schedule.
      apply: how to run the model, with the signature of `apply_model`.
    """
    schedule = make_schedule(config)

    def objective(params, batch, logic, total_weight):
        logits_BTV = apply(
            graphdef,
            params,
            batch["inputs"],
            logic,
            positions=batch["positions"],
            segment_ids=batch["segment_ids"],
        )
        return cross_entropy(
            logits_BTV, batch["targets"], batch["weights"], config.z_loss, total_weight
        )

    def step(state: TrainState, batch: Batch, logic: Any):
        key = jax.random.fold_in(state.key, state.step)
        shape = batch["inputs"].shape
        positions = training_positions(logic, key, batch["positions"], shape)
        positions = constrain(positions, "batch", "tokens")
        batch = {**batch, "positions": positions}
        gradients, metrics = _gradients(
            objective, state.params, batch, logic, config.accumulation_steps
        )
        gradients = constrain_tree(gradients)
        updates, opt_state = optimizer.update(gradients, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        metrics["grad_norm"] = optax.tree.norm(gradients)
        metrics["learning_rate"] = schedule(state.step)
        ema = _average(state.ema, params, config.ema_decay)
        state = TrainState(params, opt_state, state.step + 1, ema, state.key)
        return constrain_tree(state), constrain_tree(metrics)

    return step


def _gradients(objective, params, batch, logic, accumulation_steps):
    """Gradients and metrics of the whole batch, from microbatches one by one."""
    total_weight = batch["weights"].astype(jnp.float32).sum()
    differentiate = jax.grad(objective, has_aux=True)
    if accumulation_steps == 1:
        return differentiate(params, batch, logic, total_weight)

    def accumulate(sums, microbatch):
        new = differentiate(params, microbatch, logic, total_weight)
        sums, metrics = jax.tree.map(jnp.add, sums, new)
        return (constrain_tree(sums), metrics), None

    micro = jax.tree.map(lambda x: _split(x, accumulation_steps), batch)
    first = jax.tree.map(lambda x: x[0], micro)
    # The logic stays outside of the arguments: it may hold a plain callable.
    shapes = jax.eval_shape(
        lambda params, batch: differentiate(params, batch, logic, total_weight),
        params,
        first,
    )
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
    return jax.lax.scan(accumulate, zeros, micro)[0]


def _split(x_BT: jax.Array, count: int) -> jax.Array:
    if x_BT.shape[0] % count:
        raise ValueError(
            f"a batch of {x_BT.shape[0]} sequences does not divide into "
            f"accumulation_steps = {count}; change one of the two"
        )
    x_ABT = x_BT.reshape(count, x_BT.shape[0] // count, *x_BT.shape[1:])
    return constrain(x_ABT, None, "batch", "tokens")


def _average(ema: Any, params: Any, decay: float | None) -> Any:
    if decay is None:
        return None
    return jax.tree.map(lambda old, new: decay * old + (1 - decay) * new, ema, params)


def _compile(step: Step) -> Step:
    compiled = _jitted(step)

    def call(state: TrainState, batch: Batch, logic: Any):
        return compiled(state, batch, *split_logic(logic))

    return call


def _jitted(step: Step) -> jax.stages.Wrapped:
    """jax.jit that takes plain functions among the leaves of `logic` as static."""

    def run(state, batch, arrays, structure):
        return step(state, batch, join_logic(arrays, structure))

    return jax.jit(run, donate_argnums=0, static_argnums=3)
