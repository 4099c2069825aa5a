"""compare.html: one file that needs nothing else, made of the parts of report.html.

What is drawn follows the filters, so the page holds its numbers as JSON and two short
scripts, compare_chart.js and compare.js.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from html import escape
from importlib.resources import files
from typing import Any

import jax.numpy as jnp
import numpy as np

from rope_lab.cli import report_parts as parts
from rope_lab.cli.compare_lines import Line
from rope_lab.cli.compare_runs import Run
from rope_lab.cli.compare_style import style
from rope_lab.evaluation.pairs import Units, paired_differences
from rope_lab.logic import logic_from_dict
from rope_lab.logic.bands import relative_positions_at
from rope_lab.plots.matrix_image import matrix_image

_PIXELS = 128  # of a matrix, along each side
_POINTS = 200  # of a curve
_NAMES = 4  # below a matrix
_DIGITS = 5  # significant ones
_UNKNOWN = (ValueError, LookupError, TypeError)  # of a description that is no logic


def compare_page(runs: Sequence[Run]) -> str:
    """The page, as HTML."""
    lines = [(number, line) for number, run in enumerate(runs) for line in run.lines]
    encodings = _Encodings()
    data = {
        "runs": [run.name for run in runs],
        "lines": [_line(number, line, encodings) for number, line in lines],
        "pairs": _pairs([line for _, line in lines]),
        "encodings": encodings.described,
        "training": [
            {"run": number, "label": f"{name}, {run.name}", "curve": _thinned(*curve)}
            for number, run in enumerate(runs)
            for name, curve in run.curves.items()
        ],
    }
    scripts = [_script(name) for name in ("compare_chart.js", "compare.js")]
    body = "\n".join(
        [
            _opening(runs, len(lines)),
            _read("compare_body.html"),
            '<h2 id="matrices-title">Relative positions</h2>',
            encodings.figures(),
            _method(),
            f'<script type="application/json" id="data">{_json(data)}</script>',
            *scripts,
        ]
    )
    return parts.document(f"{len(runs)} runs compared", body, style())


def _opening(runs: Sequence[Run], lines: int) -> str:
    measures = len({line.measure for run in runs for line in run.lines})
    told = [(run.name, problem) for run in runs for problem in run.problems]
    rows = [
        (run.name, [str(len(run.lines)), "yes" if run.curves else "–"], False)
        for run in runs
    ]
    problems = "".join(
        f"<li><strong>{escape(name)}</strong>: {escape(problem)}</li>"
        for name, problem in told
    )
    told_html = f'<div class="card warn"><ul id="problems">{problems}</ul></div>'
    return (
        f'<p class="eyebrow">rope_lab · {lines} lines of {measures} measures</p>\n'
        f"<h1>{len(runs)} runs compared</h1>\n{told_html if told else ''}"
        "<details><summary>The runs</summary>"
        f"{parts.table(['run', 'lines', 'training curve'], rows)}</details>"
    )


def _method() -> str:
    return "<h2>How it is compared</h2>" + parts.bullets(
        [
            "Differences are paired: of the windows, documents or samples that both "
            "lines measured, and of no others. Where not all are shared, their number "
            "stands beside the interval.",
            "Intervals of differences: whole documents are drawn with replacement, "
            "95 % percentiles widened for their number. With many rows, one interval "
            "in twenty misses.",
            "Each trained model is one run unless seeds are named: intervals cover the "
            "choice of text, not of seeds.",
            "Lines that were not measured on the same text have values side by side "
            "and no difference.",
        ]
    )


def _line(run: int, line: Line, encodings: _Encodings) -> dict[str, Any]:
    measure = line.measure
    cells, curves = {}, {}
    for length, cell in line.cells.items():
        cells[length] = [_rounded(x) for x in (cell.value, *(cell.bounds or ()))]
        if cell.curve:
            values = {key: _rounded(v) for key, v in cell.curve.items()}
            curves[length] = values
    return {
        "run": run,
        "label": line.label,
        "measure": measure.name,
        "unit": measure.unit,
        "lower": measure.lower_is_better,
        "brackets": measure.brackets,
        "digits": measure.digits,
        "trained": line.train_length,
        "encoding": encodings.number(line),
        "unpaired": line.unpaired,
        "cells": cells,
        "curves": curves,
    }


def _pairs(lines: Sequence[Line]) -> list[list[Any]]:
    """[i, j, length, mean, low, high, shared, all] of lines i < j of one measure."""
    groups: dict[tuple[Any, int], list[tuple[int, Units]]] = {}
    for number, line in enumerate(lines):
        for length, cell in line.cells.items():
            if cell.units is not None:
                key = line.measure, length
                groups.setdefault(key, []).append((number, cell.units))
    found = []
    for (_, length), members in groups.items():
        numbers, units = zip(*members, strict=True)
        for (i, j), pair in paired_differences(units).items():
            most = max(len(units[i].values), len(units[j].values))
            values = [_rounded(x) for x in (pair.mean, pair.low, pair.high)]
            found.append([numbers[i], numbers[j], length, *values, pair.shared, most])
    return found


class _Encodings:
    """Wavelengths and matrices of the encodings of all lines, each once."""

    def __init__(self):
        self._numbers: dict[str, int | None] = {}
        self._matrices: dict[tuple[bytes, int], tuple[bytes, list[int]]] = {}
        self.described: list[dict[str, Any]] = []

    def number(self, line: Line) -> int | None:
        """Place in `described`, or None for what has no picture."""
        if not isinstance(line.logic, dict) or "name" not in line.logic:
            return None
        key = json.dumps([line.logic, line.train_length], sort_keys=True)
        if key not in self._numbers:
            self._numbers[key] = self._describe(line)
        return self._numbers[key]

    def _describe(self, line: Line) -> int | None:
        try:
            logic = logic_from_dict(line.logic)
            positions = np.linspace(0, 2 * line.train_length - 1, _PIXELS)
            matrix = relative_positions_at(logic, jnp.asarray(positions, jnp.int32))
        except _UNKNOWN:  # biases have no such picture, callables no such description
            return None
        number = len(self.described)
        waves = np.asarray(logic.bands[0].frequencies.wavelengths, np.float64)
        self.described.append({"label": line.label, "wavelengths": _rounded(waves)})
        key = np.asarray(matrix).tobytes(), line.train_length
        image = matrix_image(matrix, line.train_length)
        self._matrices.setdefault(key, (image, []))[1].append(number)
        return number

    def figures(self) -> str:
        """The matrices, each with the names of the encodings that have it."""
        figures = [
            self._figure(image, trained, numbers)
            for (_, trained), (image, numbers) in self._matrices.items()
        ]
        legend = (
            '<p class="note">Query down, key across; training lengths times two. '
            'Distance: 0 <span class="scale"></span> the training length; '
            '<span class="untrained"></span> that and more, never seen in training. '
            "Encodings of equal matrices share one and differ in their frequencies."
            "</p>"
        )
        return f'{legend}<div class="matrices">{"".join(figures)}</div>'

    def _figure(self, image: bytes, trained: int, numbers: list[int]) -> str:
        labels = list(dict.fromkeys(self.described[n]["label"] for n in numbers))
        name = escape(", ".join(labels[:_NAMES]))
        if len(labels) > _NAMES:
            name += f" and {len(labels) - _NAMES} more"
        source = "data:image/png;base64," + base64.b64encode(image).decode()
        used = " ".join(map(str, numbers))
        return (
            f'<figure class="matrix" data-encodings="{used}">'
            f'<img src="{source}" alt="relative positions of {name}">'
            f"<figcaption>{name}<br>to {2 * trained:,} tokens</figcaption></figure>"
        )


def _thinned(steps: list[float], losses: list[float]) -> dict[str, list[Any]]:
    """At most `_POINTS` points, each the mean of its neighbours."""
    size = -(-len(steps) // _POINTS)
    starts = np.arange(0, len(steps), size)
    counts = np.diff([*starts, len(steps)])
    means = [np.add.reduceat(np.asarray(v, float), starts) / counts
             for v in (steps, losses)]  # fmt: skip
    return {"x": _rounded(means[0]), "y": _rounded(means[1])}


def _rounded(values: Any) -> Any:
    """Plain numbers of a few digits; null for what is none."""
    if values is None:
        return None
    if np.ndim(values):
        return [_rounded(value) for value in values]
    return float(f"{values:.{_DIGITS}g}") if np.isfinite(values) else None


def _json(data: Any) -> str:
    """For a script element: nothing in it can end the element."""
    text = json.dumps(data, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c")


def _script(name: str) -> str:
    return f"<script>\n{_read(name)}</script>"


def _read(name: str) -> str:
    return files("rope_lab.cli").joinpath(name).read_text(encoding="utf-8")
