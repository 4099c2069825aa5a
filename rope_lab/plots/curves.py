"""Curves and dots: what evaluate_rows and a training run measured."""

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from rope_lab.evaluation import results as lookup
from rope_lab.evaluation.findings import ordered_rows, plain_row
from rope_lab.plots.style import (
    GREY,
    NUM_COLORS,
    PathLike,
    panel_columns,
    save,
    series,
    styled,
    styled_grey,
    type_size,
)

ROOM_ABOVE = 2.5  # nats shown above the lowest loss inside the training length
ROOM_AROUND = 0.5  # nats shown on both sides of truncated context


def loss_by_position(
    results: lookup.Results,
    path: PathLike,
    length: int | None = None,
    kind: str = lookup.NATURAL,
    labels: Sequence[str] | None = None,
    title: str | None = None,
) -> Path:
    """Loss against position at one length, the training length marked.

    Up to six rows share one panel with their names at the curves' ends. More rows get
    a panel each, with the truncated row and the training encoding in grey.

    Args:
      results: from ``evaluate_rows``.
      path: PNG file to write.
      length: tokens; by default the longest measured.
      kind: "natural" or "repeated".
      labels: rows to show, by default all.
      title: above the picture, here and everywhere.
    """
    length = length or max(results["lengths"])
    curves = _equal_bins(results, length, kind)
    if labels is not None:
        curves = {label: bins for label, bins in curves.items() if label in labels}
    train_length = results["train_length"]
    room = _room(curves, train_length)
    if len(curves) <= NUM_COLORS:
        return save(
            lambda f: _one_panel(f, curves, train_length, room), path, 4.4, title
        )
    return _multiples(results, curves, "loss, nats per token", room, path, title)


def excess_by_position(
    results: lookup.Results,
    path: PathLike,
    kind: str = lookup.NATURAL,
    title: str | None = None,
) -> Path:
    """Loss minus that of truncated context at the longest length, one panel per row.

    Both scored the same tokens, so what is hard in the text itself drops out: zero is
    truncated context, below zero is better. A close-up: rows that are further than
    `ROOM_AROUND` from it at most positions have no panel, unless all are. No
    intervals: see ``minus_truncated``.

    Raises:
      ValueError: if no row is truncated.
    """
    reference = lookup.truncated_row(results)
    if reference is None:
        raise ValueError("results has no truncated row to take the difference from")
    length = max(results["lengths"])
    curves = _equal_bins(results, length, kind)
    base = np.array(curves[reference["label"]]["loss"])
    excess = {
        label: {"edges": bins["edges"], "loss": np.array(bins["loss"]) - base}
        for label, bins in curves.items()
    }
    high = max(curve["loss"].max() for curve in excess.values())
    low = min(curve["loss"].min() for curve in excess.values())
    room = 1.1 * max(low, -ROOM_AROUND), 1.1 * min(high, ROOM_AROUND)
    grey = _references(results)
    near = {
        label: curve
        for label, curve in excess.items()
        if label in grey or np.median(np.abs(curve["loss"])) <= ROOM_AROUND
    }
    if len(near) > len(grey):
        excess = near
    return _multiples(results, excess, "loss minus truncated, nats", room, path, title)


def context_use(
    results: lookup.Results, path: PathLike, title: str | None = None
) -> Path:
    """Loss against tokens of context, up to the training length, both ways to see it.

    By position, in windows that start inside documents; and of the same targets as
    their context is cut, where ``results["context_use"]`` is there.
    """
    row = plain_row(results) or results["rows"][0]
    bins = lookup.cell(row, results["train_length"])["by_position"]["log"]
    edges = np.array(bins["edges"])
    steps = (results.get("context_use") or {"steps": []})["steps"]

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        context = (edges[:-1] + 1 + edges[1:]) / 2  # position t has t + 1 tokens
        _curve(axes, context, bins, series()[0], "by position in the window", "o")
        for n, step in enumerate(steps):
            axes.plot(
                step["context"], [step["loss"]] * 2, color=series()[1], lw=3.5,
                label=None if n else "same targets, context cut to this range",
            )  # fmt: skip
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_formatter(lambda x, _: f"{x:g}")
        axes.set_xlabel("tokens of context")
        axes.set_ylabel("loss, nats per token")
        axes.legend()

    return save(draw, path, 3.6, title)


