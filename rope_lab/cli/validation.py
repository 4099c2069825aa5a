"""Loss on held-out windows while training, on the devices that train."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from rope_lab.cli.config import ValidationConfig
from rope_lab.data import PackedSequences, evaluation_windows, packed_windows
from rope_lab.evaluation.positions import batch_size_for
from rope_lab.logic.arguments import join_logic, split_logic
from rope_lab.logic.draws import evaluation_positions
from rope_lab.model import apply_model
from rope_lab.model.sharding import parts
from rope_lab.training import TrainState, cross_entropy, global_batch, own_rows
from rope_lab.training.step import on_mesh


def validation_windows(source: PackedSequences, config: ValidationConfig) -> np.ndarray:
    """int32[num_windows, length + 1]: held-out text at the length trained at.

    Raises:
      ValueError: the held-out text has fewer windows than are asked for.
    """
    cut = packed_windows if config.packed else evaluation_windows
    windows = cut(
        source.corpus,
        source.tokenizer,
        "held_out",
        source.identity["length"],
        config.num_windows,
    )
    if len(windows.tokens) < config.num_windows:
        raise ValueError(
            f"validation.num_windows is {config.num_windows}, but the held-out text "
            f"packed holds {len(windows.tokens)} windows of the length trained at; ask "
            "for fewer, or hold out more"
        )
    return windows.tokens


def make_validation(
    graphdef: Any,
    logic: Any,
    source: PackedSequences,
    config: ValidationConfig,
    mesh: Mesh,
) -> Callable[[TrainState], dict[str, float]]:
    """state -> mean loss in nats per token and accuracy, over all windows.

    Raises:
      ValueError: see `validation_windows`.
    """
    tokens_NS = validation_windows(source, config)
    arrays, structure = split_logic(logic)

    @jax.jit
    def score(params, batch, arrays):
        logic = join_logic(arrays, structure)
        inputs_BT = batch["inputs"]
        positions = evaluation_positions(
            logic, batch["number"][:, 0], inputs_BT.shape[1]
        )
        logits_BTV = apply_model(graphdef, params, inputs_BT, logic, positions)
        total = np.float32(tokens_NS[:, 1:].size)
        weights_BT = batch["weights"]
        return cross_entropy(
            logits_BTV, batch["targets"], weights_BT, total_weight=total
        )[1]

    scored = on_mesh(score, mesh)
    batches = list(_batches(tokens_NS, mesh))

    def evaluate(state: TrainState) -> dict[str, float]:
        scores = [jax.device_get(scored(state.params, b, arrays)) for b in batches]
        return {
            name: float(sum(one[name] for one in scores))
            for name in ("loss", "accuracy")
        }

    return evaluate


def _batches(tokens_NS: np.ndarray, mesh: Mesh) -> Iterator[dict[str, jax.Array]]:
    """Batches that divide among the devices; what fills the last has no weight."""
    count, length = tokens_NS.shape[0], tokens_NS.shape[1] - 1
    split = parts(mesh, "batch")  # batch_size_for is what one device takes at once
    size = split * min(batch_size_for(length), math.ceil(count / split))
    for start in range(0, count, size):
        numbers = start + np.array(own_rows(mesh, size))
        rows = tokens_NS[np.minimum(numbers, count - 1)]
        weights_N1 = (numbers < count).astype(np.float32)[:, None]
        batch = {
            "inputs": rows[:, :-1],
            "targets": rows[:, 1:],
            "weights": np.broadcast_to(weights_N1, (len(rows), length)),
            "number": numbers.astype(np.int32)[:, None],
        }
        yield global_batch(batch, mesh, size)
