"""Cells of a sweep that share a program, trained side by side in one process.

    python -m rope_lab.cli.sweep_members SWEEP CELL CELL ...

`sweep` starts it, after it has written each cell's config.py. What every cell's folder
then holds is what `pretrain` writes there; how long the group took for a step, and one
member for its own, goes to groups/.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import runpy
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from rope_lab.cli.config import PretrainConfig, read
from rope_lab.cli.pretrain import pretrain_meta
from rope_lab.cli.run_folder import describe_run, only_here
from rope_lab.cli.validation import validation_windows
from rope_lab.data import batches, packed_sequences
from rope_lab.evaluation import save_results
from rope_lab.evaluation.members import score_members
from rope_lab.evaluation.results import SCHEMA_VERSION
from rope_lab.model import build_logic, count_parameters
from rope_lab.training import (
    Checkpoints,
    MetricsWriter,
    Progress,
    make_optimizer,
    make_train_step,
)
from rope_lab.training.members import Evaluate, Member, member_state, train_members
from rope_lab.training.sweep import (
    init_members,
    make_member_step,
    member_mesh,
    shard,
    stack_logics,
)

GROUPS = "groups"
_TIMED = 5  # steps, of which the median counts


class SideBySide:
    """Sequence n of several sources: a dict of arrays [R, T]."""

    def __init__(self, sources: Sequence[Any]):
        self._sources = sources

    def __getitem__(self, n: int) -> dict[str, np.ndarray]:
        rows = [source[n] for source in self._sources]
        return {key: np.stack([row[key] for row in rows]) for key in rows[0]}


@dataclasses.dataclass(frozen=True)
class Group:
    """What the members of a group have in common, and where they differ."""

    names: list[str]
    configs: list[PretrainConfig]  # equal but for the logic and the seeds
    sources: list[Any]  # for each seed of the data
    orders: tuple[int, ...]  # which of the sources each member reads
    model: Any
    logics: list[Any]

    @property
    def first(self) -> PretrainConfig:
        return self.configs[0]


def load_group(workdir: Path, names: Sequence[str]) -> Group:
    """The cells' configs, their data, their logics."""
    configs = []
    for name in names:
        config = runpy.run_path(str(workdir / name / "config.py"))["get_config"]()
        configs.append(read(PretrainConfig, config))
    seeds = sorted({config.data.seed for config in configs})
    first = configs[0]
    sources = [packed_sequences(dataclasses.replace(first.data, seed=s)) for s in seeds]
    model = first.model.model_config(sources[0].tokenizer.vocab_size)
    return Group(
        names=list(names),
        configs=configs,
        sources=sources,
        orders=tuple(seeds.index(config.data.seed) for config in configs),
        model=model,
        logics=[build_logic(config.model.logic, model) for config in configs],
    )


def train_group(workdir: Path, names: Sequence[str]) -> dict[str, str]:
    """Trains or continues the cells; returns why some stopped, by name."""
    group = load_group(workdir, names)
    training = group.first.training
    seeds = [config.seed for config in group.configs]
    graphdef, state = init_members(group.model, training, seeds)
    mesh = member_mesh(len(names))
    logic = shard(stack_logics(group.logics), mesh)
    step = make_member_step(graphdef, training, group.orders)
    progress = Progress(training.num_steps, label=f"{len(names)} cells")
    progress.message(
        f"{', '.join(names)}: {count_parameters(state.params) // len(names):,} "
        f"parameters each, in one program on {mesh.size} device(s)"
    )
    with contextlib.ExitStack() as stack:
        members = [_member(group, m, workdir, stack, mesh) for m in range(len(names))]
        state = train_members(
            shard(state, mesh),
            step,
            SideBySide(group.sources),
            group.first.data.batch_size,
            training,
            logic,
            members,
            progress,
            _evaluation(group, graphdef, logic),
            group.first.validation.every,
        )
    failures = {one.name: one.failure for one in members if one.failure is not None}
    timing = _measure(group, graphdef, state, step, logic)
    _save(workdir, group, timing, failures)
    return failures


def _member(
    group: Group, m: int, workdir: Path, stack: contextlib.ExitStack, mesh: Mesh
) -> Member:
    training, source = group.first.training, group.sources[group.orders[m]]
    folder = workdir / group.names[m]
    keep = max(2, training.keep_checkpoints)  # see `Member`
    meta = pretrain_meta(group.configs[m], group.model, group.logics[m], source)
    checkpoints = Checkpoints(folder, keep, training.keep_every)
    writer = MetricsWriter(folder, training.tensorboard, training.wandb)
    stack.enter_context(only_here(folder))
    describe_run(folder, "pretrain", meta["config"], meta["data"], mesh)
    return Member(
        name=group.names[m],
        checkpoints=stack.enter_context(checkpoints),
        writer=stack.enter_context(writer),
        meta=meta,
        source=source,
    )


def _evaluation(group: Group, graphdef: Any, logic: Any) -> Evaluate | None:
    if not group.first.validation.num_windows:
        return None
    tokens_NS = validation_windows(group.sources[0], group.first.validation)

    def evaluate(state) -> list[dict[str, float]]:
        scores = score_members(graphdef, state.params, tokens_NS, logic)
        means = zip(scores.loss.mean(axis=1), scores.accuracy.mean(axis=1), strict=True)
        return [{"loss": float(a), "accuracy": float(b)} for a, b in means]

    return evaluate


def _measure(group: Group, graphdef, state, step, logic) -> dict[str, Any]:
    """Seconds of a step of the group, and of the first member by itself.

    Both are compiled, in this process, on the same data; a loop over single runs takes
    as many of the second as there are members.
    """
    training = group.first.training
    batch = next(batches(SideBySide(group.sources), group.first.data.batch_size))
    own = member_state(state, 0)
    together = _median_seconds(step, state, batch, logic)
    alone = make_train_step(graphdef, make_optimizer(training), training)
    one = {key: value[:, group.orders[0]] for key, value in batch.items()}
    apart = _median_seconds(alone, own, one, group.logics[0])
    return {"steps": _TIMED, "step_seconds": together, "member_step_seconds": apart}


def _median_seconds(step: Callable, state, batch, logic) -> float:
    taken = []
    for _ in range(_TIMED + 1):  # the first may compile
        start = time.perf_counter()
        state, metrics = step(state, batch, logic)
        jax.block_until_ready((state, metrics))
        taken.append(time.perf_counter() - start)
    return float(np.median(taken[1:]))


def _save(workdir: Path, group: Group, timing: dict, failures: dict) -> None:
    digest = hashlib.sha256("\n".join(group.names).encode()).hexdigest()[:12]
    about = {"schema_version": SCHEMA_VERSION, "cells": group.names}
    values = about | timing | {"failures": failures}
    save_results(workdir / GROUPS / f"{digest}.json", values)


if __name__ == "__main__":
    failed = train_group(Path(sys.argv[1]), sys.argv[2:])
    for cell, reason in failed.items():
        print(f"error: {cell}: {reason}", file=sys.stderr)
    sys.exit(2 if failed else 0)
