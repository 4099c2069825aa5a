"""Train the models of a study, measure every row on its model, write tables and page.

    rope-lab extrapolate --config=configs/rerope_small.py --workdir=runs/rerope_small

The workdir holds a folder per trained model, with its checkpoints and, row by row, its
results.json; and page/, written anew after each model: README.md, results.json of all
models, and pictures. The same command continues what a killed one left; where the
workdir is gone, `--config.earlier=PAGE/results.json` goes on from a page.
"""

from __future__ import annotations

import dataclasses
import re
import sys
from pathlib import Path
from typing import Any, NamedTuple

from rope_lab.cli import record
from rope_lab.cli.checkpoints import load_checkpoint, planned
from rope_lab.cli.config import (
    PRETRAINED,
    ExtrapolateConfig,
    PretrainConfig,
    StudyConfig,
    TrainedConfig,
    read,
)
from rope_lab.cli.extrapolate import check_encodings, check_text, extrapolate
from rope_lab.cli.pretrain import pretrain
from rope_lab.cli.run_folder import first_commit
from rope_lab.cli.sittings import Kept, kept_models, load_page
from rope_lab.cli.study_page import write_page
from rope_lab.cli.table import print_table
from rope_lab.data import PackedSequences, packed_sequences
from rope_lab.evaluation import load_results, save_results
from rope_lab.evaluation.combine import combine
from rope_lab.evaluation.results import Results
from rope_lab.model import count_parameters
from rope_lab.training import TrainingDiverged

RESULTS = "results.json"


class _Model(NamedTuple):
    """One trained model of the study: where it lies, and how it comes about."""

    label: str
    folder: Path
    training: PretrainConfig
    measuring: ExtrapolateConfig


def study(config: StudyConfig, workdir: str | Path) -> Results:
    """Train, measure and report every model of the config; returns all results.

    Every model and every row is built before the first is trained. A model whose
    training diverges is named on the page with the reason, and the others go on.

    Raises:
      ValueError: names the model, row or file and says what is wrong with it.
    """
    workdir = Path(workdir)
    models = [study_model(config, one, workdir) for one in config.trained]
    _check(models)
    kept = _kept(config, models)
    for path in filter(None, [config.other_size, *config.again]):
        load_page(path)  # refused before anything is trained
    diverged: dict[str, str] = {}
    for number, model in enumerate(models, start=1):
        if model.label in kept:
            continue
        place, before = f"{number}/{len(models)}", _labels(model)
        try:
            with record.phase(workdir, f"{place} train {model.label}"):
                pretrain(model.training, model.folder)
        except TrainingDiverged as error:
            print(f"{model.label}: {error}", file=sys.stderr)
            diverged[model.label] = str(error)
            continue
        with record.phase(workdir, f"{place} measure {model.label}"):
            extrapolate(model.measuring, model.folder)
        if number < len(models) and _labels(model) != before:
            _report(config, models, workdir, kept, diverged)
    results = _report(config, models, workdir, kept, diverged)
    print_table(results)
    print(f"\n{_page(config, workdir) / 'README.md'}")
    return results


def study_model(config: StudyConfig, one: TrainedConfig, workdir: Path) -> _Model:
    """How one model of a study is trained, in a folder of workdir, and measured.

    Raises:
      ValueError: a section that means nothing here or is wrong; names the model.
    """
    where = f"config.trained[{one.label!r}]"
    folder = workdir / _slug(one.label)
    training = dataclasses.asdict(config.training) | one.training
    sections = {
        "model": {**config.model, **one.model, "logic": one.logic},
        "data": dataclasses.asdict(config.data),
        "training": training,
        "validation": dataclasses.asdict(config.validation),
        "seed": config.seed,
    }
    for key in ("models", "encodings"):
        if key in config.extrapolate:
            raise ValueError(
                f"config.extrapolate.{key} means nothing in a study; each model of "
                "config.trained has its rows"
            )
    measuring = {
        **config.extrapolate,
        "models": {PRETRAINED: str(folder)},
        "encodings": one.rows,
        "data_dir": config.data.data_dir,
    }
    return _Model(
        one.label,
        folder,
        read(PretrainConfig, sections, where),
        read(ExtrapolateConfig, measuring, where),
    )


