"""Pictures of a PosGen study: accuracy by position, and validation curves."""

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from rope_lab.plots.style import GREY, PathLike, save, styled, type_size

_SMOOTH = 8  # positions averaged, so that few test sequences make a readable curve


def posgen_accuracy(
    entries: Sequence[dict[str, Any]], path: PathLike, titles: Sequence[str]
) -> Path:
    """Token accuracy by position, a panel per cell, the training length marked.

    Mean over seeds, averaged over 8 neighbouring positions on one side of the training
    length; the band is one standard deviation of the seeds.
    """

    def panel(axes, entry: dict[str, Any]) -> None:
        length = entry["settings"]["data"]["train_length"]
        for style, row in styled(entry["rows"]):
            curves = 100 * np.array(row["by_position"]["accuracy"])
            first = row["by_position"]["first_target"]
            places, values = _binned(curves, first, length)
            _band(axes, places, values, style, row["label"])
        axes.axvline(length, color=GREY, lw=1)
        axes.set_xlim(0, entry["settings"]["data"]["test_length"])
        axes.set_ylim(0, 101)

    below = "position, tokens (vertical line: training length)"
    return _panels(entries, path, titles, panel, below, "accuracy, %")


def posgen_validation(
    entries: Sequence[dict[str, Any]], path: PathLike, titles: Sequence[str]
) -> Path:
    """Validation loss by step, within and beyond the training length together.

    Mean over seeds; the band is one standard deviation.
    """

    last = max(max(r["validation"]["steps"]) for e in entries for r in e["rows"])

    def panel(axes, entry: dict[str, Any]) -> None:
        for style, row in styled(entry["rows"]):
            steps = np.array(row["validation"]["steps"])
            losses = np.array(row["validation"]["loss"])
            _band(axes, steps, losses, style, row["label"])
        axes.set_ylim(bottom=0)
        axes.set_xlim(0, last)

    return _panels(entries, path, titles, panel, "step", "validation loss, nats")


def _binned(curves_ST: np.ndarray, first: int, length: int):
    """Means of up to 8 neighbours; no bin crosses the training length."""
    stop = first + curves_ST.shape[1]
    edges = [*range(first, length, _SMOOTH), *range(length, stop, _SMOOTH), stop]
    spans = list(itertools.pairwise(edges))
    middles = np.array([(a + b - 1) / 2 for a, b in spans])
    means = [curves_ST[:, a - first : b - first].mean(axis=1) for a, b in spans]
    return middles, np.stack(means, axis=1)


def _band(axes, x, values_ST, style: dict[str, Any], label: str) -> None:
    mean = values_ST.mean(axis=0)
    axes.plot(x, mean, label=label, **style)
    if len(values_ST) > 1:
        sd = values_ST.std(axis=0, ddof=1)
        low, high, color = mean - sd, mean + sd, style["color"]
        axes.fill_between(x, low, high, color=color, alpha=0.15, lw=0)


def _panels(
    entries: Sequence[dict[str, Any]],
    path: PathLike,
    titles: Sequence[str],
    panel: Callable[..., None],
    below: str,
    beside: str,
) -> Path:
    """Panels under one another, one legend above all."""

    def draw(figure: Figure) -> None:
        grid = figure.subplots(len(entries), 1, sharex=True, squeeze=False).ravel()
        for axes, entry, title in zip(grid, entries, titles, strict=True):
            panel(axes, entry)
            axes.set_title(title)
        figure.supxlabel(below, size=type_size(1))
        figure.supylabel(beside, size=type_size(1))
        lines, labels = grid[0].get_legend_handles_labels()
        figure.legend(lines, labels, loc="outside upper center", ncols=2)

    rows = -(-len(entries[0]["rows"]) // 2)
    return save(draw, path, 0.7 + 0.22 * rows + 1.9 * len(entries))
