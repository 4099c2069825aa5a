"""Are there better wavelengths than rounded ones? A search, by gradient and evolution.

    rope-lab wavelengths --config=configs/wavelengths_small.py --workdir=runs/waves

Trains small models on PosGen with plain RoPE, searches frequencies that lower their
loss beyond the training length on validation sequences, and reports what is found on
tasks, models and sequences that the search has not seen: on models trained with RoPE,
and on models trained with the found frequencies from the start. Killed at any moment,
the same command continues. Writes results.json and, in page/, its README and a plot.
"""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np

from rope_lab.cli.config import PosGenStudyConfig, WavelengthsConfig
from rope_lab.cli.posgen_cells import Cell, load_cell, make_cell, train_cell
from rope_lab.cli.record import (
    commit,
    describe_command,
    describe_machine,
    describe_versions,
    phase,
    timings,
)
from rope_lab.cli.wavelengths_page import write_page
from rope_lab.cli.wavelengths_search import run_search
from rope_lab.data import PosGenVocabulary
from rope_lab.evaluation import load_results, save_results
from rope_lab.evaluation.frequency_rows import row_of, score_sequences
from rope_lab.evaluation.frequency_search import (
    Scorer,
    SearchTask,
    evolution_search,
    gradient_search,
    start_at,
)
from rope_lab.evaluation.results import SCHEMA_VERSION
from rope_lab.logic import PositionLogic, position_logic
from rope_lab.rotary import Frequencies, feature_gap
from rope_lab.rotary.planes import make_frequencies
from rope_lab.training.meta import differences
from rope_lab.training.sweep import stack_logics

RESULTS = "results.json"
FOUND = ("gradient", "evolution")
REFERENCE = 1  # the row whose differences are given; row 0 is what models train with


def wavelengths(config: WavelengthsConfig, workdir: str | Path) -> dict[str, Any]:
    """Trains, searches and measures what is missing; returns the results.

    Raises:
      ValueError: a wrong setting, before any work, or a workdir of other settings.
    """
    _check(config)
    search = [_cell(config, task, config.search_seeds) for task in config.search]
    report = [_cell(config, task, config.report_seeds) for task in config.held_out]
    workdir, run = Path(workdir), _describe_run()
    results = _open(workdir / RESULTS, config, search[0])
    _save(workdir, results, run)  # the settings, under which alone a search goes on
    models = [_train_search(config, cell, workdir) for cell in search]
    for name in FOUND:
        if name not in results["found"]:
            with phase(workdir, f"search by {name}"):
                results["found"][name] = _search(config, name, search, models, workdir)
            _save(workdir, results, run)
    found = {n: _frequencies(v["angular"]) for n, v in results["found"].items()}
    results["rows"] = _describe_rows(search[0], found)
    done = {entry["name"] for entry in results["tasks"]}
    for cell, (splits, graphdef, params) in zip(search, models, strict=True):
        if f"{cell.name}, searched" not in done:
            rows = _measure_switched(cell, found, splits, graphdef, params)
            entry = {"name": f"{cell.name}, searched", "kind": "searched"}
            results["tasks"].append(entry | _about(cell) | {"switched": rows})
            _save(workdir, results, run)
    for cell in report:
        if cell.name not in done:
            with phase(workdir, f"held-out task {cell.name}"):
                results["tasks"].append(_report(config, cell, found, workdir))
            _save(workdir, results, run)
    print(write_page(Path(config.page or workdir / "page"), results))
    return results


