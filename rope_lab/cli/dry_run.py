"""--dry-run: the whole config of a command, and how long it would take.

Nothing is started and nothing written. Times are those of one step and one window,
tried here; see `trial`.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax

from rope_lab.cli.checkpoints import load_checkpoint
from rope_lab.cli.config import (
    PRETRAINED,
    DemoConfig,
    EvaluateConfig,
    ExtrapolateConfig,
    FinetuneConfig,
    PerplexityConfig,
    PosGenStudyConfig,
    PretrainConfig,
    StudyConfig,
    SweepConfig,
)
from rope_lab.cli.demo import sections as demo_sections
from rope_lab.cli.evaluation_config import PerplexitySection
from rope_lab.cli.extrapolate import repeated_passages
from rope_lab.cli.grid import make_cells
from rope_lab.cli.opening import open_checkpoint
from rope_lab.cli.plan import vocabulary
from rope_lab.cli.posgen_cells import make_cell
from rope_lab.cli.specs import resolve
from rope_lab.cli.study import study_model
from rope_lab.cli.subject import UP_TO
from rope_lab.cli.trial import step_seconds, window_seconds
from rope_lab.model import ModelConfig, build_logic
from rope_lab.training.progress import format_seconds

LONG = (
    "demo", "pretrain", "finetune", "extrapolate", "posgen", "sweep", "wavelengths",
    "evaluate", "perplexity",
)  # fmt: skip


class Part(NamedTuple):
    """Some of the work: what, how often, and seconds each; or why nobody knows."""

    what: str
    times: int = 0
    each: float = 0.0
    unknown: str = ""


def dry_run(config: Any) -> None:
    """Prints the config and the estimate."""
    print(json.dumps(dataclasses.asdict(config), indent=2))
    try:
        parts = list(_parts(config))
    except ValueError as error:
        print(f"\nNo estimate: {error}")
        return
    print(f"\nEstimated from scratch, on one device ({jax.devices()[0].device_kind}):")
    for part in parts:
        print(f"  {_told(part)}")
    known = sum(part.times * part.each for part in parts)
    print(f"  together {format_seconds(known)}")
    print(
        "From a step and a window of this model tried now, with made-up tokens. Not "
        "counted: preparing data, compiling, validation, checkpoints, pictures.\n"
        "Nothing was started, nothing written."
    )


def _told(part: Part) -> str:
    if part.unknown:
        return f"{part.what}: not estimated: {part.unknown}"
    seconds = format_seconds(part.times * part.each)
    return f"{part.what}: {part.times:,} of {part.each:.3g} s, {seconds}"


def _parts(config: Any) -> Iterator[Part]:
    kinds: dict[type, Callable[[Any], Iterator[Part]]] = {
        SweepConfig: _sweep,
        PretrainConfig: _pretrain,
        FinetuneConfig: _finetune,
        ExtrapolateConfig: _extrapolate,
        StudyConfig: _study,
        DemoConfig: _demo,
        PosGenStudyConfig: _posgen,
        EvaluateConfig: _evaluate,
        PerplexityConfig: _perplexity,
    }
    if type(config) not in kinds:
        raise ValueError("how long a search takes is for the search to decide")
    yield from kinds[type(config)](config)


def _pretrain(config: PretrainConfig, label: str = "training") -> Iterator[Part]:
    model = config.model.model_config(vocabulary(config.data.tokenizer))
    logic = build_logic(config.model.logic, model)
    yield _training(config, model, logic, label)


def _training(config: Any, model: ModelConfig, logic: Any, label: str) -> Part:
    size = config.data.batch_size, config.data.length
    each = step_seconds(model, logic, config.training, *size)
    return Part(f"{label}, steps", config.training.num_steps, each)


def _finetune(config: FinetuneConfig) -> Iterator[Part]:
    loaded = load_checkpoint(config.checkpoint, config.average)
    model = loaded.model_config.computed_as(config.model)
    spec = resolve(config.logic, loaded.train_length, config.data.length)
    logic = build_logic(loaded.completed(spec), model)
    yield _training(config, model, logic, "training")


def _sweep(config: SweepConfig) -> Iterator[Part]:
    fields = {field.name for field in dataclasses.fields(PretrainConfig)}
    base = PretrainConfig(**{name: getattr(config, name) for name in fields})
    cells = make_cells(base, config.grid)
    (first,) = _pretrain(cells[0].config)
    what = f"{len(cells)} cells, one after the other, each as the first; steps"
    steps = sum(cell.config.training.num_steps for cell in cells)
    yield Part(what, steps, first.each)


def _posgen(config: PosGenStudyConfig) -> Iterator[Part]:
    for changes in config.cells:
        cell = make_cell(config, changes)
        size = cell.batch_size, cell.data.train_length
        each = step_seconds(cell.model, cell.trained[0], cell.training, *size)
        what = f"{cell.name}, {len(cell.members)} models, steps one by one"
        yield Part(what, len(cell.members) * cell.training.num_steps, each)


def _extrapolate(config: ExtrapolateConfig) -> Iterator[Part]:
    loaded = load_checkpoint(config.models[PRETRAINED], config.average)
    model, logic = loaded.model_config, loaded.logic()
    yield from _measuring(config, model, logic, loaded.train_length, "measuring")


def _measuring(
    config: ExtrapolateConfig,
    model: ModelConfig,
    logic: Any,
    train_length: int,
    label: str,
) -> Iterator[Part]:
    """Every row as the model's own encoding."""
    rows = len(config.encodings) + 1  # that of truncated context
    for length in config.lengths:
        kinds = len(repeated_passages(config, train_length, length))
        windows = config.num_windows
        if config.packed:
            windows = windows * max(config.lengths) // length
        windows += kinds * config.num_repeated_windows
        each = window_seconds(model, logic, length)
        yield Part(f"{label}, windows of {length} tokens", rows * windows, each)


