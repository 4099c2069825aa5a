"""A checkpoint under many position logics, at many lengths, row by row.

Each finished row is written to results.json at once; the same call later measures
only the rows that are missing or whose logic, checkpoint or text has changed.
"""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from rope_lab.evaluation.context import context_use, doublings
from rope_lab.evaluation.fingerprints import describe_logic, digest
from rope_lab.evaluation.positions import (
    batch_size_for,
    per_token,
    targets_checksum,
)
from rope_lab.evaluation.progress import RowProgress, Work
from rope_lab.evaluation.results import (
    NATURAL,
    SCHEMA_VERSION,
    Results,
    document_ids,
    load_results,
    save_results,
    truncated_row,
)
from rope_lab.evaluation.summaries import compare, copies, summarise
from rope_lab.evaluation.truncated import truncated


class Windows(Protocol):
    """Evaluation windows of one length; ``rope_lab.data.evaluation_windows`` cuts them.

    tokens is int32 [N, T+1], document_ids [N]. Where each window is one passage of
    repeat_length tokens (that attribute may be None or missing), its first copy and the
    later ones are told apart.
    """

    @property
    def tokens(self) -> np.ndarray: ...
    @property
    def document_ids(self) -> np.ndarray: ...


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
    kept, context = _finished(path, prints)
    work = Work(_tokens_to_score(targets, rows, kept, context, train_length), progress)
    results = {
        "schema_version": SCHEMA_VERSION,
        "train_length": train_length,
        "lengths": sorted(windows_by_length),
        "targets": targets,
        "windows": _name_windows(windows_by_length),
        "planned": [row.label for row in rows],
        "rows": [],
        "context_use": context,
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
    if context is None and _context_row(rows, targets, train_length):
        row = _context_row(rows, targets, train_length)
        results["context_use"] = {
            "model": row.model,
            "fingerprint": prints[row.label],
        } | _context_use(
            graphdef,
            models[row.model].params,
            row.logic_for(train_length),
            windows_by_length[train_length][NATURAL],
            work,
        )
    save_results(path, results)
    return results


def _context_row(rows, targets, train_length: int) -> Row | None:
    """The row whose model's use of context is measured, where there is text for it."""
    if NATURAL not in targets.get(str(train_length), {}):
        return None
    return next((row for row in rows if row.truncated), None)


def _context_use(graphdef, params, logic, windows, work) -> dict[str, Any]:
    tokens = np.asarray(windows.tokens)
    length = tokens.shape[1] - 1
    count = tokens[:, 1:].size * len(doublings(length))
    update = work.batches("use of context", length, NATURAL, count)
    return context_use(graphdef, params, tokens, windows.document_ids, logic, update)


def _tokens_to_score(targets, rows, kept, context, train_length: int) -> int:
    """Targets of all that is left to measure, so that progress ends at 1."""
    per_row = sum(t["tokens"] for kinds in targets.values() for t in kinds.values())
    total = per_row * sum(row.label not in kept for row in rows)
    if context is None and _context_row(rows, targets, train_length):
        tokens = targets[str(train_length)][NATURAL]["tokens"]
        total += tokens * len(doublings(train_length))
    return total


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
            repeat_length = getattr(windows, "repeat_length", None)
            if repeat_length is not None:
                numbers["copies"] = copies(hit, windows.document_ids, repeat_length)
            numbers["targets_checksum"] = targets_checksum(tokens[:, 1:])
            numbers["logic"] = describe_logic(logic)
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


def _describe_targets(windows_by_length) -> dict[str, Any]:
    def describe(windows: Windows) -> dict[str, Any]:
        targets = _targets(windows)
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


def _targets(windows: Windows) -> np.ndarray:
    return np.asarray(windows.tokens)[:, 1:]


def _name_windows(windows_by_length) -> dict[str, Any]:
    """A checksum of each window's targets, by which runs find those they share."""
    return {
        str(length): {
            kind: [targets_checksum(row[None])[:16] for row in _targets(windows)]
            for kind, windows in kinds.items()
        }
        for length, kinds in sorted(windows_by_length.items())
    }


def _finished(
    path: str | os.PathLike, prints: Mapping[str, str]
) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """Rows of an earlier call that are still true, by label; and the use of context."""
    if not Path(path).exists():
        return {}, None
    earlier = load_results(path)
    rows = earlier["rows"]
    kept = {r["label"]: r for r in rows if prints.get(r["label"]) == r["fingerprint"]}
    context = earlier["context_use"]
    known = context is not None and context["fingerprint"] in prints.values()
    return kept, context if known else None


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


def _fingerprint(row: Row, models, targets, train_length: int) -> str:
    """Changes whenever the row would have to be measured again."""
    logics = {length: describe_logic(row.logic_for(int(length))) for length in targets}
    checkpoint = models[row.model].checkpoint_id
    facts = [logics, checkpoint, targets, train_length, row.truncated, row.model]
    return digest([SCHEMA_VERSION, *facts])
