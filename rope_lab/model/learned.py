"""Learned biases of position logics as parameters of a model.

A logic is an argument of a model and no part of it, but what a logic learns is trained
and saved like every other parameter. So it lies in the tree of parameters, under
`LEARNED`, one set for each layer ("0", "1", ...) or one for all ("shared", as in T5);
when the model is called, the layers' logics take their leaves from there.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, cast

import jax
import numpy as np
from flax import nnx

from rope_lab.logic.learned import LearnedBias

LEARNED = "position"
_SHARED = "shared"


def with_fresh(params: nnx.State, logic: Any, layers: int, key: jax.Array) -> nnx.State:
    """params with a set of leaves for each layer whose logic learns; else as it is.

    logic: one for all layers, a sequence with one per layer, or None.
    """
    fresh: dict[str, Any] = {}
    for layer, bias in _learning(logic, layers).items():
        place = _place(layer, bias)
        if place not in fresh:
            fresh[place] = bias.fresh(jax.random.fold_in(key, layer)).leaves
    if not fresh:
        return params
    return nnx.State({**params.raw_mapping, LEARNED: fresh})


def without_learned(params: nnx.State) -> nnx.State:
    """The parameters of the decoder itself."""
    if LEARNED not in params:
        return params
    return nnx.State({k: v for k, v in params.raw_mapping.items() if k != LEARNED})


def with_learned(logic: Any, params: Any, layers: int) -> Any:
    """The logic of each layer with the leaves that params hold for it.

    Raises:
      ValueError: a logic learns a bias that params do not hold, or hold another.
    """
    held = params.get(LEARNED, {})
    biases = _learning(logic, layers)
    wanted = {_place(layer, bias): bias.leaves for layer, bias in biases.items()}
    _check(wanted, held)
    if not biases:
        return logic
    filled: dict[Any, Any] = {}
    logics = []
    for layer, one in enumerate(_per_layer(logic, layers)):
        bias = biases.get(layer)
        if bias is not None:
            place = _place(layer, bias)
            if (place, id(one)) not in filled:  # layers that share stay one logic
                leaves = {name: held[place][name] for name in bias.leaves}
                new = dataclasses.replace(cast(Any, bias), **leaves)
                filled[place, id(one)] = dataclasses.replace(one, bias=new)
            one = filled[place, id(one)]
        logics.append(one)
    return tuple(logics)


def _per_layer(logic: Any, layers: int) -> Sequence[Any]:
    return logic if isinstance(logic, Sequence) else (logic,) * layers


def _learning(logic: Any, layers: int) -> dict[int, LearnedBias]:
    """Layer -> bias, of those that learn one."""
    found = {}
    for layer, one in enumerate(_per_layer(logic, layers)):
        bias = getattr(one, "bias", None)
        if isinstance(bias, LearnedBias):
            found[layer] = bias
    return found


def _place(layer: int, bias: LearnedBias) -> str:
    return _SHARED if bias.one_for_all_layers else str(layer)


def _check(wanted: dict[str, Any], held: Any) -> None:
    for place in [*wanted, *held]:
        asks = _shapes(wanted.get(place, {}))
        has = _shapes(held.get(place, {}))
        if asks != has:
            raise ValueError(
                f"the logic learns {asks or 'nothing'} in {_layer(place)}, but these "
                f"parameters hold {has or 'nothing'} for it: run a model under the "
                "kind of bias that it was trained with, and build parameters for a "
                "logic that learns one by init_model(config, seed, logic)"
            )


def _layer(place: str) -> str:
    return "all layers" if place == _SHARED else f"layer {place}"


def _shapes(leaves: Any) -> dict[str, tuple[int, ...]]:
    return {name: tuple(np.shape(leaf)) for name, leaf in sorted(leaves.items())}
