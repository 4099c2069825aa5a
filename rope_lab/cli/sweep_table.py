"""What a sweep measured, collected from the folders of its cells, and its table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rope_lab.cli.grid import Cell
from rope_lab.cli.record import (
    commit,
    describe_command,
    describe_machine,
    describe_versions,
)
from rope_lab.cli.sweep_members import GROUPS
from rope_lab.evaluation import load_results
from rope_lab.evaluation.results import SCHEMA_VERSION
from rope_lab.training import read_metrics
from rope_lab.training.folders import FOLDER, steps_in
from rope_lab.training.progress import format_seconds


def is_finished(workdir: Path, cell: Cell) -> bool:
    """Whether the state after the cell's last update is saved."""
    steps = steps_in(workdir / cell.name / FOLDER)
    return cell.config.training.num_steps in steps


def collect(
    workdir: Path, cells: Sequence[Cell], grid: str, failures: dict[str, str]
) -> dict[str, Any]:
    """The results of a sweep as plain values, from what its cells' folders hold."""
    paths = sorted((workdir / GROUPS).glob("*.json"))
    asked = {cell.name for cell in cells}
    groups = [load_results(path) for path in paths]
    groups = [group for group in groups if set(group["cells"]) <= asked]
    return {
        "schema_version": SCHEMA_VERSION,
        "study": "sweep",
        "grid": grid,
        "cells": [_row(workdir, cell, groups, failures) for cell in cells],
        "groups": groups,
        "run": {
            "command": describe_command("sweep"),
            "commit": commit(),
            "machine": describe_machine(),
            "versions": describe_versions(),
        },
    }


def _row(workdir: Path, cell: Cell, groups, failures) -> dict[str, Any]:
    """One cell; seconds and tokens are summed over its rows of metrics."""
    rows = read_metrics(workdir / cell.name)
    trained = [row for row in rows if "loss" in row]
    measured = [row for row in rows if "eval/loss" in row]
    seconds = tokens = 0.0
    before = 0
    for row in trained:
        block = (row["step"] - before) * row["tokens"]
        tokens, seconds = tokens + block, seconds + block / row["tokens_per_second"]
        before = row["step"]
    beside = [len(g["cells"]) for g in groups if cell.name in g["cells"]]
    return {
        "name": cell.name,
        "values": cell.values,
        "failure": failures.get(cell.name),
        "step": before,
        "loss": trained[-1]["loss"] if trained else None,
        "held_out_loss": measured[-1]["eval/loss"] if measured else None,
        "tokens_per_second": tokens / seconds if seconds else None,
        "seconds": seconds,
        "side_by_side": beside[-1] if beside else 1,
    }


def table(results: dict[str, Any]) -> str:
    """The page: a line per cell, what sharing a program gained, what failed."""
    lines = [
        f"`--grid='{results['grid']}'`",
        "",
        "| cell | final loss | held-out loss | tokens/s | wall time | side by side |",
        "|---|---|---|---|---|---|",
        *(_line(row) for row in results["cells"]),
        "",
        "Losses in nats per token; the final loss is the mean since the row of metrics "
        "before the last. Cells side by side share their wall time, and tokens/s is "
        "each cell's own: the group does as many times that.",
    ]
    for group in results["groups"]:
        lines += ["", _gain(group)]
    failed = [row for row in results["cells"] if row["failure"]]
    if failed:
        lines += ["", "Failed, with the numbers up to there:", ""]
        lines += [f"- {row['name']}: {row['failure']}" for row in failed]
    return "\n".join(lines) + "\n"


def _line(row: dict[str, Any]) -> str:
    speed = row["tokens_per_second"]
    cells = [
        row["name"] + (" (failed)" if row["failure"] else ""),
        _number(row["loss"]),
        _number(row["held_out_loss"]),
        "" if speed is None else f"{speed:,.0f}",
        format_seconds(row["seconds"]),
        str(row["side_by_side"]),
    ]
    return f"| {' | '.join(cells)} |"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _gain(group: dict[str, Any]) -> str:
    count = len(group["cells"])
    together, alone = group["step_seconds"], group["member_step_seconds"]
    return (
        f"Side by side, {', '.join(group['cells'])}: a step of all {count} took "
        f"{1e3 * together:.1f} ms, a step of one by itself {1e3 * alone:.1f} ms, so "
        f"one program is {count * alone / together:.2f} times as fast as {count} runs "
        f"one after another (medians of {group['steps']} compiled steps each, in one "
        "process)."
    )
