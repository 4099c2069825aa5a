"""The devices of this process, and what a step takes on them."""

from __future__ import annotations

import statistics
import time
from typing import Any

import jax
import numpy as np

from rope_lab.model import init_model, model_structure
from rope_lab.planning.chips import Chip, Topology
from rope_lab.planning.compiled import Work
from rope_lab.training import init_state, make_optimizer
from rope_lab.training.clock import device_memory, memory_peak
from rope_lab.training.sharding import created, global_batch, own_rows
from rope_lab.training.step import make_train_step

HERE = "here"
# Bytes a second of main memory, of all links of a device sent in one direction, and of
# its share of the network: what nvidia.com states in the data sheets of A100, H100 and
# H200, and of DGX machines for the network.
_BANDWIDTHS = {
    "NVIDIA A100-SXM4-40GB": (1555e9, 300e9, 25e9),
    "NVIDIA A100-SXM4-80GB": (2039e9, 300e9, 25e9),
    "NVIDIA H100 80GB HBM3": (3350e9, 450e9, 50e9),
    "NVIDIA H200": (4800e9, 450e9, 50e9),
}


def local_topology() -> Topology:
    """Of every device that JAX has here; of a kind without stated numbers, only memory.

    Raises:
      ValueError: several processes share them.
    """
    if jax.process_count() > 1:
        raise ValueError(f"--topology={HERE} is of one process; start it alone")
    kind, count = jax.devices()[0].device_kind, str(jax.device_count())
    bandwidths = _BANDWIDTHS.get(kind, (None, None, None))
    chip = Chip(HERE, kind, device_memory(), *bandwidths, (count,))
    return Topology(chip, count)


def measured(work: Work, steps: int = 5) -> dict[str, Any]:
    """Takes the step on the mesh's devices, with parameters and tokens drawn at random.

    Returns:
      steps; seconds, the median of them, without the first, which compiles; and
      peak_memory, the most bytes that a device has had in use, None where devices keep
      no statistics (CPUs).
    """
    optimizer, training = make_optimizer(work.training), work.training
    graphdef = model_structure(work.model, work.logic)[0]

    def start():
        return init_state(init_model(work.model, 0, work.logic)[1], optimizer, training)

    state = created(start, work.mesh)
    step = make_train_step(graphdef, optimizer, training, mesh=work.mesh)
    rows = own_rows(work.mesh, work.batch_size)
    batch = made_up(len(rows), work.length, work.model.vocab_size)
    batch = global_batch(batch, work.mesh, work.batch_size)
    seconds = []
    for _ in range(steps + 1):
        before = time.perf_counter()
        state, metrics = step(state, batch, work.logic)
        jax.block_until_ready(metrics)
        seconds.append(time.perf_counter() - before)
    kept = bool(jax.local_devices()[0].memory_stats())
    return {
        "steps": steps,
        "seconds": statistics.median(seconds[1:]),
        "peak_memory": memory_peak() if kept else None,
    }


def made_up(count: int, length: int, vocab_size: int) -> dict[str, np.ndarray]:
    """A batch of documents of random tokens: arrays [count, length]."""
    rng = np.random.default_rng(0)
    tokens = rng.integers(vocab_size, size=(count, length + 1), dtype=np.int32)
    ones = np.ones((count, length), np.int32)
    return {
        "inputs": tokens[:, :-1],
        "targets": tokens[:, 1:],
        "positions": np.tile(np.arange(length, dtype=np.int32), (count, 1)),
        "segment_ids": ones,
        "weights": ones.astype(np.float32),
    }