def _both(
    training: PretrainConfig, measuring: ExtrapolateConfig, label: str
) -> Iterator[Part]:
    model = training.model.model_config(vocabulary(training.data.tokenizer))
    logic = build_logic(training.model.logic, model)
    yield _training(training, model, logic, label)
    yield from _measuring(measuring, model, logic, training.data.length, label)


def _study(config: StudyConfig) -> Iterator[Part]:
    for trained in config.trained:
        model = study_model(config, trained, Path())
        yield from _both(model.training, model.measuring, model.label)


def _demo(config: DemoConfig) -> Iterator[Part]:
    place = Path()
    folders = dict.fromkeys(config.finetune, place)
    tunings, measuring = demo_sections(config, place, folders)
    yield from _both(config.pretrain, measuring, "pretrained")
    model = config.pretrain.model.model_config(
        vocabulary(config.pretrain.data.tokenizer)
    )
    for label, tuning in tunings.items():
        lengths = config.pretrain.data.length, tuning.data.length
        logic = build_logic(resolve(tuning.logic, *lengths), model)
        yield _training(tuning, model, logic, label)


def _evaluate(config: EvaluateConfig) -> Iterator[Part]:
    yield from _scoring(config, config.perplexity)
    retrieval = config.retrieval
    if retrieval.tasks:
        yield Part("retrieval", unknown="it depends on how long the answers are")
    if config.leval.folder is not None:
        yield Part("L-Eval", unknown="it depends on how long the answers are")


def _perplexity(config: PerplexityConfig) -> Iterator[Part]:
    yield from _scoring(config, [config])


def _scoring(
    config: EvaluateConfig | PerplexityConfig,
    protocols: list[PerplexitySection] | list[PerplexityConfig],
) -> Iterator[Part]:
    opened = open_checkpoint(config.checkpoint, config.average)
    trained, rows = opened.train_length, len(config.encodings) + config.own
    lengths = config.lengths or [trained, 2 * trained, 4 * trained]
    each = {n: window_seconds(opened.model_config, opened.own(n), n) for n in lengths}
    for one in protocols:
        name = f"perplexity/{one.convention}"
        if one.convention == "sliding":
            reason = "it depends on how long the documents are"
            yield Part(name, unknown=reason)
            continue
        documents = one.count or UP_TO
        for length in lengths:
            what = f"{name}, windows of {length} tokens, of {documents} documents"
            yield Part(what, rows * documents, each[length])
