"""A state as the items of a checkpoint: nested dicts of the names of its leaves."""

from typing import Any

import jax
import jax.numpy as jnp

from rope_lab.model.trees import from_nested, to_nested
from rope_lab.training.state import TrainState

TREES = ("params", "average", "state")  # "state": what is neither of the first two


def state_items(state: TrainState) -> dict[str, Any]:
    """Item -> nested dict; no average where the run keeps none."""
    items = {"params": to_nested(state.params), "state": to_nested(_rest(state))}
    if state.ema is not None:
        items["average"] = to_nested(state.ema)
    return items


def state_from(items: dict[str, Any], like: TrainState) -> TrainState:
    """The state whose items they are, with the structure of `like`."""
    rest = from_nested(_rest(like), items["state"])
    key = jax.random.wrap_key_data(rest["key"], impl=jax.random.key_impl(like.key))
    return TrainState(
        params=from_nested(like.params, items["params"]),
        opt_state=rest["opt_state"],
        step=rest["step"],
        ema=from_nested(like.ema, items.get("average", {})),
        key=key,
    )


def _rest(state: TrainState) -> dict[str, Any]:
    """The key as plain numbers."""
    key = jax.random.key_data(state.key)
    return {"opt_state": state.opt_state, "step": state.step, "key": key}


def all_finite(tree: Any) -> bool:
    """Whether no leaf holds NaN or infinity."""
    return bool(_finite(tree))


@jax.jit
def _finite(tree: Any) -> jax.Array:
    leaves = [jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(tree)]
    return jnp.stack(leaves).all()