def accuracy_by_text(
    results: lookup.Results,
    path: PathLike,
    length: int | None = None,
    title: str | None = None,
) -> Path:
    """Next-token accuracy on natural and on repeated text, with 95 % intervals."""
    length = length or max(results["lengths"])
    rows = ordered_rows(results)

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        kinds = (lookup.NATURAL, lookup.REPEATED)
        for kind, marker, color, shift in zip(
            kinds, "oD", series()[:2], (-0.15, 0.15), strict=True
        ):
            cells = [lookup.cell(row, length, kind) for row in rows]
            middle = 100 * np.array([cell["accuracy"] for cell in cells])
            bounds = 100 * np.array([_bounds(cell) for cell in cells]).T
            axes.errorbar(
                middle, np.arange(len(rows)) + shift, xerr=np.abs(bounds - middle),
                fmt=marker, color=color, markersize=5, elinewidth=1.4,
                label=f"{kind} text",
            )  # fmt: skip
        for n, row in enumerate(rows):
            if row["truncated"]:
                axes.axhspan(n - 0.5, n + 0.5, color=GREY, alpha=0.15, lw=0)
        axes.set_yticks(range(len(rows)), [row["label"] for row in rows])
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.set_xlabel(f"next-token accuracy over {length} tokens, %")
        axes.tick_params(axis="y", length=0)
        figure.legend(loc="outside upper center", ncols=2)

    return save(draw, path, 1.3 + 0.3 * len(rows), title)


def training_curves(
    panels: Mapping[str, Mapping[str, tuple[Sequence[float], Sequence[float]]]],
    path: PathLike,
    title: str | None = None,
) -> Path:
    """Training loss by step: title of panel -> name of run -> (steps, losses)."""

    def draw(figure: Figure) -> None:
        grid = figure.subplots(1, len(panels), squeeze=False).ravel()
        for axes, (title, runs) in zip(grid, panels.items(), strict=True):
            for style, (label, (steps, losses)) in styled(runs.items()):
                axes.plot(steps, losses, color=style["color"], alpha=0.3, lw=0.8)
                axes.plot(steps, _smooth(losses), label=label, **style)
            axes.set_title(title)
            axes.set_xlabel("step")
            axes.legend()
        grid[0].set_ylabel("training loss, nats per token")

    return save(draw, path, 3.4, title)


def _one_panel(figure: Figure, curves, train_length: int, room) -> None:
    axes = figure.subplots()
    ends = []
    for style, (label, bins) in styled(curves.items()):
        axes.plot(_middles(bins), bins["loss"], label=label, **style)
        ends.append((min(bins["loss"][-1], room[1]), label, style["color"]))
    _frame(axes, train_length, room, max(b["edges"][-1] for b in curves.values()))
    axes.set_xlabel("position, tokens (vertical line: training length)")
    axes.set_ylabel("loss, nats per token")
    names = [textwrap.fill(label, 16) for _, label, _ in ends]
    gap = 0.055 * max(1 + name.count("\n") for name in names) * (room[1] - room[0])
    heights = _spread([end for end, _, _ in ends], gap)
    heights += max(0, room[0] + gap / 2 - heights.min())
    for height, label, (_, _, color) in zip(heights, names, ends, strict=True):
        axes.annotate(
            label, (1.01, height), xycoords=axes.get_yaxis_transform(), color=color,
            va="center", annotation_clip=False,
        )  # fmt: skip


def _equal_bins(results: lookup.Results, length: int, kind: str) -> dict[str, Any]:
    return {
        row["label"]: lookup.cell(row, length, kind)["by_position"]["equal"]
        for row in ordered_rows(results)
    }


