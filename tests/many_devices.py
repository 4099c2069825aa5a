"""A run on several devices, in one process or more, for the tests of sharding.

Run as a script, with a JSON object of the arguments of `main`.
"""

import dataclasses
import functools
import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import tiny_run
from fake_devices import xla_flags
from jax.experimental import multihost_utils

from rope_lab.data import batches
from rope_lab.model import ModelConfig, build_logic, init_model, model_structure
from rope_lab.training import (
    Checkpoints,
    MeshConfig,
    MetricsWriter,
    check_fits,
    created,
    global_batch,
    init_state,
    make_mesh,
    make_optimizer,
    make_train_step,
    own_rows,
    train,
)
from rope_lab.training.distributed import Processes, is_first, join

ROOT = Path(__file__).parents[1]
BATCH = 8
LLAMA = ModelConfig(
    vocab_size=12,
    num_layers=2,
    width=16,
    ff_width=16,
    num_heads=8,
    num_kv_heads=8,
    head_dim=4,
)
GAU = dataclasses.replace(LLAMA, block="gau", num_heads=1, num_kv_heads=1)
CONFIG = dataclasses.replace(
    tiny_run.CONFIG, num_steps=20, log_every=1, checkpoint_every=10
)
ROPE = {"name": "rope"}


def main(
    out: str,
    meshes: dict[str, dict[str, int]],
    processes: dict | None = None,
    resume: str | None = None,
    order: int = 0,
) -> None:
    """Trains on each mesh: <label>/ is the run, <label>.npz its first gradients.

    resume: a run's folder, of which the checkpoint of step 10 is gone on from.
    order: digests of the sequences that this process reads in so many batches, into
      order-<process>.json.
    """
    if processes:
        join(Processes(**processes, join_seconds=120, heartbeat_seconds=30))
    for label, axes in meshes.items():
        mesh = make_mesh(MeshConfig(**axes))
        if resume and is_first():
            step = Path("checkpoints", "10")
            shutil.copytree(Path(resume, step), Path(out, label, step))
        if processes:
            multihost_utils.sync_global_devices("copied")
        train_on(mesh, Path(out, label))
        if order:
            number = jax.process_index()
            path = Path(out, f"{label}-order-{number}.json")
            path.write_text(json.dumps(digests(mesh, order)))


def keeping(inner: optax.GradientTransformation) -> optax.GradientTransformation:
    """The optimizer, whose state also holds the last gradients."""

    def start(params):
        return jax.tree.map(jnp.zeros_like, params), inner.init(params)

    def update(gradients, state, params=None):
        updates, rest = inner.update(gradients, state[1], params)
        return updates, (gradients, rest)

    return optax.GradientTransformation(start, update)


def gradients_in(state) -> dict[str, np.ndarray]:
    """Name -> last gradient, of a run whose optimizer is `keeping` it."""
    leaves = jax.tree_util.tree_leaves_with_path(state.opt_state[0])
    return {jax.tree_util.keystr(path): whole(leaf) for path, leaf in leaves}


def first_gradients(mesh, model, spec, config=CONFIG, length=tiny_run.LENGTH):
    """Name -> gradient of the first batch, and the loss under "loss"; numpy arrays.

    mesh: None for one device and no mesh at all.
    """
    logic, optimizer = build_logic(spec, model), keeping(optax.sgd(0.0))
    graphdef = model_structure(model, logic)[0]
    step = make_train_step(graphdef, optimizer, config, mesh=mesh)

    def start():
        return init_state(init_model(model, 0, logic)[1], optimizer, config)

    batch = long_batch(length)
    if mesh is None:
        state, metrics = step(jax.jit(start)(), batch, logic)
    else:
        check_fits(mesh, model, BATCH, length, config.accumulation_steps)
        mine = {name: x[own_rows(mesh, BATCH)] for name, x in batch.items()}
        batch = global_batch(mine, mesh, BATCH)
        state, metrics = step(created(start, mesh), batch, logic)
    return gradients_in(state) | {"loss": whole(metrics["loss"])}


