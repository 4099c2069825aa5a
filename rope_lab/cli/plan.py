"""What a run would need of TPUs that are not here: bytes, FLOPs, exchanges, seconds.

    rope-lab plan --config=configs/llama2_7b_32k.py --topology=v5p:4x4x4
    rope-lab plan --config=... --topology=v5e:16x16 --num_slices=4 --output=plan.json

The step that `pretrain` or `finetune` would run with this config is compiled ahead of
time for the slice, from shapes alone: no parameter is made and no TPU is asked for.
Prints a table, and writes it beside the JSON record where there is an --output. Needs
libtpu (the extra `tpu`, on Linux). A step that does not fit is a result too.

    rope-lab plan --config=configs/pretrain.py --topology=here

Plans for the devices that are here, then takes the step on them with parameters and
tokens drawn at random: the memory and the time that it took stand beside the plan's.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax

from rope_lab.cli.config import (
    FinetuneConfig,
    PlanConfig,
    PretrainConfig,
)
from rope_lab.cli.record import commit, describe_versions
from rope_lab.cli.specs import resolve
from rope_lab.data.tokenizers import load_tokenizer
from rope_lab.evaluation.results import save_results
from rope_lab.model import ModelConfig, build_logic
from rope_lab.planning import (
    Work,
    local_topology,
    make_plan,
    measured,
    topology,
)
from rope_lab.planning.here import HERE
from rope_lab.planning.page import page
from rope_lab.planning.target import devices
from rope_lab.training import check_fits, make_mesh


def plan(config: PlanConfig, workdir: str | Path | None = None) -> dict[str, Any]:
    """Prints the plan and returns it; `make_plan` says what is in it.

    Raises:
      ValueError: there is no such slice, a mesh that does not divide, a config that
        does not say the whole model; or libtpu is not installed.
    """
    run = config.finetune or config.pretrain
    if config.topology == HERE:
        wanted, there = local_topology(), jax.devices()
    else:
        wanted = topology(config.topology, config.num_slices)
        there = devices(wanted)
    mesh = make_mesh(run.mesh, there)
    model = _model(run)
    steps = run.training.accumulation_steps
    check_fits(mesh, model, run.data.batch_size, run.data.length, steps)
    logic = build_logic(_spec(run), model)
    size = run.data.batch_size, run.data.length
    work = Work(model, logic, run.training, *size, mesh)
    found = make_plan(work, wanted)
    if config.topology == HERE and found["fits"]:
        found["measured"] = measured(work)
    found |= {"config": dataclasses.asdict(run), "commit": commit()}
    found |= {"versions": describe_versions()}
    text = page(found)
    print(text)
    if config.output is not None:
        path = Path(config.output)
        path.parent.mkdir(parents=True, exist_ok=True)
        save_results(path, found)
        path.with_suffix(".md").write_text(text)
    return found


def plan_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """Keys of `PlanConfig` from those of the run that is planned, and its options."""
    own = {field.name for field in dataclasses.fields(PlanConfig)}
    run = {key: value for key, value in values.items() if key not in own}
    options = {key: value for key, value in values.items() if key in own}
    if "topology" not in options:
        raise ValueError("--topology is missing: a chip and a slice, as v5p:4x4x4")
    return options | {"finetune" if "checkpoint" in values else "pretrain": run}


def _model(run: FinetuneConfig | PretrainConfig) -> ModelConfig:
    if isinstance(run, PretrainConfig):
        return run.model.model_config(vocabulary(run.data.tokenizer))
    try:
        return ModelConfig(**run.model)
    except TypeError as error:
        raise ValueError(
            f"config.model has to say the whole model, as the checkpoint "
            f"{run.checkpoint} is not opened for a plan: {error}"
        ) from None


def vocabulary(tokenizer: str) -> int:
    """Tokens; a "bpe:N" that is not trained yet has N at most."""
    kind, _, size = tokenizer.partition(":")
    if kind == "bpe" and size.isdecimal():
        return int(size)
    return load_tokenizer(tokenizer).vocab_size


def _spec(run: FinetuneConfig | PretrainConfig) -> Any:
    if isinstance(run, PretrainConfig):
        return run.model.logic
    if "trained" in str(run.logic):
        raise ValueError(
            "config.logic speaks of the length that the checkpoint was trained at, "
            f"which is not opened for a plan: give it in tokens: {run.logic}"
        )
    return resolve(run.logic, 0, run.data.length)
