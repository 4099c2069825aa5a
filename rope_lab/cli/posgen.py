"""PosGen (arXiv:2403.00071, section 5): encodings beyond their training length.

    rope-lab posgen --config=configs/posgen_small.py --workdir=runs/posgen

Trains every cell of the config, all encodings and seeds of a cell in one program, and
writes results.json and, in page/, the published numbers beside the measured ones with
pictures. Killed at any moment, the same command continues.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from rope_lab.cli.config import PosGenStudyConfig
from rope_lab.cli.posgen_cells import (
    Cell,
    load_cell,
    make_cell,
    measure_cell,
    train_cell,
)
from rope_lab.cli.posgen_gain import measure_gain
from rope_lab.cli.posgen_page import SIZES, write_page
from rope_lab.cli.record import (
    commit,
    describe_command,
    describe_machine,
    describe_versions,
)
from rope_lab.evaluation import load_results, save_results
from rope_lab.evaluation.results import SCHEMA_VERSION
from rope_lab.training.meta import differences

RESULTS = "results.json"


def posgen(config: PosGenStudyConfig, workdir: str | Path) -> dict[str, Any]:
    """Trains and measures what is missing, writes the page; returns the results.

    Every cell is made before the first is trained, so that a wrong setting ends the
    run at once.

    Raises:
      ValueError: a wrong setting, or a workdir with results of other settings.
    """
    cells = [make_cell(config, changes) for changes in config.cells]
    _check_names(config.size, cells)
    workdir, run = Path(workdir), _describe_run()  # the code as it is loaded now
    results = _open(workdir / RESULTS, config, cells)
    folder_of_page = Path(config.page or workdir / "page")
    done = {entry["name"] for entry in results["cells"]}
    for number, cell in enumerate(cells, start=1):
        if cell.name in done:
            continue
        print(f"\n=== {number}/{len(cells)} {cell.name}", file=sys.stderr, flush=True)
        splits = load_cell(cell, config.data_dir)
        folder = workdir / cell.name
        trained = train_cell(cell, splits, folder, config.validation_every, cell.name)
        results["cells"].append(measure_cell(cell, splits, *trained, folder))
        results["run"] = run
        save_results(workdir / RESULTS, results)
        write_page(folder_of_page, results)
    if config.gain_steps and "gain" not in results:
        print("\n=== side by side, one by one", file=sys.stderr, flush=True)
        splits = load_cell(cells[0], config.data_dir)
        results["gain"] = measure_gain(cells[0], splits, config.gain_steps)
        save_results(workdir / RESULTS, results)
    print(write_page(folder_of_page, results))
    return results


def _check_names(size: str, cells: list[Cell]) -> None:
    if size not in SIZES:
        raise ValueError(f"size is {size!r}; expected one of {', '.join(SIZES)}")
    names = [cell.name for cell in cells]
    if not names or len(set(names)) != len(names):
        raise ValueError(
            f"cells are {names}; give at least one, and each a sub-task, modulus or "
            "kind of prefixes of its own"
        )


def _open(path: Path, config: PosGenStudyConfig, cells: list[Cell]) -> dict[str, Any]:
    """The results so far; a cell in them must have the settings it is asked for."""
    planned = [cell.name for cell in cells]
    fresh: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "study": "posgen",
        "cells": [],
    }
    results = load_results(path) if path.exists() else fresh
    for entry in results["cells"]:
        for cell in cells:
            lines = []
            if cell.name == entry["name"]:
                lines = differences(entry["settings"], cell.settings(), cell.name)
            if lines:
                raise ValueError(
                    f"{path} was measured with other settings:\n  "
                    + "\n  ".join(lines)
                    + "\nRestore these values, or choose another workdir."
                )
    about = {"size": config.size, "encoding_at": config.encoding_at}
    return results | about | {"planned": planned}


def _describe_run() -> dict[str, Any]:
    return {
        "command": describe_command("posgen"),
        "commit": commit(),
        "machine": describe_machine(),
        "versions": describe_versions(),
    }
