"""A checkpoint under many position logics, at many lengths, row by row.

Each finished row is written to results.json at once; the same call later measures
only the rows that are missing or whose logic, checkpoint or text has changed.
"""

import hashlib
import inspect
import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import jax
import numpy as np

from rope_lab.evaluation.context import context_use
from rope_lab.evaluation.positions import (
    batch_size_for,
    per_token,
    targets_checksum,
)
from rope_lab.evaluation.results import (
    NATURAL,
    SCHEMA_VERSION,
    Results,
    document_ids,
    load_results,
    save_results,
    truncated_row,
)
from rope_lab.evaluation.summaries import compare, summarise
from rope_lab.evaluation.truncated import truncated
from rope_lab.logic import PositionLogic


class Windows(Protocol):
    """Evaluation windows of one length; ``rope_lab.data.evaluation_windows`` cuts them.

    tokens is int32 [N, T+1], document_ids [N].
    """

    tokens: np.ndarray
    document_ids: np.ndarray


class Model(NamedTuple):
    """Parameters, and a name of the checkpoint they came from that no other has."""

    params: Any
    checkpoint_id: str


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    label: str  # shown everywhere; unique
    logic_for: Callable[[int], Any]  # length -> position logic
    model: str = "pretrained"  # key of the models
    truncated: bool = False  # True: windows of the training length, see truncated.py


class RowProgress(NamedTuple):
    """Where an evaluation stands; fraction and seconds_left are of the whole table."""

    label: str
    length: int
    kind: str
    fraction: float
    seconds_left: float


class _Work:
    """Turns tokens scored into a fraction and a time left."""

    def __init__(self, total: int, report: Callable[[RowProgress], None] | None):
        self.total, self.done, self.report = total, 0, report
        self.start = time.monotonic()

    def batches(self, label: str, length: int, kind: str, tokens: int):
        """The per-batch callback of one cell of ``tokens`` targets."""
        before = self.done

        def update(done: int, count: int) -> None:
            self.done = before + tokens * done // count
            fraction = self.done / self.total
            spent = time.monotonic() - self.start
            left = spent * (1 - fraction) / fraction if fraction else float("inf")
            if self.report is not None:
                self.report(RowProgress(label, length, kind, fraction, left))

        return update


def evaluate_rows(
    graphdef: Any,
    models: Mapping[str, Model],
    rows: Sequence[Row],
    windows_by_length: Mapping[int, Mapping[str, Windows]],
    train_length: int,
    path: str | os.PathLike,
    *,
    batch_size: Callable[[int], int] = batch_size_for,
    progress: Callable[[RowProgress], None] | None = None,
) -> Results:
    """Measures every row at every length on every kind of text.

    If there are natural windows of the training length and a truncated row, how much
    context its model uses is measured on them, too.

    Args:
      graphdef: the definition all models share.
      models: parameters by name, as the rows call them.
      rows: what to measure, in the order of the table.
      windows_by_length: length in tokens -> kind of text ("natural", "repeated") ->
        windows of that length. All rows score the same targets.
      train_length: tokens; splits positions into inside and beyond.
      path: results.json, rewritten after each row.
      batch_size: length -> windows per call.
      progress: called after each batch.

    Returns:
      The results, as written; see ``rope_lab.evaluation.results``.

    Raises:
      ValueError: for two rows of one label, a row of an unknown model, windows of the
        wrong length, or a results file of another schema.
    """
    _check(models, rows, windows_by_length)
    targets = _describe_targets(windows_by_length)
    prints = {
        row.label: _fingerprint(row, models, targets, train_length) for row in rows
    }
    earlier = load_results(path) if Path(path).exists() else {"rows": []}
    kept = _finished(earlier["rows"], prints)
    per_row = sum(t["tokens"] for kinds in targets.values() for t in kinds.values())
    work = _Work(per_row * max(1, len(rows) - len(kept)), progress)
    results = {
        "schema_version": SCHEMA_VERSION,
        "train_length": train_length,
        "lengths": sorted(windows_by_length),
        "targets": targets,
        "rows": [],
        "context_use": None,
    }
    for row in rows:
        if row.label not in kept:
            start = time.monotonic()
            cells = _measure(
                graphdef, models[row.model].params, row, windows_by_length,
                train_length, batch_size, work,
            )  # fmt: skip
            kept[row.label] = {
                "label": row.label,
                "model": row.model,
                "checkpoint": models[row.model].checkpoint_id,
                "truncated": row.truncated,
                "fingerprint": prints[row.label],
                "seconds": round(time.monotonic() - start, 2),
                "cells": cells,
            }
        results["rows"] = [kept[r.label] for r in rows if r.label in kept]
        _compare_with_truncated(results)
        save_results(path, results)
    known = earlier.get("context_use")
    results["context_use"] = _context_use(
        graphdef, models, rows, windows_by_length, prints, train_length, known
    )
    save_results(path, results)
    return results