def long_batch(length: int) -> dict[str, np.ndarray]:
    """Two documents in every sequence, and padding in some."""
    rng = np.random.default_rng(0)
    tokens = rng.integers(12, size=(BATCH, length + 1)).astype(np.int32)
    place_T, cut = np.arange(length), length // 3
    real_BT = place_T[None] < rng.integers(length // 2, length + 1, (BATCH, 1))
    segments_T = np.where(place_T < cut, 1, 2)
    positions_T = np.where(place_T < cut, place_T, place_T - cut)
    return {
        "inputs": tokens[:, :-1],
        "targets": tokens[:, 1:],
        "positions": np.tile(positions_T.astype(np.int32), (BATCH, 1)),
        "segment_ids": np.where(real_BT, segments_T[None], 0).astype(np.int32),
        "weights": real_BT.astype(np.float32),
    }


def whole(x) -> np.ndarray:
    """Of an array that may lie on devices of several processes."""
    if isinstance(x, jax.Array) and not x.is_fully_addressable:
        return np.asarray(multihost_utils.process_allgather(x, tiled=True))
    return np.asarray(x)


def train_on(mesh, workdir: Path):
    """20 updates of `LLAMA`, or those that are left, and their first gradients."""
    logic, optimizer = build_logic(ROPE, LLAMA), keeping(make_optimizer(CONFIG))
    graphdef = model_structure(LLAMA)[0]
    step = make_train_step(graphdef, optimizer, CONFIG, mesh=mesh)
    first = {}

    def step_fn(state, batch, logic):
        state, metrics = step(state, batch, logic)
        if "found" not in first:
            first["found"] = gradients_in(state)
        return state, metrics

    state = created(
        lambda: init_state(init_model(LLAMA, 0)[1], optimizer, CONFIG), mesh
    )
    with (
        Checkpoints(workdir) as checkpoints,
        MetricsWriter(workdir, False, silent=not is_first()) as writer,
    ):
        train(
            state,
            step_fn,
            tiny_run.CountingSource(),
            BATCH,
            CONFIG,
            logic,
            checkpoints,
            writer,
            tiny_run.meta(CONFIG, LLAMA),
            mesh=mesh,
        )
    if is_first():
        np.savez(workdir.with_suffix(".npz"), **first["found"])


def digests(mesh, count: int) -> list[list]:
    """[batch, row, digest of the sequence] of what this process reads."""
    rows = own_rows(mesh, BATCH)
    stream = batches(tiny_run.CountingSource(), BATCH, 0, rows)
    return [
        [n, row, digest_of({key: x[place] for key, x in batch.items()})]
        for n, batch in zip(range(count), stream, strict=False)
        for place, row in enumerate(rows)
    ]


def digest_of(sequence: dict[str, np.ndarray]) -> str:
    parts = (sequence[name].tobytes() for name in sorted(sequence))
    return hashlib.sha256(b"".join(parts)).hexdigest()[:16]


def start(processes: int, devices: int, **arguments) -> None:
    """Runs `main` in new processes of so many devices each; waits for all.

    Raises:
      AssertionError: one failed; says what it printed.
    """
    settings = os.environ | environment(devices)
    port = free_port()
    running = []
    for number in range(processes):
        task = dict(arguments)
        if processes > 1:
            address = f"127.0.0.1:{port}"
            task["processes"] = {
                "coordinator": address,
                "count": processes,
                "number": number,
            }
        command = [sys.executable, __file__, json.dumps(task)]
        run = functools.partial(subprocess.Popen, stdout=subprocess.PIPE, text=True)
        running.append(run(command, env=settings, stderr=subprocess.STDOUT))
    printed = [one.communicate(timeout=1800)[0] for one in running]
    assert not any(one.returncode for one in running), "\n".join(printed)


def environment(devices: int) -> dict[str, str]:
    """Of a new process with so many devices."""
    return {
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")]),
        # Compiles faster, also where the tests run without it.
        "XLA_FLAGS": f"{xla_flags(devices)} --xla_backend_optimization_level=0",
    }


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


if __name__ == "__main__":
    main(**json.loads(sys.argv[1]))
