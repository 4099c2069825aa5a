"""One cell of the PosGen study: a sub-task, all encodings and seeds, one program."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rope_lab.cli.config import PosGenStudyConfig, hint, read
from rope_lab.cli.specs import resolve
from rope_lab.data import PosGenConfig, PosGenSource, PosGenVocabulary, load_posgen
from rope_lab.data.posgen import checksum, overlap
from rope_lab.evaluation.members import Scores, score_members
from rope_lab.logic import PositionLogic
from rope_lab.model import ModelConfig, build_logic, count_parameters
from rope_lab.training import (
    Checkpoints,
    MetricsWriter,
    Progress,
    TrainingConfig,
    TrainState,
    read_metrics,
    run_meta,
    train,
)
from rope_lab.training.sweep import (
    init_members,
    make_sweep_step,
    member_mesh,
    shard,
    stack_logics,
)

ENCODING_AT = ("training", "evaluation")
_PLACES = 4  # decimals of accuracies in results.json


@dataclasses.dataclass(frozen=True)
class Cell:
    """Everything that decides its numbers. Member i is `members[i]`: (row, seed)."""

    name: str  # of its folder
    data: PosGenConfig
    training: TrainingConfig
    model: ModelConfig
    batch_size: int
    labels: tuple[str, ...]  # of the rows
    seeds: tuple[int, ...]
    trained: tuple[Any, ...]  # what each row trains under
    measured: tuple[Any, ...]  # and is measured under

    @property
    def members(self) -> list[tuple[int, int]]:
        """Places in `labels` and in `seeds`, rows first."""
        return [(r, s) for r in range(len(self.labels)) for s in range(len(self.seeds))]

    @property
    def orders(self) -> tuple[int, ...]:
        """Each member's order of the data is that of its seed."""
        return tuple(s for _, s in self.members)

    def settings(self) -> dict[str, Any]:
        """As plain values; equal settings give equal numbers."""
        return {
            "data": dataclasses.asdict(self.data),
            "training": dataclasses.asdict(self.training),
            "model": dataclasses.asdict(self.model),
            "batch_size": self.batch_size,
            "labels": list(self.labels),
            "seeds": list(self.seeds),
            "trained": [logic.to_dict() for logic in self.trained],
            "measured": [logic.to_dict() for logic in self.measured],
        }

    def stacked(self, logics: Sequence[PositionLogic]) -> PositionLogic:
        """One logic of the rows, mapped over the members."""
        return stack_logics([logics[row] for row, _ in self.members])


def make_cell(config: PosGenStudyConfig, changes: Any) -> Cell:
    """The cell that `changes` makes of the study's data and training settings.

    Raises:
      ValueError: a key that neither has, settings that cannot be, rows that need
        different programs.
    """
    data, training = (
        dataclasses.asdict(config.data),
        dataclasses.asdict(config.training),
    )
    if not isinstance(changes, dict):
        raise ValueError(f"a cell is a dict of settings that it changes: {changes!r}")
    for key, value in changes.items():
        section = data if key in data else training
        if key not in section:
            raise ValueError(f"cell key {key!r}{hint(key, [*data, *training])}")
        section[key] = value
    data = read(PosGenConfig, data, "config.cells.data")
    vocabulary = {"vocab_size": PosGenVocabulary(data.modulus).size}
    model = read(ModelConfig, config.model | vocabulary, "config.model")
    specs = [_spec(row, data) for row in config.encodings]
    cell = Cell(
        name=f"{data.subtask}-m{data.modulus}-{data.prefixes}",
        data=data,
        training=read(TrainingConfig, training, "config.cells.training"),
        model=model,
        batch_size=config.batch_size,
        labels=tuple(label for label, _ in specs),
        seeds=tuple(config.seeds),
        trained=tuple(
            build_logic(_training_spec(spec, config.encoding_at), model)
            for _, spec in specs
        ),
        measured=tuple(build_logic(spec, model) for _, spec in specs),
    )
    _check(cell)
    return cell


def _spec(row: Any, data: PosGenConfig) -> tuple[str, dict[str, Any]]:
    if not isinstance(row, dict) or not isinstance(row.get("label"), str):
        raise ValueError(
            f"a row of encodings is a dict with a label and a name, got {row!r}"
        )
    spec = {key: value for key, value in row.items() if key != "label"}
    return row["label"], resolve(spec, data.train_length, data.test_length)


def _training_spec(spec: dict[str, Any], encoding_at: str) -> dict[str, Any]:
    """As the paper: the encoding itself. As the released code: unscaled RoPE."""
    if encoding_at not in ENCODING_AT:
        raise ValueError(
            f"encoding_at is {encoding_at!r}; expected one of {', '.join(ENCODING_AT)}"
        )
    if encoding_at == "training":
        return spec
    kept = ("base", "resonance", "softmax_scale", "layout")
    return {"name": "rope"} | {key: spec[key] for key in kept if key in spec}


def _check(cell: Cell) -> None:
    for what, values in (("encodings", cell.labels), ("seeds", cell.seeds)):
        if not values or len(set(values)) != len(values):
            raise ValueError(
                f"{what} are {list(values)}; give at least one, and none twice"
            )
    cell.stacked(cell.trained + cell.measured)


def load_cell(cell: Cell, data_dir: str | None) -> dict[str, np.ndarray]:
    """Its splits from disk, prepared on first use."""
    return load_posgen(cell.data, data_dir)