def _multiples(results, curves, quantity: str, room, path: PathLike, title) -> Path:
    """A panel for each curve; truncated context and the training encoding in grey.

    Where there is nothing else, these have the panels.
    """
    rows = [row["label"] for row in ordered_rows(results) if row["label"] in curves]
    grey = [label for label in _references(results) if label in curves]
    shown = [label for label in rows if label not in grey] or grey
    columns = panel_columns()
    lines = -(-len(shown) // columns)

    def draw(figure: Figure) -> None:
        grid = figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False)
        for axes, label in zip(grid.ravel()[: len(shown)], shown, strict=True):
            _panel(axes, {name: curves[name] for name in grey}, curves[label])
            _frame(axes, results["train_length"], room, curves[label]["edges"][-1])
            axes.set_title(textwrap.fill(label, 20), fontsize=type_size(0.9))
            axes.locator_params(axis="x", nbins=3)
        for axes in grid.ravel()[len(shown) :]:
            axes.remove()
        for axes in grid.ravel()[max(0, len(shown) - columns) : len(shown)]:
            axes.tick_params(labelbottom=True)
        figure.supxlabel(
            "position, tokens (vertical line: training length)", size=type_size(1)
        )
        figure.supylabel(quantity, size=type_size(1))
        if grey:
            drawn = grid.ravel()[0].get_lines()[: len(grey)]
            figure.legend(drawn, grey, loc="outside upper center", ncols=2)

    return save(draw, path, 1.0 + 1.6 * lines, title)


def _references(results) -> list[str]:
    """Labels of truncated context and of the encoding of training, in table order."""
    plain = plain_row(results)
    rows = ordered_rows(results)
    return [row["label"] for row in rows if row["truncated"] or row is plain]


def _panel(axes, references: Mapping[str, Any], bins: Mapping[str, Any]) -> None:
    for style, reference in styled_grey(references.values()):
        axes.plot(_middles(reference), reference["loss"], lw=1.2, **style)
    _curve(axes, _middles(bins), bins, series()[0], None)


def _curve(axes, x, bins, color: str, label: str | None, marker: str = "") -> None:
    axes.plot(x, bins["loss"], color=color, label=label, marker=marker, markersize=4)
    if None not in bins.get("low", [None]):
        axes.fill_between(x, bins["low"], bins["high"], color=color, alpha=0.18, lw=0)


def _frame(axes, train_length: int, room, length: int) -> None:
    axes.axvline(train_length, color=GREY, lw=1)
    axes.set_xlim(0, length)
    axes.set_ylim(*room)


def _room(curves: Mapping[str, Any], train_length: int) -> tuple[float, float]:
    """Limits of the loss axis: a method that fails outright must not flatten others."""
    inside, everything = [], []
    for bins in curves.values():
        losses = np.array(bins["loss"])
        inside.append(np.median(losses[np.array(bins["edges"][:-1]) < train_length]))
        everything.append(losses)
    low = min(losses.min() for losses in everything)
    high = max(losses[1:].max(initial=low) for losses in everything)
    high = min(high, min(inside) + ROOM_ABOVE)
    return low - 0.05 * (high - low), high + 0.05 * (high - low)


def _middles(bins: Mapping[str, Any]) -> np.ndarray:
    edges = np.array(bins["edges"])
    return (edges[1:] + edges[:-1]) / 2


def _bounds(cell: Mapping[str, Any]) -> Sequence[float]:
    """The interval of the accuracy; of no width where one document gave none."""
    return cell["accuracy_interval"] or [cell["accuracy"]] * 2


def _smooth(values: Sequence[float]) -> np.ndarray:
    """A centred running mean over a twentieth of the curve."""
    width = max(1, len(values) // 20) | 1
    padded = np.pad(np.asarray(values, np.float64), width // 2, mode="edge")
    return np.convolve(padded, np.full(width, 1 / width), mode="valid")


def _spread(heights: Sequence[float], gap: float) -> np.ndarray:
    """Heights moved apart to at least ``gap``, in the same order."""
    order = np.argsort(heights, kind="stable")
    moved = np.array(heights, np.float64)[order]
    for _ in range(100):
        overlap = np.maximum(gap - np.diff(moved), 0) / 2
        moved[:-1] -= overlap
        moved[1:] += overlap
    result = np.empty_like(moved)
    result[order] = moved
    return result
