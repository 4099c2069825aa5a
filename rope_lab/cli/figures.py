"""The pictures of a report: which rows they show, and where they lie."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rope_lab import plots, rotary
from rope_lab.cli.checkpoints import Loaded
from rope_lab.evaluation import findings
from rope_lab.evaluation.results import cell, truncated_row
from rope_lab.logic import logic_from_dict, relative_positions

_OVERVIEW_ROWS = 6


def draw_figures(
    results: dict[str, Any],
    folder: Path,
    pretrained: Loaded,
    metrics: Mapping[str, Sequence[Mapping[str, float]]],
) -> dict[str, Path]:
    """Write every PNG into `folder`; returns name -> path, for `write_report`.

    metrics: model label -> rows of its metrics.jsonl.
    """
    longest = max(results["lengths"])
    figures = {
        "overview": plots.loss_by_position(
            results, folder / "overview.png", labels=_overview(results)
        ),
        "loss_by_position": plots.loss_by_position(
            results, folder / "loss_by_position.png"
        ),
        "excess_by_position": plots.excess_by_position(
            results, folder / "excess_by_position.png"
        ),
        "training": plots.training_curves(_curves(metrics), folder / "training.png"),
    }
    if pretrained.train_length in results["lengths"]:
        figures["context_use"] = plots.context_use(results, folder / "context_use.png")
    if "repeated" in results["targets"][str(longest)]:
        figures["accuracy"] = plots.accuracy_by_text(results, folder / "accuracy.png")
    logics = _banded_logics(results, longest)
    length = 2 * pretrained.train_length
    matrices = {
        label: relative_positions(logic, length)
        for label, logic in logics.items()
        if label in _distinct_matrices(logics)
    }
    figures["matrices"] = plots.relative_position_matrices(
        matrices, pretrained.train_length, folder / "matrices.png"
    )
    figures["wavelengths"] = plots.wavelengths(
        _frequencies(pretrained, logics),
        pretrained.train_length,
        folder / "wavelengths.png",
    )
    return figures


def _overview(results: dict[str, Any]) -> list[str]:
    """Truncated, plain, the best tuned row, and zero-shot rows from best to worst."""
    longest = max(results["lengths"])
    fixed = [truncated_row(results), findings.plain_row(results)]
    fixed = [row["label"] for row in fixed if row is not None]
    pretrained = results["rows"][0]["model"]
    rest = sorted(
        (row for row in results["rows"] if row["label"] not in fixed),
        key=lambda row: cell(row, longest)["loss"],
    )
    tuned = [row["label"] for row in rest if row["model"] != pretrained][:1]
    zero_shot = [row["label"] for row in rest if row["model"] == pretrained]
    room = min(_OVERVIEW_ROWS - len(fixed) - len(tuned), len(zero_shot))
    places = np.linspace(0, len(zero_shot) - 1, room).round().astype(int)
    return fixed + [zero_shot[place] for place in places] + tuned


def _banded_logics(results: dict[str, Any], length: int) -> dict[str, Any]:
    """The logic of each row at a length, where it is one logic for all layers."""
    logics = {}
    for row in results["rows"]:
        described = row["cells"][str(length)]["natural"]["logic"]
        if not row["truncated"] and isinstance(described, dict):
            logic = logic_from_dict(described)
            if any(band.frequencies.planes for band in logic.bands):
                logics[row["label"]] = logic
    return logics


def _distinct_matrices(logics: Mapping[str, Any]) -> list[str]:
    """One label per matrix: logics that differ in frequencies alone have the same."""
    seen, labels = [], []
    for label, logic in logics.items():
        shape = [
            (b.alpha, b.beta, b.first_key, b.last_key, b.position_unit)
            for b in logic.bands
        ]
        if shape not in seen:
            seen.append(shape)
            labels.append(label)
    return labels[:6]


def _frequencies(pretrained: Loaded, logics: Mapping[str, Any]) -> dict[str, Any]:
    """The pretrained frequencies, and those of the YaRN rows if the table has any."""
    own = pretrained.logic()
    own = own[0] if isinstance(own, tuple) else own
    chosen = {"RoPE, as trained": own.bands[0].frequencies}
    yarn = [logic for logic in logics.values() if logic.name == "yarn"]
    if yarn:
        plain = yarn[0].bands[0].frequencies
        chosen["YaRN"] = plain
        chosen["Resonance-YaRN"] = rotary.resonance(plain)
    return chosen


def _curves(metrics: Mapping[str, Sequence[Mapping[str, float]]]) -> dict[str, Any]:
    """Pretraining in one panel, fine-tunings together in another."""
    panels: dict[str, dict[str, tuple[list, list]]] = {}
    for label, rows in metrics.items():
        title = "Pretraining" if label == "pretrained" else "Fine-tuning"
        points = [(row["step"], row["loss"]) for row in rows if "loss" in row]
        steps, losses = [p[0] for p in points], [p[1] for p in points]
        panels.setdefault(title, {})[label] = (steps, losses)
    return panels