def train_cell(
    cell: Cell,
    splits: dict[str, np.ndarray],
    folder: Path,
    validation_every: int,
    label: str,
) -> tuple[Any, TrainState]:
    """Trains all members, or continues what `folder` holds: (graphdef, last state)."""
    seeds = [cell.seeds[s] for s in cell.orders]
    graphdef, state = init_members(cell.model, cell.training, seeds)
    mesh = member_mesh(len(seeds))
    tokens = PosGenVocabulary(cell.data.modulus).with_start(splits["validation"])
    measured = shard(cell.stacked(cell.measured), mesh)
    progress = Progress(cell.training.num_steps, label=label)
    progress.message(
        f"{len(cell.labels)} encodings x {len(cell.seeds)} seeds of "
        f"{count_parameters(state.params) // len(seeds):,} parameters in one program "
        f"on {mesh.size} device(s)"
    )
    clock = _Clock()

    def validate(state: TrainState) -> dict[str, float]:
        scores = score_members(graphdef, state.params, tokens, measured)
        return _validation_row(cell, scores) | {"seconds": clock.lap()}

    settings = cell.settings()
    meta = run_meta(
        {key: settings[key] for key in settings if key not in ("model", "trained")},
        settings["model"],
        cell.trained,
        checksum(splits),
        f"posgen-{cell.data.modulus}",
    )
    with (
        Checkpoints(folder, cell.training.keep_checkpoints) as checkpoints,
        MetricsWriter(folder, cell.training.tensorboard, cell.training.wandb) as writer,
    ):
        state = train(
            shard(state, mesh),
            make_sweep_step(graphdef, cell.training, cell.orders),
            PosGenSource(cell.data, splits["train"], list(cell.seeds)),
            cell.batch_size,
            cell.training,
            shard(cell.stacked(cell.trained), mesh),
            checkpoints,
            writer,
            meta,
            progress,
            validate,
            validation_every,
        )
    return graphdef, state


class _Clock:
    """Seconds between one call and the next."""

    def __init__(self):
        self._last = time.perf_counter()

    def lap(self) -> float:
        before, self._last = self._last, time.perf_counter()
        return self._last - before


def _validation_row(cell: Cell, scores: Scores) -> dict[str, float]:
    """Loss over all computed targets, and accuracies, of every member."""
    row = {}
    for member, (r, s) in enumerate(cell.members):
        name = f"{cell.labels[r]}/{cell.seeds[s]}"
        accuracy = _ranges(cell, scores.accuracy[member])
        row[f"loss/{name}"] = scores.loss[member, cell.data.task().prefix :].mean()
        row |= {f"{key}/{name}": accuracy[key] for key in ("within", "beyond")}
    return {key: float(value) for key, value in row.items()}


def _ranges(cell: Cell, by_position: np.ndarray) -> dict[str, float]:
    """Means over computed targets up to and beyond the training length, and the first.

    Target t is token t. The first computed one alone has no computed token before it:
    from the second on, differences of the rule at two neighbours are a short cut.
    """
    first, length = cell.data.task().prefix, cell.data.train_length
    means = {"within": by_position[first:length].mean(), "first": by_position[first]}
    if cell.data.test_length > length:
        means["beyond"] = by_position[length:].mean()
    return {key: float(value) for key, value in means.items()}


def measure_cell(
    cell: Cell,
    splits: dict[str, np.ndarray],
    graphdef: Any,
    state: TrainState,
    folder: Path,
) -> dict[str, Any]:
    """The entry of results.json: accuracies on the test split, validation curves."""
    tokens = PosGenVocabulary(cell.data.modulus).with_start(splits["test"])
    measured = shard(cell.stacked(cell.measured), member_mesh(len(cell.members)))
    scores = score_members(graphdef, state.params, tokens, measured)
    validations = [row for row in read_metrics(folder) if "eval/seconds" in row]
    curves = [
        {key.removeprefix("eval/"): value for key, value in row.items()}
        for row in validations
    ]
    rows = [_row(cell, r, scores, curves) for r in range(len(cell.labels))]
    seconds = sum(row["seconds"] for row in curves)
    return {
        "name": cell.name,
        "settings": cell.settings(),
        "overlap": overlap(cell.data, splits),
        "parameters": count_parameters(state.params) // len(cell.members),
        "train_seconds": round(seconds, 1),
        "rows": rows,
    }


def _row(cell: Cell, r: int, scores: Scores, curves: list[dict]) -> dict[str, Any]:
    """One encoding: a value per seed, in the order of the seeds."""
    places = [m for m, (row, _) in enumerate(cell.members) if row == r]
    first = cell.data.task().prefix
    ranges = [_ranges(cell, scores.accuracy[m]) for m in places]
    names = [f"{cell.labels[r]}/{seed}" for seed in cell.seeds]
    return {
        "label": cell.labels[r],
        **{key: [one[key] for one in ranges] for key in ranges[0]},
        "loss": [float(scores.loss[m, first:].mean()) for m in places],
        "by_position": {
            "first_target": first,
            "accuracy": scores.accuracy[places][:, first:].round(_PLACES).tolist(),
        },
        "validation": {
            "steps": [row["step"] for row in curves],
            "loss": [[row[f"loss/{n}"] for row in curves] for n in names],
            "within": [[row[f"within/{n}"] for row in curves] for n in names],
        },
    }