def _context_use(
    graphdef, models, rows, windows_by_length, prints, train_length, known
) -> dict[str, Any] | None:
    """Context use of the truncated row's model; what is known is not measured again."""
    windows = windows_by_length.get(train_length, {}).get(NATURAL)
    row = next((row for row in rows if row.truncated), None)
    if row is None or windows is None:
        return None
    if known is not None and known["fingerprint"] == prints[row.label]:
        return known
    found = context_use(
        graphdef,
        models[row.model].params,
        windows.tokens,
        windows.document_ids,
        row.logic_for(train_length),
    )
    return {"model": row.model, "fingerprint": prints[row.label]} | found


def _measure(
    graphdef, params, row, windows_by_length, train_length, batch_size, work
) -> dict[str, Any]:
    """The cells of one row: length -> kind of text -> numbers."""
    cells: dict[str, Any] = {}
    for length, kinds in sorted(windows_by_length.items()):
        logic = row.logic_for(length)
        for kind, windows in kinds.items():
            tokens = np.asarray(windows.tokens)
            count = tokens[:, 1:].size
            update = work.batches(row.label, length, kind, count)
            if row.truncated:
                size = batch_size(min(train_length, length))
                loss, hit = truncated(
                    graphdef, params, tokens, logic, train_length, size, update
                )
            else:
                size = batch_size(length)
                loss, hit = per_token(graphdef, params, tokens, logic, size, update)
            numbers = summarise(
                loss, hit, np.asarray(windows.document_ids), train_length
            )
            numbers["targets_checksum"] = targets_checksum(tokens[:, 1:])
            numbers["logic"] = _describe(logic)
            cells.setdefault(str(length), {})[kind] = numbers
    return cells


def _compare_with_truncated(results: Results) -> None:
    """Fills each cell's ``minus_truncated``; null until that row is there."""
    reference = truncated_row(results)
    for row in results["rows"]:
        for length, kinds in row["cells"].items():
            for kind, cell in kinds.items():
                cell["minus_truncated"] = reference and compare(
                    cell,
                    reference["cells"][length][kind],
                    document_ids(results, int(length), kind),
                )


def _describe(logic: Any) -> Any:
    """A logic as plain data, for the record and to notice a change.

    What has no such form, a plain callable or bands put together by hand, is described
    by its name and a checksum of its source or values.
    """
    if isinstance(logic, (tuple, list)):
        return [_describe(x) for x in logic]
    if isinstance(logic, PositionLogic):
        if logic.record.value is not None:
            return logic.to_dict()
        leaves, structure = jax.tree.flatten(logic)
        values = [np.asarray(leaf).tolist() for leaf in leaves]
        return {"name": logic.name, "sha256": _digest(f"{structure}{values}")}
    try:
        source = inspect.getsource(logic)
    except (OSError, TypeError):
        source = repr(logic)
    name = getattr(logic, "__qualname__", type(logic).__qualname__)
    return {"callable": name, "sha256": _digest(source)}


def _describe_targets(windows_by_length) -> dict[str, Any]:
    def describe(windows: Windows) -> dict[str, Any]:
        targets = np.asarray(windows.tokens)[:, 1:]
        ids = np.asarray(windows.document_ids).tolist()
        return {
            "checksum": targets_checksum(targets),
            "tokens": targets.size,
            "windows": len(targets),
            "documents": len(set(ids)),
            "document_ids": ids,
        }

    return {
        str(length): {kind: describe(windows) for kind, windows in kinds.items()}
        for length, kinds in sorted(windows_by_length.items())
    }


def _fingerprint(row: Row, models, targets, train_length: int) -> str:
    """Changes whenever the row would have to be measured again."""
    logics = {length: _describe(row.logic_for(int(length))) for length in targets}
    checkpoint = models[row.model].checkpoint_id
    facts = [logics, checkpoint, targets, train_length, row.truncated, row.model]
    return _digest(json.dumps([SCHEMA_VERSION, *facts], sort_keys=True))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _finished(rows: list[dict], prints: Mapping[str, str]) -> dict[str, Any]:
    """Rows of an earlier call that are still true, by label."""
    return {r["label"]: r for r in rows if prints.get(r["label"]) == r["fingerprint"]}


def _check(models, rows, windows_by_length) -> None:
    labels = [row.label for row in rows]
    twice = sorted({label for label in labels if labels.count(label) > 1})
    if twice:
        raise ValueError(f"two rows are called {twice[0]!r}; labels must be unique")
    if sum(row.truncated for row in rows) > 1:
        raise ValueError(
            "several rows are truncated; expected at most one to compare to"
        )
    for row in rows:
        if row.model not in models:
            raise ValueError(
                f"row {row.label!r} asks for model {row.model!r}; "
                f"models holds {sorted(models)}"
            )
    for length, kinds in windows_by_length.items():
        for kind, windows in kinds.items():
            width = np.shape(windows.tokens)[1]
            if width != length + 1:
                raise ValueError(
                    f"the {kind} windows under length {length} hold {width} tokens; "
                    f"expected {length + 1}, one more than the length"
                )
