"""The scorecard: one line per evaluation and encoding, and what was not run and why."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from rope_lab.evaluation.leval_tasks import TASKS
from rope_lab.evaluation.records import differences, distinctions
from rope_lab.evaluation.results import save_results
from rope_lab.evaluation.summaries import difference

SCHEMA_VERSION = 1
AVERAGE = "l-eval/average"


def make_scorecard(
    records: Sequence[Mapping[str, Any]], not_run: Sequence[tuple[str, str]]
) -> dict[str, Any]:
    """Plain data: ``lines`` of (evaluation, label, cells by length), and ``not_run``.

    A line is called after its evaluation and, where several of one name were measured
    otherwise or on other documents, what differs.

    A cell has ``value`` and its 95 % ``interval``: perplexity, the share found, or
    L-Eval's percentage; and, but for the first encoding and L-Eval, ``minus_first``: by
    how much the loss in nats, or the share, differs from the first encoding's under
    equal conditions, on the same documents or samples, each weighing the same, with its
    paired interval. Where documents do not fill a length, the cell has how many,
    ``shorter_documents``, and what the longest of all fills of it, ``longest_read`` in
    tokens. L-Eval's average is reported where all six tasks were run.
    """
    first = records[0] if records else {}
    names = _names(records)
    lines = [
        _line(
            record, name, next(one for one in records if not differences(one, record))
        )
        for record, name in zip(records, names, strict=True)
    ]
    averages, reasons = _averages(records)
    return {
        "schema_version": SCHEMA_VERSION,
        "checkpoint": first.get("checkpoint"),
        "train_length": first.get("train_length"),
        "lines": lines + averages,
        "not_run": [
            {"evaluation": name, "reason": reason}
            for name, reason in [*not_run, *reasons]
        ],
    }


def save_scorecard(workdir: Path, scorecard: Mapping[str, Any]) -> None:
    """Writes workdir/scorecard.json, whole or not at all."""
    save_results(workdir / "scorecard.json", dict(scorecard))


def print_scorecard(scorecard: Mapping[str, Any]) -> None:
    """Tables in the terminal: the values, and the paired differences."""
    lines = scorecard["lines"]
    _print("Scorecard: value [95 % interval]", lines, lambda cell: cell)
    paired = [line for line in lines if any(map(_difference, line["cells"].values()))]
    if paired:
        title = "Minus the first encoding, paired: nats per token, or share found"
        _print(title, paired, _difference)
    for missing in scorecard["not_run"]:
        print(f"not run: {missing['evaluation']}: {missing['reason']}")


def _print(
    title: str, lines: Sequence[Any], choose: Callable[[Mapping[str, Any]], Any]
) -> None:
    lengths = sorted({int(n) for line in lines for n in line["cells"]})
    table = Table(title=title)
    table.add_column("evaluation")
    table.add_column("encoding")
    table.add_column("n", justify="right")
    for length in lengths:
        table.add_column(f"{length} tokens", justify="right")
    for line in lines:
        cells = [line["cells"].get(str(length)) for length in lengths]
        shown = [_shown(choose(cell)) if cell else "" for cell in cells]
        table.add_row(line["evaluation"], line["label"], str(line["count"]), *shown)
    Console(width=max(100, 70 + 26 * len(lengths))).print(table)


def _difference(cell: Mapping[str, Any]) -> Mapping[str, Any] | None:
    return cell.get("minus_first")


def _names(records: Sequence[Mapping[str, Any]]) -> list[str]:
    """Evaluations, and of those of one name what tells them apart."""
    names = [record["evaluation"] for record in records]
    alike: dict[str, list[int]] = {}
    for place, name in enumerate(names):
        alike.setdefault(name, []).append(place)
    for name, places in alike.items():
        told = distinctions([records[place] for place in places])
        for place, distinction in zip(places, told, strict=True):
            names[place] = f"{name} {distinction}".rstrip()
    return names


def _line(
    record: Mapping[str, Any], name: str, first: Mapping[str, Any]
) -> dict[str, Any]:
    """first: the first record of equal conditions, which may be this one."""
    cells = {}
    for result in record["results"]:
        if "perplexity" in result:
            value, interval = result["perplexity"], result["perplexity_interval"]
        else:
            value, interval = result["score"], result["score_interval"]
            if record["evaluation"].startswith("l-eval"):
                value, interval = _percent(value), _percent(interval)
        cell = {"value": value, "interval": interval}
        if result.get("shorter_documents"):
            cell |= {key: result[key] for key in ("shorter_documents", "longest_read")}
        if record is not first:
            cell |= _minus(result, first)
        cells[str(result["length"])] = cell
    return {
        "evaluation": name,
        "label": record["label"],
        "count": record["count"],
        "cells": cells,
    }


def _minus(result: Mapping[str, Any], first: Mapping[str, Any]) -> dict[str, Any]:
    """The paired difference to the same length of another record, if there is one."""
    values = "per_document_loss" if "perplexity" in result else "scores"
    if first["evaluation"].startswith("l-eval"):
        return {}  # questions of one document are not independent
    for other in first["results"]:
        if other["length"] == result["length"]:
            units = np.arange(len(result[values]))
            found = difference(result[values], other[values], units)
            pair = {"value": found["mean"], "interval": found["interval"]}
            if result[values] == other[values]:
                pair["interval"] = None  # says nothing of how sure a zero is
            return {"minus_first": pair}
    return {}


def _percent(values: Any) -> Any:
    if values is None:
        return None
    return np.round(100 * np.asarray(values), 4).tolist()


def _averages(records) -> tuple[list[dict[str, Any]], list[tuple[str, str]]]:
    """The plain mean of the six tasks for each encoding that has them all."""
    found: dict[str, dict[str, Mapping[str, Any]]] = {}
    for record in records:
        kind, _, stem = record["evaluation"].partition("/")
        if kind == "l-eval":
            found.setdefault(record["label"], {})[stem] = record
    lines, reasons = [], []
    for label, tasks in found.items():
        missing = [stem for stem in TASKS if stem not in tasks]
        if missing:
            names = ", ".join(f"{stem}.jsonl" for stem in missing)
            reasons.append((AVERAGE, f"{label}: not reported without {names}"))
            continue
        results = [record["results"][0] for record in tasks.values()]
        mean = float(np.mean([result["score"] for result in results]))
        cell = {"value": _percent(mean), "interval": None}
        count = sum(record["count"] for record in tasks.values())
        cells = {str(results[0]["length"]): cell}
        line = {"evaluation": AVERAGE, "label": label, "count": count, "cells": cells}
        lines.append(line)
    return lines, reasons


def _shown(cell: Mapping[str, Any] | None) -> str:
    if cell is None:
        return ""
    text = f"{cell['value']:.4g}"
    if cell["interval"] is not None:
        low, high = cell["interval"]
        text += f" [{low:.4g}, {high:.4g}]"
    if "longest_read" in cell:
        text += f"\n{cell['shorter_documents']} shorter, longest {cell['longest_read']}"
    return text
