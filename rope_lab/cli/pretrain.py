"""Pretrain a decoder under a position logic, at one length.

    rope-lab pretrain --config=configs/pretrain.py --workdir=runs/base
    rope-lab pretrain --config=configs/pretrain.py --workdir=runs/deep \\
        --config.model.num_layers=8

The workdir holds checkpoints, metrics.jsonl, config.json and run.json; the same command
continues what a killed one left. Keys of a config are those of `PretrainConfig`.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import jax
from jax.sharding import Mesh

from rope_lab.cli.config import PretrainConfig, ValidationConfig
from rope_lab.cli.run_folder import describe_run, only_here
from rope_lab.cli.validation import make_validation
from rope_lab.data import PackedSequences, packed_sequences
from rope_lab.model import (
    ModelConfig,
    build_logic,
    count_parameters,
    init_model,
    model_structure,
)
from rope_lab.training import (
    Checkpoints,
    MetricsWriter,
    Progress,
    TrainingConfig,
    TrainState,
    check_fits,
    created,
    init_state,
    make_mesh,
    make_optimizer,
    make_train_step,
    run_meta,
    train,
)
from rope_lab.training.clock import training_flops
from rope_lab.training.distributed import is_first


def pretrain(config: PretrainConfig, workdir: str | Path) -> TrainState:
    """Train from scratch, or continue what `workdir` holds; returns the last state."""
    mesh = make_mesh(config.mesh)
    source = packed_sequences(config.data)
    model_config = config.model.model_config(source.tokenizer.vocab_size)
    check_fits(
        mesh,
        model_config,
        config.data.batch_size,
        config.data.length,
        config.training.accumulation_steps,
    )
    logic = build_logic(config.model.logic, model_config)
    graphdef, shapes = model_structure(model_config, logic)
    params = created(lambda: init_model(model_config, config.seed, logic)[1], mesh)
    meta = pretrain_meta(config, model_config, logic, source)
    describe = (
        f"{count_parameters(shapes):,} parameters, {source.tokens_per_epoch:,} tokens "
        f"per epoch, {mesh.size} {jax.default_backend()} device(s)"
    )
    return train_run(
        "pretrain",
        graphdef,
        params,
        logic,
        source,
        config.data.batch_size,
        config.training,
        config.validation,
        meta,
        workdir,
        describe,
        mesh,
        seed=config.seed,
    )


def pretrain_meta(
    config: PretrainConfig, model: ModelConfig, logic: Any, source: PackedSequences
) -> dict[str, Any]:
    """What the checkpoints of a run say of it."""
    return run_meta(
        dataclasses.asdict(config),
        dataclasses.asdict(model),
        logic,
        source.corpus.split_checksum("train"),
        source.tokenizer.checksum,
    )


def train_run(
    experiment: str,
    graphdef: Any,
    params: Any,
    logic: Any,
    source: PackedSequences,
    batch_size: int,
    training: TrainingConfig,
    validation: ValidationConfig,
    meta: dict[str, Any],
    workdir: str | Path,
    describe: str,
    mesh: Mesh,
    seed: int = 0,
) -> TrainState:
    """What pretraining and fine-tuning share: optimizer, loop, checkpoints, metrics.

    params lie on the mesh; in several processes the first writes what is written once.
    """
    workdir = Path(workdir)
    model, parameters = ModelConfig(**meta["model"]), count_parameters(params)
    optimizer = make_optimizer(training)
    progress = Progress(training.num_steps, label=workdir.name) if is_first() else None
    if progress is not None:
        progress.message(describe)
    evaluate, eval_every = None, None
    if validation.num_windows:
        evaluate = make_validation(graphdef, logic, source, validation, mesh)
        eval_every = validation.every
    start = created(lambda p: init_state(p, optimizer, training, seed), mesh, params)
    kept = training.keep_checkpoints, training.keep_every, training.keep_best
    sinks = training.tensorboard, training.wandb

    def begun() -> None:
        if is_first():
            config = {k: v for k, v in meta["config"].items() if k != "started_from"}
            describe_run(workdir, experiment, config, meta["data"], mesh)

    with (
        only_here(workdir),
        Checkpoints(workdir, *kept) as checkpoints,
        MetricsWriter(workdir, *sinks, silent=not is_first()) as writer,
    ):
        return train(
            start,
            make_train_step(graphdef, optimizer, training, mesh=mesh),
            source,
            batch_size,
            training,
            logic,
            checkpoints,
            writer,
            meta,
            progress,
            evaluate,
            eval_every,
            mesh,
            training_flops(model, parameters, meta["config"]["data"]["length"]),
            begun,
        )
