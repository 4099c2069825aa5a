"""What one mapped program gains over training the same members one after another."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from rope_lab.cli.posgen_cells import Cell
from rope_lab.data import PosGenSource, batches
from rope_lab.training import make_optimizer, make_train_step
from rope_lab.training.sweep import (
    init_members,
    make_sweep_step,
    member_mesh,
    shard,
)


def measure_gain(
    cell: Cell, splits: dict[str, np.ndarray], steps: int
) -> dict[str, Any]:
    """Seconds of compiling and of a step, side by side and one member after another.

    One by one is what a loop over single runs costs: its program is compiled once, and
    a step of the sweep is one step of each member. Both train on the same data from
    the same parameters. A step is the median of `steps`.
    """
    seeds = [cell.seeds[s] for s in cell.orders]
    graphdef, state = init_members(cell.model, cell.training, seeds)
    source = PosGenSource(cell.data, splits["train"], list(cell.seeds))
    batch = next(batches(source, cell.batch_size))
    mesh = member_mesh(len(seeds))

    singles = [
        jax.tree.map(lambda leaf, m=m: leaf[m], state) for m in range(len(seeds))
    ]
    sweep = make_sweep_step(graphdef, cell.training, cell.orders)
    logic = shard(cell.stacked(cell.trained), mesh)
    compiled, together = _seconds(sweep, shard(state, mesh), batch, logic, steps)

    step = make_train_step(graphdef, make_optimizer(cell.training), cell.training)
    first, apart = None, 0.0
    for (row, order), single in zip(cell.members, singles, strict=True):
        one = jax.tree.map(lambda x, order=order: x[:, order], batch)
        one |= {"positions": None, "segment_ids": None}
        seconds = _seconds(step, single, one, cell.trained[row], steps)
        first = seconds[0] if first is None else first
        apart += seconds[1]
    return {
        "cell": cell.name,
        "members": len(seeds),
        "steps": steps,
        "devices": mesh.size,
        "together": {"compile_seconds": compiled, "step_seconds": together},
        "one_by_one": {"compile_seconds": first, "step_seconds": apart},
    }


def _seconds(step: Callable, state, batch, logic, steps: int) -> tuple[float, float]:
    """Seconds of the first call, which compiles, and the median of `steps` more."""
    taken = []
    for _ in range(steps + 1):
        start = time.perf_counter()
        state, metrics = step(state, batch, logic)
        jax.block_until_ready((state, metrics))
        taken.append(time.perf_counter() - start)
    return round(taken[0], 3), round(float(np.median(taken[1:])), 5)
