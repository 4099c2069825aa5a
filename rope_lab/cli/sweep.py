"""A grid over a config of `pretrain`: one folder per cell, one table.

    rope-lab sweep --config=configs/pretrain.py --workdir=runs/sweep \\
        --grid='model.logic=[rope,nope,{"name":"yarn","scale":8,"train_length":128}],
                seed=[0,1]'

The example makes six cells. Those of `rope` and `yarn` differ in frequencies and seeds
alone, so the four train side by side as one mapped program; `nope` does not rotate, and
its two train side by side too. A cell that shares its program with no other is a
`pretrain` of its own. Each group is a process; they run one after another, or --workers
at once. What may differ within a group is the logic's numbers, `seed` and `data.seed`.

The folder of a cell is what `pretrain` writes, so `finetune` and `extrapolate` take it.
Killed at any moment, the same command continues; a larger grid in the same workdir
trains what is new. A cell that fails is named at the end, and the others are not lost.
The table is in table.md, its numbers in results.json.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any

import rope_lab
from rope_lab.cli.config import PretrainConfig, SweepConfig
from rope_lab.cli.grid import Cell, config_file, make_cells
from rope_lab.cli.sweep_members import GROUPS
from rope_lab.cli.sweep_table import collect, is_finished, table
from rope_lab.evaluation import load_results, save_results
from rope_lab.evaluation.results import SCHEMA_VERSION
from rope_lab.training import MeshConfig
from rope_lab.training.meta import differences
from rope_lab.training.sweep import program_of

PLAN, RESULTS, TABLE = "sweep.json", "results.json", "table.md"


def sweep(config: SweepConfig, workdir: str | Path) -> dict[str, Any]:
    """Trains what is missing, writes the table; returns its numbers.

    Raises:
      ValueError: a wrong grid or workdir, before any work; at the end, cells that
        failed, with the reason of each.
    """
    if config.workers < 1:
        raise ValueError(f"--workers is {config.workers}; expected at least 1")
    fields = {field.name for field in dataclasses.fields(PretrainConfig)}
    base = PretrainConfig(**{name: getattr(config, name) for name in fields})
    cells = make_cells(base, config.grid)
    workdir = Path(workdir)
    _prepare(workdir, base, cells)
    jobs = group_cells([cell for cell in cells if not is_finished(workdir, cell)])
    failures = _run_all(workdir, jobs, config.workers)
    results = collect(workdir, cells, config.grid, failures)
    save_results(workdir / RESULTS, results)
    text = table(results)
    (workdir / TABLE).write_text(text, encoding="utf-8")
    print(text)
    if failures:
        lines = [f"{name}: {reason}" for name, reason in failures.items()]
        raise ValueError(
            f"{len(failures)} of {len(cells)} cells failed; the others are in "
            f"{workdir / TABLE}. The same command tries these again:\n  "
            + "\n  ".join(lines)
        )
    return results


def _prepare(workdir: Path, base: PretrainConfig, cells: Sequence[Cell]) -> None:
    """Writes the plan and every cell's config; refuses a workdir of another plan."""
    path, settings = workdir / PLAN, dataclasses.asdict(base)
    plan = {"schema_version": SCHEMA_VERSION, "config": settings}
    if path.exists():
        lines = differences(load_results(path)["config"], settings)
        lines = [line.replace("checkpoint has", "the sweep has") for line in lines]
        if lines:
            raise ValueError(
                f"{workdir} belongs to a sweep over another config:\n  "
                + "\n  ".join(lines)
                + "\nRestore these values, or choose another workdir."
            )
    save_results(path, plan)
    for cell in cells:
        folder = workdir / cell.name
        folder.mkdir(exist_ok=True)
        (folder / "config.py").write_text(config_file(cell), encoding="utf-8")


def group_cells(cells: Sequence[Cell]) -> list[list[Cell]]:
    """Cells of equal program together, in the order of their first.

    A bias stays by itself: what it learns is part of the parameters. So does a cell
    that wants a mesh of its own, a profile or its best checkpoints.
    """
    groups: list[tuple[Any, list[Cell]]] = []
    for cell in cells:
        key = _program(cell)
        found = [group for known, group in groups if key is not None and known == key]
        if found:
            found[0].append(cell)
        else:
            groups.append((key, [cell]))
    return [group for _, group in groups]


