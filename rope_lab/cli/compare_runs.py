"""What the folders of runs hold, for a comparison; what is wrong with them is said.

A run leaves results.json (`extrapolate`, `demo`, `posgen`), records (`evaluate`,
`perplexity`) or metrics.jsonl (`pretrain`, `finetune`). A folder that has none of these
but holds folders that do, that of a study, stands for all of them, and so does that of
a sweep.
"""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rope_lab.cli import compare_lines
from rope_lab.cli.compare_lines import Line
from rope_lab.cli.run_folder import CONFIG
from rope_lab.evaluation import records
from rope_lab.evaluation.results import load_results
from rope_lab.training.checkpoint import read_meta
from rope_lab.training.folders import find_step
from rope_lab.training.metrics import FILE as METRICS
from rope_lab.training.metrics import read_metrics

RESULTS, SCORECARD = "results.json", "scorecard.json"
RECORDS, UNITS = "records", "units"
PAGE = "page"  # the folder where a study combines what the others hold
# What reading a file that was damaged, by whatever, may raise.
_DAMAGED = (ValueError, LookupError, TypeError, AttributeError, OSError)


@dataclasses.dataclass
class Run:
    """One folder.

    Attributes:
      lines: what it measured.
      curves: "training" and "held-out" -> [steps, losses in nats per token].
      problems: what is damaged, unfinished or was not run, in words.
    """

    name: str
    lines: list[Line] = dataclasses.field(default_factory=list)
    curves: dict[str, list[list[float]]] = dataclasses.field(default_factory=dict)
    problems: list[str] = dataclasses.field(default_factory=list)


def read_runs(paths: Sequence[str | Path]) -> list[Run]:
    """Every run of the folders, in their order.

    Args:
      paths: folders of runs, or files like results.json.

    Raises:
      ValueError: no such folder.
    """
    found: list[tuple[str, Path]] = []
    names = _names([Path(path) for path in paths])
    for name, path in zip(names, map(Path, paths), strict=True):
        if not path.exists():
            raise ValueError(f"there is no folder {path}; give the workdir of a run")
        alone = path.is_file() or (_holds_something(path) and not _is_sweep(path))
        inner = [] if alone else _runs_in(path)
        found += [(f"{name}/{one.name}", one) for one in inner] or [(name, path)]
    return [_read(name, path) for name, path in found]


def _names(paths: list[Path]) -> list[str]:
    """The last part of each path, or the path where two end alike."""
    last = [path.resolve().name for path in paths]
    return [
        name if last.count(name) == 1 else path.as_posix()
        for name, path in zip(last, paths, strict=True)
    ]


def _holds_something(path: Path) -> bool:
    names = (RESULTS, RECORDS, UNITS, SCORECARD, METRICS)
    return any((path / name).exists() for name in names)


def _is_sweep(path: Path) -> bool:
    """Its table says less than the runs in it."""
    try:
        return load_results(path / RESULTS).get("study") == "sweep"
    except _DAMAGED:
        return False


def _runs_in(path: Path) -> list[Path]:
    inner = [one for one in sorted(path.iterdir()) if one.is_dir()]
    inner = [one for one in inner if _holds_something(one)]
    return [one for one in inner if one.name != PAGE] or inner


def _read(name: str, path: Path) -> Run:
    run = Run(name)
    if path.is_file():
        _part(run, path.name, lambda: _results(run, path))
        return run
    for file, read in ((RESULTS, _results), (METRICS, _training)):
        if (path / file).exists():
            _part(run, file, functools.partial(read, run, path / file))
    if (path / RECORDS).is_dir() or (path / UNITS).is_dir():
        _records(run, path)
    if (path / SCORECARD).exists():
        _part(run, SCORECARD, lambda: _scorecard(run, path / SCORECARD))
    if not (run.lines or run.curves or run.problems):
        run.problems.append("nothing measured yet: no results, records or metrics")
    return run


def _part(run: Run, file: str, read: Callable[[], None]) -> None:
    """Reads one file; a damaged one is named and adds nothing."""
    lines, curves = len(run.lines), dict(run.curves)
    try:
        read()
    except _DAMAGED as error:
        del run.lines[lines:]
        run.curves = curves
        reason = str(error) if isinstance(error, (ValueError, OSError)) else repr(error)
        run.problems.append(f"{file} is damaged and left out: {reason}")


def _results(run: Run, path: Path) -> None:
    results = load_results(path)
    study = results.get("study")
    if study not in (None, "posgen"):
        run.problems.append(f"{path.name} is of {study}, which has a page of its own")
        return
    read = compare_lines.of_posgen if study else compare_lines.of_results
    if not results["cells" if study else "rows"]:
        run.problems.append(f"unfinished: {path.name} holds no row yet")
        return
    run.lines += read(results)
    rows = results["cells" if study else "rows"]
    done = {row["name" if study else "label"] for row in rows}
    about = results.get("run", {})
    planned = results.get("planned") or about.get("planned") or ()
    missing = [name for name in planned if name not in done]
    if missing:
        run.problems.append(f"unfinished: {', '.join(missing)} not measured")
    for label, reason in about.get("missing", {}).items():
        run.problems.append(f"{label}: {reason}")


def _training(run: Run, path: Path) -> None:
    rows = read_metrics(path.parent)
    for name, key in (("training", "loss"), ("held-out", "eval/loss")):
        points = [(row["step"], row[key]) for row in rows if key in row]
        if points:
            run.curves[name] = [list(column) for column in zip(*points, strict=True)]
    config = json.loads((path.parent / CONFIG).read_text())
    wanted = config["training"]["num_steps"]
    last = max((row["step"] for row in rows), default=0)
    if last < wanted:
        run.problems.append(f"unfinished: step {last} of {wanted}")
    spec = config["logic"] if "logic" in config else config["model"]["logic"]
    logic = _trained_logic(run, path.parent)
    length = config["data"]["length"]
    run.lines += compare_lines.of_training(rows, _label(spec), length, logic)


def _label(spec: Any) -> str:
    """A logic of a config, or those of the layers, in a few words."""
    if isinstance(spec, list):
        return ", ".join(dict.fromkeys(map(_label, spec)))
    options = [f"{key}={value}" for key, value in spec.items() if key != "name"]
    return " ".join([spec["name"], *options])


def _trained_logic(run: Run, folder: Path) -> Any:
    """As its newest checkpoint has it; None, and a word on it, without one."""
    try:
        encoding = read_meta(find_step(folder, None))["encoding"]
    except _DAMAGED as error:
        run.problems.append(str(error))
        return None
    return encoding[0] if len(encoding) == 1 else encoding


def _records(run: Run, path: Path) -> None:
    whole = set()
    for file in sorted((path / RECORDS).glob("*.json")):
        whole.add(file.stem)
        _part(run, file.name, functools.partial(_record, run, file))
    for file in sorted((path / UNITS).glob("*.jsonl")):
        if file.stem not in whole:
            run.problems.append(f"unfinished: {file.stem} has no record yet")


def _record(run: Run, file: Path) -> None:
    run.lines += compare_lines.of_record(records.load(file))


def _scorecard(run: Run, path: Path) -> None:
    for one in load_results(path)["not_run"]:
        run.problems.append(f"not run: {one['evaluation']}: {one['reason']}")
