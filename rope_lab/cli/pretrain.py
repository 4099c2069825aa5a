"""Pretrain a decoder under a position logic, at one length."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import jax
import numpy as np

from rope_lab.cli.config import PretrainConfig, ValidationConfig
from rope_lab.data import PackedSequences, evaluation_windows, packed_sequences
from rope_lab.evaluation import per_token
from rope_lab.model import ModelConfig, build_logic, count_parameters, init_model
from rope_lab.training import (
    Checkpoints,
    MetricsWriter,
    Progress,
    TrainingConfig,
    TrainState,
    init_state,
    make_optimizer,
    make_train_step,
    run_meta,
    train,
)


def pretrain(config: PretrainConfig, workdir: str | Path) -> TrainState:
    """Train from scratch, or continue what `workdir` holds; returns the last state."""
    source = packed_sequences(config.data)
    model_config = config.model.model_config(source.tokenizer.vocab_size)
    logic = build_logic(config.model.logic, model_config)
    graphdef, params = init_model(model_config, config.seed, logic)
    meta = pretrain_meta(config, model_config, logic, source)
    describe = (
        f"{count_parameters(params):,} parameters, {source.tokens_per_epoch:,} tokens "
        f"per epoch, {jax.device_count()} {jax.default_backend()} device(s)"
    )
    return train_run(
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
    seed: int = 0,
) -> TrainState:
    """What pretraining and fine-tuning share: optimizer, loop, checkpoints, metrics."""
    workdir = Path(workdir)
    optimizer = make_optimizer(training)
    progress = Progress(training.num_steps, label=workdir.name)
    progress.message(describe)
    evaluate = _validation(graphdef, logic, source, validation)
    with (
        Checkpoints(workdir, training.keep_checkpoints) as checkpoints,
        MetricsWriter(workdir, training.tensorboard, training.wandb) as writer,
    ):
        return train(
            init_state(params, optimizer, training, seed),
            make_train_step(graphdef, optimizer, training),
            source,
            batch_size,
            training,
            logic,
            checkpoints,
            writer,
            meta,
            progress,
            evaluate,
            validation.every,
        )


def _validation(graphdef, logic, source: PackedSequences, config: ValidationConfig):
    length = source.identity["length"]
    windows = evaluation_windows(
        source.corpus, source.tokenizer, "held_out", length, config.num_windows
    )

    def evaluate(state: TrainState) -> dict[str, float]:
        loss, correct = per_token(graphdef, state.params, windows.tokens, logic)
        return {"loss": float(np.mean(loss)), "accuracy": float(np.mean(correct))}

    return evaluate
