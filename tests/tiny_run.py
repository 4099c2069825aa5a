"""A training run of milliseconds per step, for the tests of rope_lab.training.

Most tests train a stand-in that compiles in no time; the real decoder is trained where
the run as a whole is under test.

Run as a script, it starts the run of the decoder in child processes and kills them, but
for the last: see tests/training/test_kill.py.
"""

import dataclasses
import functools
import os
import random
import signal
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from rope_lab.logic import position_logic
from rope_lab.model import ModelConfig, init_model
from rope_lab.training import (
    Checkpoints,
    MetricsWriter,
    TrainingConfig,
    init_state,
    make_optimizer,
    make_train_step,
    read_metrics,
    run_meta,
    train,
)

LENGTH, BATCH = 8, 4
MODEL = ModelConfig(
    vocab_size=11,
    num_layers=1,
    width=8,
    ff_width=16,
    num_heads=2,
    num_kv_heads=1,
    head_dim=4,
)
CONFIG = TrainingConfig(
    num_steps=7,
    learning_rate=0.05,
    warmup_steps=2,
    ema_decay=0.9,
    z_loss=0.01,
    log_every=2,
    checkpoint_every=3,
    tensorboard=False,
)


class CountingSource:
    """Sequence n counts upwards from a place drawn from n; some end in padding."""

    sequences_per_epoch = 100
    identity = {
        "length": LENGTH,
        "split": "train",
        "corpus": "counting",
        "corpus_checksum": "c" * 64,
        "tokenizer_checksum": "t" * 64,
        "seed": 0,
    }

    def __getitem__(self, n: int) -> dict[str, np.ndarray]:
        rng = np.random.default_rng(n)
        tokens = (rng.integers(11) + np.arange(LENGTH + 1)) % 11
        real = np.arange(LENGTH) < rng.integers(LENGTH // 2, LENGTH + 1)
        return {
            "inputs": tokens[:-1].astype(np.int32),
            "targets": tokens[1:].astype(np.int32),
            "positions": np.arange(LENGTH, dtype=np.int32),
            "segment_ids": real.astype(np.int32),
            "weights": real.astype(np.float32),
        }


def batch(n: int, size: int = BATCH) -> dict[str, np.ndarray]:
    """Global batch n of the source."""
    rows = [CountingSource()[n * size + row] for row in range(size)]
    return {key: np.stack([row[key] for row in rows]) for key in rows[0]}


def logic():
    return position_logic("rope", head_dim=MODEL.head_dim)


def apply_stand_in(
    graphdef, params, tokens_BT, logic, positions=None, segment_ids=None
):
    """Scores from the token alone; reads the logic's frequencies as the decoder would.

    The leaves have the names and the stacked layer axis of the decoder's.
    """
    x_BTE = params["embed"]["embedding"][tokens_BT]
    for layer in range(2):
        scale_1E = params["layers"]["scale"][layer : layer + 1]
        x_BTE = x_BTE @ params["layers"]["kernel"][layer] * scale_1E[None]
    x_BTE = x_BTE + params["layers"]["bias"][None, :1]
    turn = sum(leaf.sum() for leaf in jax.tree.leaves(logic) if not callable(leaf))
    return x_BTE @ params["embed"]["embedding"].T * (1 + 0.01 * turn)


def stand_in_parameters(seed: int = 0, width: int = 24):
    rng = np.random.default_rng(seed)

    def normal(*shape):
        return jnp.asarray(0.3 * rng.normal(size=shape), jnp.float32)

    layers = {
        "kernel": normal(2, width, width),
        "scale": normal(2, width),
        "bias": normal(2, width),
    }
    return {"embed": {"embedding": normal(11, width)}, "layers": layers}


@functools.cache
def step_function(config: TrainingConfig = CONFIG, decoder: bool = False):
    """Compiled once per configuration in one process."""
    optimizer = make_optimizer(config)
    if decoder:
        return make_train_step(init_model(MODEL, 0)[0], optimizer, config)
    return make_train_step(None, optimizer, config, apply_stand_in)


def fresh_state(config: TrainingConfig = CONFIG, decoder: bool = False, seed=0):
    params = init_model(MODEL, seed)[1] if decoder else stand_in_parameters(seed)
    return init_state(params, make_optimizer(config), config, seed)


def meta(config: TrainingConfig = CONFIG, model: ModelConfig = MODEL, seed=0):
    plain = {"training": dataclasses.asdict(config), "seed": seed}
    model = dataclasses.asdict(model)
    return run_meta(plain | {"model": model}, model, logic(), "c" * 64, "t" * 64)


def run(workdir, config: TrainingConfig = CONFIG, decoder=False, seed=0, **options):
    """Trains in `workdir`, or continues there."""
    step_fn = options.pop("step_fn", None) or step_function(config, decoder)
    source = options.pop("source", CountingSource())
    with (
        Checkpoints(workdir, config.keep_checkpoints) as checkpoints,
        MetricsWriter(workdir, config.tensorboard, config.wandb) as writer,
    ):
        return train(
            fresh_state(config, decoder, seed),
            step_fn,
            source,
            BATCH,
            config,
            logic(),
            checkpoints,
            writer,
            meta(config, seed=seed),
            **options,
        )


def leaves(state) -> list[np.ndarray]:
    """Every array of a state, the random key included, as numpy arrays."""
    plain = dataclasses.replace(state, key=jax.random.key_data(state.key))
    return [np.asarray(leaf) for leaf in jax.tree.leaves(plain)]


KILLED = dataclasses.replace(CONFIG, num_steps=24, checkpoint_every=2)


def _kill_and_finish(workdir: Path, kills: int) -> int | str:
    """Forks runs and kills each a random time after its first save; the last ends.

    JAX is imported but not started before the fork, so each child has a JAX of its own
    without paying for the import.
    """
    for kill in range(kills + 1):
        child = os.fork()
        if child == 0:
            run(workdir, KILLED, decoder=True)
            os._exit(0)
        if kill == kills:
            status = os.waitpid(child, 0)[1]
            return os.waitstatus_to_exitcode(status)
        before = _saved(workdir)
        while _saved(workdir) == before:
            time.sleep(0.002)
            if os.waitpid(child, os.WNOHANG)[0]:
                return f"the run ended before kill {kill + 1}"
        time.sleep(random.uniform(0, 0.2))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        found = sorted(os.listdir(workdir / "checkpoints"))
        print(f"killed with {len(read_metrics(workdir))} rows and {found}")
    raise AssertionError("unreachable")


def _saved(workdir: Path) -> list[str]:
    """The complete checkpoints."""
    folder = workdir / "checkpoints"
    names = os.listdir(folder) if folder.exists() else []
    return sorted(name for name in names if name.isdecimal())


if __name__ == "__main__":
    sys.exit(_kill_and_finish(Path(sys.argv[1]), int(sys.argv[2])))