def _check(config: WavelengthsConfig) -> None:
    """Refuses seeds and tasks that the search and the report would share."""
    shared = set(config.search_seeds) & set(config.report_seeds)
    if shared:
        raise ValueError(
            f"seeds {sorted(shared)} are in search_seeds and report_seeds: models that "
            "frequencies were fitted to cannot judge them"
        )
    for task in config.held_out:
        if task in config.search:
            raise ValueError(f"the task {task} is searched on and held out; change one")
    if not config.search or not config.held_out:
        raise ValueError("search and held_out need at least one task each")
    if not config.encodings or config.encodings[0].get("name") != "rope":
        raise ValueError(
            f"the first of encodings is {config.encodings[:1]}; it must be plain rope, "
            "which models train with and from which the search begins"
        )
    labels = [row.get("label") for row in config.encodings]
    if len(labels) <= REFERENCE or set(labels) & set(FOUND):
        raise ValueError(
            f"encodings are {labels}; expected what models train with, then what rows "
            f"are compared with, then others, none named {' or '.join(FOUND)}"
        )


def _cell(config: WavelengthsConfig, task: Any, seeds: list[int]) -> Cell:
    """The cell of a task, with the rows of the config; all turn in every plane."""
    study = PosGenStudyConfig(
        size="small",
        data=config.data,
        cells=[],
        model=config.model,
        training=config.training,
        batch_size=config.batch_size,
        encodings=config.encodings,
        seeds=seeds,
    )
    return make_cell(study, task)


def _only_first(cell: Cell) -> Cell:
    """The cell whose models train with the first row alone."""
    one = (cell.trained[0],)
    return dataclasses.replace(cell, labels=cell.labels[:1], trained=one, measured=one)


def _with_found(cell: Cell, found: dict[str, Frequencies]) -> Cell:
    """The cell with a row for each found array, trained with it from the start."""
    logics = cell.trained + tuple(_logic(cell, f) for f in found.values())
    labels = cell.labels + tuple(found)
    return dataclasses.replace(cell, labels=labels, trained=logics, measured=logics)


def _logic(cell: Cell, frequencies: Frequencies) -> PositionLogic:
    dim = cell.model.head_dim
    return position_logic("rope", head_dim=dim, frequencies=frequencies)


def _frequencies(angular: list[float]) -> Frequencies:
    return make_frequencies(np.array(angular, np.float64))


def _train_search(config: WavelengthsConfig, cell: Cell, workdir: Path):
    """(splits, graphdef, parameters of all seeds) of a searched task."""
    with phase(workdir, f"models of the search, {cell.name}"):
        splits = load_cell(cell, config.data_dir)
        folder = workdir / "search" / cell.name
        graphdef, state = train_cell(
            _only_first(cell), splits, folder, config.validation_every, cell.name
        )
    return splits, graphdef, state.params


def _search(config, name: str, cells, models, workdir: Path) -> dict[str, Any]:
    """What one search found, from the first row's frequencies."""
    tasks = [
        SearchTask(graphdef, params, _tokens(cell, splits["validation"]), _length(cell))
        for cell, (splits, graphdef, params) in zip(cells, models, strict=True)
    ]
    scorer = Scorer(tasks, cells[0].model.head_dim)
    start_P = start_at(cells[0].trained[0].bands[0].frequencies)
    settings = getattr(config, name)
    make: Any = {"gradient": gradient_search, "evolution": evolution_search}[name]
    state, first = run_search(
        make(settings, scorer, start_P), workdir / "search" / f"{name}.npz", name
    )
    return {
        "angular": np.exp(np.asarray(state.best, np.float64)).tolist(),
        "score": float(state.best_score),
        "score_of_start": first,
        "history": [
            [None if np.isnan(x) else float(x) for x in row] for row in state.history
        ],
    }


def _report(config, cell: Cell, found, workdir: Path) -> dict[str, Any]:
    """A held-out task: models under every row, trained with RoPE or with the row."""
    cell = _with_found(cell, found)
    splits = load_cell(cell, config.data_dir)
    folder = workdir / "report" / cell.name
    graphdef, state = train_cell(
        cell, splits, folder, config.validation_every, cell.name
    )
    seeds = len(cell.seeds)
    plain = jax.tree.map(lambda leaf: leaf[:seeds], state.params)  # rows come first
    rows = [
        jax.tree.map(lambda leaf, r=r: leaf[r * seeds : (r + 1) * seeds], state.params)
        for r in range(len(cell.labels))
    ]
    trained = _rows(cell, splits, graphdef, rows)
    switched = _rows(cell, splits, graphdef, [plain] * len(rows))
    entry = {"name": cell.name, "kind": "held out"} | _about(cell)
    return entry | {"switched": switched, "trained": trained}


