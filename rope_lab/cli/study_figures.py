"""The pictures of a study's page: which rows they show, and where they lie."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from rope_lab import plots
from rope_lab.evaluation.article import STEPS, SUFFIXES, WINDOWS
from rope_lab.evaluation.claims import has_learned_to_copy, kinds
from rope_lab.evaluation.combine import model_labels, of_model
from rope_lab.evaluation.findings import plain_row
from rope_lab.evaluation.gaps import loss_increase, row_gaps
from rope_lab.evaluation.results import NATURAL, Results, cell, truncated_row
from rope_lab.logic import logic_from_dict
from rope_lab.rotary import critical_dimension

_MANY = 6  # rows from which a model has pictures of its own
_PANELS = 24  # of one picture

USES = {"": "log n off", " †": "log n at test", ", log n": "log n trained"}


def draw_figures(results: Results, folder: Path) -> dict[str, Path]:
    """Write every PNG into `folder`; returns caption -> path, in the page's order."""
    figures = _ablations(results, folder) | _positions(results, folder)
    return figures | _gaps(results, folder)


def _ablations(results: Results, folder: Path) -> dict[str, Path]:
    length = results["train_length"]
    labels = {row["label"] for row in results["rows"]}
    windows = {
        USES[suffix]: {
            length * tokens / WINDOWS["L"]: f"ReRoPE w={name}{suffix}"
            for name, tokens in WINDOWS.items()
        }
        for suffix in SUFFIXES
    }
    steps = {
        f"w={name}": {float(k): f"Leaky ReRoPE w={name} k={k}, log n" for k in STEPS}
        for name in ("L/8", "L/4", "L/2")
    }
    figures = {}
    for name, curves, xlabel, references in (
        ("w", windows, "window w of ReRoPE, tokens", ("NTK-mixed", "NTK-mixed, log n")),
        ("k", steps, "step k of Leaky ReRoPE", ("ReRoPE w=L/4, log n",)),
    ):
        curves = {
            curve: points
            for curve, points in curves.items()
            if labels & set(points.values())
        }
        if curves:
            caption = f"Accuracy at the longest length against {xlabel}."
            path = folder / f"accuracy-against-{name}.png"
            drawn = {label for points in curves.values() for label in points.values()}
            figures[caption] = plots.accuracy_against(
                results, curves, path, xlabel, references, _countable(results, drawn)
            )
    return figures


def _countable(results: Results, labels: set[str]) -> list[str]:
    """Kinds of text on which the models of all these rows count."""
    models = {row["model"] for row in results["rows"] if row["label"] in labels}
    copying = all(has_learned_to_copy(results, model) for model in models)
    return [kind for kind in kinds(results) if kind == NATURAL or copying]


def _positions(results: Results, folder: Path) -> dict[str, Path]:
    """A picture per kind of text and model; models of few rows share one."""
    models = model_labels(results)
    many = [m for m in models if len(_shown(results, m)) > _MANY]
    figures = {}
    for kind in kinds(results):
        copying = [
            m for m in models if kind == NATURAL or has_learned_to_copy(results, m)
        ]
        stem = f"accuracy-{kind.replace(' ', '-')}"
        for model in copying:
            if model not in many:
                continue
            for part, labels in enumerate(_chunks(_shown(results, model)), start=1):
                caption = f"Accuracy by position, {kind} text, model {model!r}, {part}."
                path = folder / f"{stem}-{models.index(model)}-{part}.png"
                figures[caption] = plots.accuracy_by_position(
                    of_model(results, model), path, kind, labels
                )
        labels = [n for m in copying if m not in many for n in _shown(results, m)]
        caption = f"Accuracy by position, {kind} text, models with rows of their own."
        if labels:
            figures[caption] = plots.accuracy_by_position(
                _one_reference(results), folder / f"{stem}-others.png", kind, labels
            )
    return figures


def _one_reference(results: Results) -> Results:
    """The results with the first truncated row alone."""
    first = truncated_row(results)
    rows = [r for r in results["rows"] if not r["truncated"] or r is first]
    return {**results, "rows": rows}


def _gaps(results: Results, folder: Path) -> dict[str, Path]:
    gaps = row_gaps(results)
    if not gaps:
        return {}
    means = {label: float(np.mean(values)) for label, values in gaps.items()}
    losses = {label: loss_increase(results, label) for label in gaps}
    wanted = ("RoPE", "Resonance RoPE", "PI", "NTK-aware", "NTK-mixed", "YaRN")
    shown = {label: gaps[label] for label in wanted if label in gaps} or gaps
    critical = _critical_dimension(results, next(iter(shown)))
    return {
        "Feature gap of each plane against the angles of training.": plots.feature_gaps(
            shown, folder / "feature-gaps.png", critical
        ),
        "Loss increase against the mean feature gap, rows of one band.": (
            plots.gap_against_loss(means, losses, folder / "gap-against-loss.png")
        ),
    }


def _critical_dimension(results: Results, label: str) -> int:
    """Of the encoding that the row's model was trained with."""
    (row,) = (row for row in results["rows"] if row["label"] == label)
    reference = truncated_row(of_model(results, row["model"]))
    described = cell(reference, max(results["lengths"]))["logic"]
    frequencies = logic_from_dict(described).bands[0].frequencies
    return critical_dimension(frequencies, results["train_length"])


def _shown(results: Results, model: str) -> list[str]:
    """Labels of a model's rows that are no grey reference of the table."""
    rows, plain = of_model(results, model)["rows"], plain_row(results)
    return [row["label"] for row in rows if not row["truncated"] and row is not plain]


def _chunks(labels: list[str]) -> list[list[str]]:
    return [labels[i : i + _PANELS] for i in range(0, len(labels), _PANELS)]
