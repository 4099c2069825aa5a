"""How long a step, or a window, takes here: tried with made-up tokens, on one device.

The model has the sizes of the config and parameters drawn at random; no data is read
and nothing is written. On a CPU as many sequences are tried as a second or two holds,
and the time is taken to grow with their number.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from rope_lab.evaluation.positions import per_token
from rope_lab.model import ModelConfig, count_parameters, init_model, model_structure
from rope_lab.planning import made_up
from rope_lab.training import TrainingConfig, init_state, make_optimizer
from rope_lab.training.clock import device_memory, training_flops
from rope_lab.training.step import make_train_step

_CPU_FLOPS = 1e11  # of a trial
_BYTES = 20  # of each parameter: itself, its gradient, two moments, a copy


def step_seconds(
    model: ModelConfig, logic: Any, training: TrainingConfig, batch: int, length: int
) -> float:
    """Seconds of one update of `batch` sequences of `length` tokens, once compiled.

    Raises:
      ValueError: the model is too large to be tried on this machine.
    """
    _check_size(model, logic)
    size = _tried(model, logic, length, batch, 1.0)
    sequences = made_up(size, length, model.vocab_size)
    training = dataclasses.replace(training, accumulation_steps=1)
    graphdef, params = init_model(model, 0, logic)
    optimizer = make_optimizer(training)
    step = make_train_step(graphdef, optimizer, training)
    state = init_state(params, optimizer, training)

    def run() -> None:
        nonlocal state
        state, metrics = step(state, sequences, logic)
        jax.block_until_ready(metrics)

    return _second_run(run) * batch / size


def window_seconds(model: ModelConfig, logic: Any, length: int) -> float:
    """Seconds in which one window of `length` tokens is scored, once compiled.

    Raises:
      ValueError: the model is too large to be tried on this machine.
    """
    _check_size(model, logic)
    size = _tried(model, logic, length, 4, 1 / 3)
    graphdef, params = init_model(model, 0, logic)
    sequences = made_up(size, length, model.vocab_size)
    tokens = np.concatenate([sequences["inputs"], sequences["targets"][:, -1:]], 1)
    return _second_run(lambda: per_token(graphdef, params, tokens, logic, size)) / size


def _second_run(run: Callable[[], Any]) -> float:
    run()  # compiles
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def _tried(model: ModelConfig, logic: Any, length: int, most: int, share: float) -> int:
    """Sequences of a trial, each of `share` times the work of training on it."""
    if jax.default_backend() != "cpu":
        return most
    parameters = count_parameters(model_structure(model, logic)[1])
    one = share * training_flops(model, parameters, length) * length
    return int(np.clip(_CPU_FLOPS / one, 1, most))


def _check_size(model: ModelConfig, logic: Any) -> None:
    wanted = _BYTES * count_parameters(model_structure(model, logic)[1])
    there = device_memory()
    if wanted > there / 2:
        raise ValueError(
            f"a step needs at least {wanted / 1e9:.1f} GB for the parameters alone, "
            f"more than half of the {there / 1e9:.1f} GB here: `rope-lab plan` says "
            "what it needs of TPUs"
        )