def _measure_switched(cell: Cell, found, splits, graphdef, params):
    cell = _with_found(cell, found)
    return _rows(cell, splits, graphdef, [params] * len(cell.labels))


def _rows(cell: Cell, splits, graphdef, params_of_rows) -> list[dict[str, Any]]:
    """Every row on the test split, against the reference row of the same models."""
    tokens, first = _tokens(cell, splits["test"]), cell.data.task().prefix
    scores = []
    for logic, params in zip(cell.trained, params_of_rows, strict=True):
        stacked = stack_logics([logic] * len(cell.seeds))
        scores.append(
            score_sequences(graphdef, params, tokens, stacked, first, _length(cell))
        )
    pairs = zip(cell.labels, scores, strict=True)
    return [row_of(label, score, scores[REFERENCE]) for label, score in pairs]


def _tokens(cell: Cell, sequences: np.ndarray) -> np.ndarray:
    return PosGenVocabulary(cell.data.modulus).with_start(sequences)


def _length(cell: Cell) -> int:
    return cell.data.train_length


def _about(cell: Cell) -> dict[str, Any]:
    return {
        "subtask": cell.data.subtask,
        "modulus": cell.data.modulus,
        "seeds": list(cell.seeds),
        "num_steps": cell.training.num_steps,
        "num_test": cell.data.num_test,
    }


def _describe_rows(cell: Cell, found) -> list[dict[str, Any]]:
    """Wavelengths and feature gaps; trained angles are those of the first row.

    `gap_switched` is towards what RoPE's models have seen, `gap` towards what models
    trained with the row itself have; means over planes.
    """
    cell, rows = _with_found(cell, found), []
    plain = cell.trained[0].bands[0].frequencies
    lengths = (cell.data.train_length, cell.data.test_length)
    for label, logic in zip(cell.labels, cell.trained, strict=True):
        own = logic.bands[0].frequencies
        rows.append(
            {
                "label": label,
                "wavelengths": [float(x) for x in np.asarray(own.wavelengths)],
                "gap": float(feature_gap(own, *lengths).mean()),
                "gap_switched": float(feature_gap(own, *lengths, plain).mean()),
            }
        )
    return rows


def _open(path: Path, config: WavelengthsConfig, cell: Cell) -> dict[str, Any]:
    """The results so far; they must be of the same settings."""
    settings = dataclasses.asdict(config)
    for place in ("page", "data_dir"):
        del settings[place]
    fresh = {
        "schema_version": SCHEMA_VERSION,
        "study": "wavelengths",
        "settings": settings,
        "train_length": cell.data.train_length,
        "test_length": cell.data.test_length,
        "found": {},
        "tasks": [],
    }
    if not path.exists():
        return fresh
    results = load_results(path)
    lines = differences(results["settings"], settings)
    if lines:
        raise ValueError(
            f"{path} was measured with other settings:\n  "
            + "\n  ".join(line.replace("checkpoint has", "it has") for line in lines)
            + "\nRestore these values, or choose another workdir."
        )
    return results


def _save(workdir: Path, results: dict[str, Any], run: dict[str, Any]) -> None:
    results["run"] = run | {"seconds": timings(workdir)}
    save_results(workdir / RESULTS, results)
    print(f"=== saved {workdir / RESULTS}", file=sys.stderr, flush=True)


def _describe_run() -> dict[str, Any]:
    return {
        "command": describe_command("wavelengths"),
        "commit": commit(),
        "machine": describe_machine(),
        "versions": describe_versions(),
    }