def _check(models: list[_Model]) -> None:
    """Builds every logic of every model, and refuses two models or rows of one name."""
    labels = [row.get("label") for m in models for row in m.measuring.encodings]
    for names in ([m.folder.name for m in models], labels):
        twice = sorted({str(name) for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"two models or rows are called {twice[0]!r}")
    for model in models:
        check_text(model.measuring, dataclasses.asdict(model.training.data))
        try:
            own = planned(model.training)
        except ValueError as error:
            raise ValueError(f"model {model.label!r}: {error}") from None
        check_encodings(model.measuring, {PRETRAINED: own})


def _kept(config: StudyConfig, models: list[_Model]) -> dict[str, Kept]:
    """Models of an earlier sitting, but for those that have a folder here."""
    if config.earlier is None:
        return {}
    elsewhere = [model for model in models if not model.folder.exists()]
    return kept_models(config.earlier, elsewhere, packed_sequences(config.data))


def _report(
    config: StudyConfig,
    models: list[_Model],
    workdir: Path,
    kept: dict[str, Kept],
    diverged: dict[str, str],
) -> Results:
    """Combined results and page of what is measured by now."""
    parts = {}
    for model in models:
        if model.label in kept:
            parts[model.label] = kept[model.label].table
        elif (model.folder / RESULTS).exists():
            parts[model.label] = load_results(model.folder / RESULTS)
    results = combine(parts)
    measured = [model for model in models if model.label in parts]
    results["run"] = _describe_run(config, models, measured, workdir, kept)
    results["run"]["missing"] = diverged
    folder = _page(config, workdir)
    save_results(folder / RESULTS, results)
    write_page(folder, results, config.other_size, config.again)
    return results


def _describe_run(config, models, measured, workdir: Path, kept) -> dict[str, Any]:
    """Everything a reader needs to judge and repeat the numbers."""
    source = packed_sequences(config.data)
    # A kept model has no folder here: what was timed of it here came to nothing.
    seconds = [record.timings(workdir)] + [one.seconds for one in kept.values()]
    return {
        "title": config.title,
        "command": record.describe_command("extrapolate"),
        "commit": record.commit(),
        "models": {m.label: _describe(m, source, kept.get(m.label)) for m in measured},
        "planned": {
            row["label"]: model.label
            for model in models
            for row in model.measuring.encodings
        },
        "data": {**source.identity, "tokens per epoch": source.tokens_per_epoch},
        "wall seconds": {k: v for part in seconds for k, v in part.items()},
        "machine": record.describe_machine(),
        "versions": record.describe_versions(),
    }


def _describe(
    model: _Model, source: PackedSequences, kept: Kept | None
) -> dict[str, Any]:
    """What a model was trained on, for the caption."""
    if kept is not None:
        return kept.described
    training, data = model.training.training, model.training.data
    sequences, first = training.num_steps * data.batch_size, data.repeat_first
    repeated = first + max(sequences - first, 0) * data.repeat_fraction
    return {
        "commit": first_commit(model.folder),
        "parameters": count_parameters(load_checkpoint(model.folder).params),
        "tokens": sequences * data.length,
        "epochs": round(max(sequences - first, 0) / source.sequences_per_epoch, 3),
        "repeated share": round(min(repeated / sequences, 1.0), 3),
        "seeds": {"parameters": model.training.seed, "data": data.seed},
        "config": dataclasses.asdict(model.training),
    }


def _page(config: StudyConfig, workdir: Path) -> Path:
    return Path(config.page) if config.page else workdir / "page"


def _labels(model: _Model) -> list[str]:
    path = model.folder / RESULTS
    if not path.exists():
        return []
    return [row["label"] for row in load_results(path)["rows"]]


def _slug(label: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", label.lower()).strip("-")
