"""Fine-tune a checkpoint under a new position logic.

    rope-lab finetune --config=configs/finetune.py --workdir=runs/long

Both strategies of arXiv 2403.00071 are data, not code: few steps at the long length, or
many at the short one (data.length and training.num_steps; see configs/finetune.py).
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

from rope_lab.cli.checkpoints import load_checkpoint
from rope_lab.cli.config import FinetuneConfig
from rope_lab.cli.pretrain import train_run
from rope_lab.cli.specs import resolve
from rope_lab.data import packed_sequences
from rope_lab.model import build_logic, model_structure
from rope_lab.model.learned import with_learned
from rope_lab.training import (
    TrainState,
    check_fits,
    make_mesh,
    placed,
    run_meta,
)


def finetune(config: FinetuneConfig, workdir: str | Path) -> TrainState:
    """Train a checkpoint's parameters on, or continue what `workdir` holds.

    Raises:
      ValueError: the checkpoint is missing or damaged, or was trained with another
        tokenizer than the data has; or model asks for other parameters than it holds.
    """
    mesh = make_mesh(config.mesh)
    loaded = load_checkpoint(config.checkpoint, config.average)
    source = packed_sequences(config.data)
    if source.tokenizer.checksum != loaded.meta["data"]["tokenizer"]:
        raise ValueError(
            f"data.tokenizer {config.data.tokenizer!r} is not the one that "
            f"{config.checkpoint} was trained with "
            f"({loaded.meta['config']['data']['tokenizer']!r}): the same text would "
            "get other token numbers"
        )
    model = loaded.model_config.computed_as(config.model)
    batch = config.data.batch_size, config.data.length
    check_fits(mesh, model, *batch, config.training.accumulation_steps)
    spec = resolve(config.logic, loaded.train_length, config.data.length)
    spec = loaded.completed(spec)
    logic = build_logic(spec, model)
    with_learned(logic, loaded.params, model.num_layers)  # or refuses
    meta = run_meta(
        dataclasses.asdict(config) | {"started_from": loaded.identity},
        dataclasses.asdict(model),
        logic,
        source.corpus.split_checksum("train"),
        source.tokenizer.checksum,
    )
    describe = f"from {config.checkpoint}, length {config.data.length}"
    return train_run(
        "finetune",
        model_structure(model, logic)[0],
        placed(loaded.params, mesh),
        logic,
        source,
        config.data.batch_size,
        config.training,
        config.validation,
        meta,
        workdir,
        describe,
        mesh,
    )
