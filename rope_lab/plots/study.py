"""Pictures of a study: accuracy by position, against an option, and feature gaps."""

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure

from rope_lab.evaluation import results as lookup
from rope_lab.evaluation.findings import ordered_rows, plain_row
from rope_lab.plots.curves import _bounds, _multiples
from rope_lab.plots.style import (
    GREY,
    MARKERS,
    PathLike,
    save,
    series,
    styled,
    styled_grey,
    type_size,
)

ACCURACY = "next-token accuracy, %"


def accuracy_by_position(
    results: lookup.Results,
    path: PathLike,
    kind: str = lookup.NATURAL,
    labels: Sequence[str] | None = None,
    title: str | None = None,
) -> Path:
    """Accuracy against position at the longest length, a panel for each row.

    The truncated row and the training encoding are grey in every panel; bands are
    95 % intervals over documents.

    Args:
      results: from ``evaluate_rows``, or ``combine``.
      path: PNG file to write.
      kind: of text.
      labels: rows to show, by default all.
    """
    length, plain = max(results["lengths"]), plain_row(results)
    curves = {}
    for row in ordered_rows(results):
        bins = lookup.cell(row, length, kind)["by_position"]["equal"]
        reference = row["truncated"] or row is plain
        if labels is None or reference or row["label"] in labels:
            curves[row["label"]] = {
                "edges": bins["edges"],
                "loss": _percent(bins["accuracy"]),  # what a panel draws
                "low": _percent(bins.get("accuracy_low", [None])),
                "high": _percent(bins.get("accuracy_high", [None])),
            }
    high = max(max(bins["loss"]) for bins in curves.values())
    return _multiples(results, curves, ACCURACY, (0, 1.05 * high), path, title)


def accuracy_against(
    results: lookup.Results,
    curves: Mapping[str, Mapping[float, str]],
    path: PathLike,
    xlabel: str,
    references: Sequence[str] = (),
    kinds: Sequence[str] = (lookup.NATURAL, lookup.REPEATED, lookup.FAR_REPEATED),
    title: str | None = None,
) -> Path:
    """Accuracy at the longest length against an option; a panel per kind of text.

    Args:
      results: from ``evaluate_rows``, or ``combine``.
      curves: name of a curve -> value of the option -> label of the row with it; rows
        that were not measured leave a gap.
      path: PNG file to write.
      xlabel: the option, with its unit.
      references: labels of rows without the option, drawn as level lines.
      kinds: of text, those that were not measured left out.
    """
    length = max(results["lengths"])
    rows = {row["label"]: row for row in results["rows"]}
    kinds = [kind for kind in kinds if kind in results["targets"][str(length)]]

    def draw(figure: Figure) -> None:
        grid = figure.subplots(len(kinds), 1, sharex=True, squeeze=False).ravel()
        for axes, kind in zip(grid, kinds, strict=True):
            for style, (name, points) in styled(curves.items(), "osD^v*"):
                _option_curve(axes, points, rows, length, kind, name, style)
            for style, name in styled_grey(references):
                if name in rows:
                    level = 100 * lookup.cell(rows[name], length, kind)["accuracy"]
                    axes.axhline(level, lw=1.2, label=name, **style)
            axes.set_title(f"{kind} text")
            axes.set_ylabel("accuracy, %")
        grid[-1].set_xscale("log", base=2)
        grid[-1].xaxis.set_major_formatter(lambda x, _: f"{x:g}")
        grid[-1].set_xlabel(xlabel)
        handles = grid[0].get_legend_handles_labels()
        figure.legend(*handles, loc="outside upper center", ncols=2)

    return save(draw, path, 1.2 + 2.0 * len(kinds), title)


def feature_gaps(
    gaps: Mapping[str, Float[np.ndarray, " P"]],
    path: PathLike,
    critical: int,
    title: str | None = None,
) -> Path:
    """Feature gap of each plane, a curve per row, the critical dimension marked."""

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        for style, (label, values) in styled(gaps.items(), MARKERS):
            shown = np.maximum(values, 1e-6)  # exact zeros have no place on the axis
            axes.plot(shown, label=label, lw=1.2, markersize=4, **style)
        axes.axvline(critical - 0.5, color=GREY, ls=":", lw=1.2)
        axes.set_yscale("log")
        axes.set_xlabel(
            f"plane (dotted: critical dimension {critical} of the first row)"
        )
        axes.set_ylabel("feature gap, chord (floor 1e-6)")
        figure.legend(loc="outside upper center", ncols=2)

    return save(draw, path, 4.6, title)


def gap_against_loss(
    gaps: Mapping[str, float],
    losses: Mapping[str, float],
    path: PathLike,
    title: str | None = None,
) -> Path:
    """Loss increase beyond the training length against the mean gap, a dot per row.

    Names stand in a column beside the dots, in their order, since dots lie close.
    """
    labels = sorted(gaps, key=lambda label: losses[label])
    heights = np.linspace(0.0, 1.0, len(labels)) if len(labels) > 1 else [0.5]

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        for label, height in zip(labels, heights, strict=True):
            dot = gaps[label], losses[label]
            axes.plot(*dot, "o", color=series()[0], markersize=5, zorder=3)
            axes.annotate(
                textwrap.shorten(label, 32), dot,
                xytext=(1.04, height), textcoords="axes fraction",
                va="center", fontsize=type_size(0.7),
                arrowprops={
                    "arrowstyle": "-", "lw": 0.4, "color": "gray",
                    "relpos": (0, 0.5), "shrinkA": 1,
                },
            )  # fmt: skip
        axes.set_xlabel("feature gap, mean chord over planes")
        axes.set_ylabel("loss beyond minus truncated, nats per token")

    return save(draw, path, 4.6, title)


def _option_curve(axes, points, rows, length, kind, name, style) -> None:
    known = {x: rows[label] for x, label in sorted(points.items()) if label in rows}
    if not known:
        return
    cells = [lookup.cell(row, length, kind) for row in known.values()]
    middle = 100 * np.array([cell["accuracy"] for cell in cells])
    bounds = 100 * np.array([_bounds(cell) for cell in cells]).T
    axes.errorbar(
        list(known), middle, yerr=np.abs(bounds - middle), markersize=5,
        elinewidth=1.2, label=name, **style,
    )  # fmt: skip


def _percent(values: Sequence[Any]) -> list[Any]:
    return [None if value is None else 100 * value for value in values]