def _program(cell: Cell) -> Any:
    logics = cell.logic if isinstance(cell.logic, tuple) else (cell.logic,)
    if any(logic.bias is not None for logic in logics):
        return None
    training = cell.config.training
    if training.profile or training.keep_best or cell.config.mesh != MeshConfig():
        return None
    settings = dataclasses.asdict(cell.config)
    del settings["seed"], settings["model"]["logic"], settings["data"]["seed"]
    return settings, program_of(cell.logic)


def _run_all(workdir: Path, jobs: list[list[Cell]], workers: int) -> dict[str, str]:
    """Runs every group; returns why cells failed, by name."""
    failures: dict[str, str] = {}
    with _Processes() as processes, ThreadPoolExecutor(workers) as pool:
        try:
            done = [pool.submit(_run, workdir, job, processes) for job in jobs]
            for future in done:
                failures |= future.result()
        except BaseException:
            processes.end()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return failures


def _run(workdir: Path, job: list[Cell], processes: _Processes) -> dict[str, str]:
    """One group in a process; its lines pass through to standard error."""
    with contextlib.ExitStack() as stack:
        locks = [
            stack.enter_context((workdir / cell.name / "lock").open("w"))
            for cell in job
        ]
        for cell, lock in zip(job, locks, strict=True):
            _acquire(cell.name, lock, processes.stopped)
        job = [cell for cell in job if not is_finished(workdir, cell)]
        if not job or processes.stopped.is_set():
            return {}
        # The process holds the locks, too: should this one be killed, that one goes on,
        # and nobody trains the same cell beside it.
        files = [lock.fileno() for lock in locks]
        status, last = processes.run(_command(workdir, job), files)
    return _failures(workdir, job, status, last)


def _acquire(name: str, lock: IO[str], stopped: threading.Event) -> None:
    """Waits for a process that a killed sweep has left behind."""
    told = False
    while not stopped.is_set():
        try:
            return fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not told:
                print(f"{name}: waits for the process that trains it", file=sys.stderr)
            told = True
            stopped.wait(0.2)


def _command(workdir: Path, job: list[Cell]) -> list[str]:
    python = [sys.executable, "-m"]
    if len(job) > 1:
        names = [cell.name for cell in job]
        return [*python, "rope_lab.cli.sweep_members", str(workdir), *names]
    folder = workdir / job[0].name
    options = [f"--config={folder / 'config.py'}", f"--workdir={folder}"]
    return [*python, "rope_lab.cli.main", "pretrain", *options]


def _python_path() -> str:
    """With the folder this package is imported from, installed or not."""
    here = str(Path(rope_lab.__file__).parents[1])
    return os.pathsep.join([here, *filter(None, [os.environ.get("PYTHONPATH")])])


def _failures(workdir: Path, job, status: int, last: str) -> dict[str, str]:
    """Of cells that are not finished: their own reason, or that of the process."""
    missing = [cell.name for cell in job if not is_finished(workdir, cell)]
    reasons: dict[str, str] = {}
    for path in (workdir / GROUPS).glob("*.json"):
        values = load_results(path)
        if values["cells"] == [cell.name for cell in job]:
            reasons = values["failures"]
    if status < 0:
        last = f"killed by signal {-status} ({signal.Signals(-status).name})"
    common = last.removeprefix("error: ") or f"ended with status {status}"
    return {name: reasons.get(name, common) for name in missing}


class _Processes:
    """What the sweep has started. SIGTERM is passed on, so that it saves; see `end`."""

    def __init__(self):
        self.stopped = threading.Event()
        self._running: list[subprocess.Popen] = []

    def run(self, command: list[str], files: list[int]) -> tuple[int, str]:
        """Status and last line of a command that keeps some files open."""
        process = subprocess.Popen(
            command,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": _python_path()},
            pass_fds=files,
        )
        self._running.append(process)
        last = ""
        for line in process.stderr:
            print(line, end="", file=sys.stderr, flush=True)
            last = line.strip() or last
        return process.wait(), last

    def end(self) -> None:
        """Ends what still runs, and lets nothing begin."""
        self.stopped.set()
        for process in self._running:
            if process.poll() is None:
                process.terminate()

    def __enter__(self) -> _Processes:
        self._before = signal.signal(signal.SIGTERM, self._exit)
        return self

    def __exit__(self, *_) -> None:
        signal.signal(signal.SIGTERM, self._before)
        self.end()

    def _exit(self, *_) -> None:
        self.end()
        raise SystemExit(128 + signal.SIGTERM)
