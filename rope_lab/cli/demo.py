"""The framework's main job in one command: pretrain short, extend, fine-tune, measure.

    rope-lab demo --config=configs/demo.py --workdir=runs/demo

The workdir holds one folder per trained model, results.json, PNG pictures and
report.html. The same command continues what a killed one left.
"""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

from rope_lab.cli import record
from rope_lab.cli.checkpoints import load_checkpoint, planned
from rope_lab.cli.config import (
    PRETRAINED,
    DemoConfig,
    ExtrapolateConfig,
    FinetuneConfig,
    read,
)
from rope_lab.cli.extrapolate import (
    check_encodings,
    check_learned,
    check_text,
    extrapolate,
)
from rope_lab.cli.figures import draw_figures
from rope_lab.cli.finetune import finetune
from rope_lab.cli.pretrain import pretrain
from rope_lab.cli.report import write_report
from rope_lab.cli.specs import resolve
from rope_lab.cli.table import print_table
from rope_lab.data import packed_sequences
from rope_lab.evaluation import save_results
from rope_lab.model import build_logic, count_parameters
from rope_lab.training import read_metrics


def demo(config: DemoConfig, workdir: str | Path) -> dict[str, Any]:
    """Run every phase, then write the report; returns the results.

    Every section of the config is checked before the first phase begins.
    """
    workdir = Path(workdir)
    folders = _folders(config, workdir)
    tunings, measuring = sections(config, workdir / "pretrain", folders)
    _check_logics(config, tunings, measuring)
    phases = len(tunings) + 2
    with record.phase(workdir, f"1/{phases} pretrain"):
        pretrain(config.pretrain, workdir / "pretrain")
    for number, (label, tuning) in enumerate(tunings.items(), start=2):
        with record.phase(workdir, f"{number}/{phases} fine-tune {label}"):
            finetune(tuning, folders[label])
    with record.phase(workdir, f"{phases}/{phases} measure"):
        results = extrapolate(measuring, workdir)
    results["run"] = _describe_run(config, workdir)
    save_results(workdir / "results.json", results)
    curves = {
        name: read_metrics(folder)
        for name, folder in {PRETRAINED: workdir / "pretrain", **folders}.items()
    }
    pretrained = load_checkpoint(workdir / "pretrain")
    figures = draw_figures(results, workdir, pretrained, curves)
    report = write_report(workdir / "report.html", results, figures)
    print_table(results)
    print(f"\n{report}\n{workdir / 'results.json'}")
    return results


def _folders(config: DemoConfig, workdir: Path) -> dict[str, Path]:
    """Where each fine-tuned model goes, by its label."""
    folders = {label: workdir / f"finetune-{_slug(label)}" for label in config.finetune}
    names = [folder.name for folder in folders.values()]
    for label, folder in folders.items():
        if label == PRETRAINED or not _slug(label) or names.count(folder.name) > 1:
            raise ValueError(
                f"config.finetune: the label {label!r} gives no folder of its own; use "
                f"Latin letters and digits, those of no other label nor {PRETRAINED!r}"
            )
    return folders


def sections(
    config: DemoConfig, pretrained: Path, folders: dict[str, Path]
) -> tuple[dict[str, FinetuneConfig], ExtrapolateConfig]:
    """The fine-tunings and the measurement, with the folders of this run filled in."""
    _refuse(config.finetune, "checkpoint", "the demo's own pretraining")
    _refuse({"extrapolate": config.extrapolate}, "models", "the demo's own")
    tunings = {}
    for label, section in config.finetune.items():
        section = {**section, "checkpoint": str(pretrained)}
        where = f"config.finetune[{label!r}]"
        tunings[label] = read(FinetuneConfig, section, where)
    folders = {PRETRAINED: pretrained, **folders}
    models = {label: str(folder) for label, folder in folders.items()}
    section = {**config.extrapolate, "models": models}
    return tunings, read(ExtrapolateConfig, section, "config.extrapolate")


def _check_logics(
    config: DemoConfig, tunings: dict[str, FinetuneConfig], measuring: ExtrapolateConfig
) -> None:
    """Builds every logic that some phase will need; raises ValueError if one cannot."""
    first = planned(config.pretrain)
    models = {PRETRAINED: first}
    for label, tuning in tunings.items():
        spec = resolve(tuning.logic, first.train_length, tuning.data.length)
        own = build_logic(first.completed(spec), first.model_config)
        check_learned(own, first, f"config.finetune[{label!r}]")
        models[label] = dataclasses.replace(first, own=own)
    check_encodings(measuring, models)
    check_text(measuring, dataclasses.asdict(config.pretrain.data))


def _describe_run(config: DemoConfig, workdir: Path) -> dict[str, Any]:
    """Everything a reader needs to judge and repeat the numbers."""
    loaded = load_checkpoint(workdir / "pretrain")
    source = packed_sequences(config.pretrain.data)
    steps, batch = config.pretrain.training.num_steps, config.pretrain.data.batch_size
    documents = {
        split: len(source.corpus.document_ids(split)) for split in ("train", "held_out")
    }
    return {
        "command": record.describe_command("demo"),
        "commit": record.commit(),
        "parameters": count_parameters(loaded.params),
        "pretraining": {
            "tokens": steps * batch * config.pretrain.data.length,
            "epochs": round(steps * batch / source.sequences_per_epoch, 2),
            "share of repeated passages": config.pretrain.data.repeat_fraction,
        },
        "corpus": {
            "name": source.corpus.name,
            "checksum": source.corpus.checksum,
            "tokenizer checksum": source.tokenizer.checksum,
            "documents": documents,
        },
        "wall seconds": record.timings(workdir),
        "machine": record.describe_machine(),
        "versions": record.describe_versions(),
        "config": {
            "pretrain": dataclasses.asdict(config.pretrain),
            "finetune": config.finetune,
            "extrapolate": dict(config.extrapolate),
        },
    }


def _refuse(sections: dict[str, dict], key: str, instead: str) -> None:
    for label, section in sections.items():
        if key in section:
            raise ValueError(
                f"{label}: {key} means nothing in the demo; it is {instead}"
            )


def _slug(label: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", label.lower()).strip("-")
