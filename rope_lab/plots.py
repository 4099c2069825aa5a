"""Pictures of curves, matrices and wavelengths, as PNG files.

Every function writes two files, for light and for dark pages: ``path`` itself and
``dark_path(path)``; it returns ``path``. Colours are those of Okabe and Ito, which
people with the common colour deficiencies can tell apart; nothing is told by colour
alone.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from jaxtyping import Array, Float
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from rope_lab.evaluation import results as lookup
from rope_lab.rotary import Frequencies, critical_dimension

WIDTH = 7.2  # inches; at most three panels abreast stay readable on a phone
DPI = 150
ROOM_ABOVE = 2.5  # nats shown above the loss inside the training length
SERIES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
UNTRAINED = "#D55E00"
_SHARED = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.grid": True,
    "grid.linewidth": 0.5,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "savefig.dpi": DPI,
}
LIGHT, DARK = (
    _SHARED
    | {key: ink for key in ("text.color", "axes.labelcolor", "axes.titlecolor")}
    | {"xtick.color": soft, "ytick.color": soft, "axes.edgecolor": soft}
    | {"grid.color": grid, "figure.facecolor": card, "axes.facecolor": card}
    | {"savefig.facecolor": card}
    for ink, soft, grid, card in (
        ("#1b1f24", "#57606a", "#e4e7eb", "#ffffff"),
        ("#e6e9ed", "#9aa4b0", "#2c333c", "#171b21"),
    )
)

PathLike = str | os.PathLike


def dark_path(path: PathLike) -> Path:
    """Where the picture for dark pages lies: ``loss.png`` -> ``loss-dark.png``."""
    path = Path(path)
    return path.with_name(f"{path.stem}-dark{path.suffix}")


def loss_by_position(
    results: lookup.Results,
    path: PathLike,
    length: int | None = None,
    kind: str = lookup.NATURAL,
    labels: Sequence[str] | None = None,
) -> Path:
    """Loss against position at one length, the training length marked.

    Up to six rows share one panel with their names at the curves' ends. More rows get
    a panel each, with the truncated row and plain RoPE (the first other row) in grey.

    Args:
      results: from ``evaluate_rows``.
      path: PNG file to write.
      length: tokens; by default the longest measured.
      kind: "natural" or "repeated".
      labels: rows to show, by default all.
    """
    length = length or max(results["lengths"])
    rows = [r for r in results["rows"] if labels is None or r["label"] in labels]
    curves = {
        r["label"]: lookup.cell(r, length, kind)["by_position"]["equal"] for r in rows
    }
    marks = results["train_length"], _room(curves, results["train_length"])
    if len(rows) <= len(SERIES):
        return _save(lambda figure: _one_panel(figure, curves, *marks), path, 4.4)
    grey = [r["label"] for r in rows if r["truncated"]]
    grey += [r["label"] for r in rows if not r["truncated"]][:1]
    lines = -(-(len(rows) - len(grey)) // 3)
    return _save(
        lambda figure: _small_multiples(figure, curves, grey, *marks),
        path,
        0.9 + 1.75 * lines,
    )


def context_use(
    results: lookup.Results, path: PathLike, labels: Sequence[str] | None = None
) -> Path:
    """Loss against the tokens of context, up to the training length, log axis.

    By default of plain RoPE, the first row that is not truncated.
    """
    length = results["train_length"]
    rows = [r for r in results["rows"] if not r["truncated"]]
    rows = rows[:1] if labels is None else [r for r in rows if r["label"] in labels]

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        for color, row in zip(SERIES, rows, strict=False):
            bins = lookup.cell(row, length)["by_position"]["log"]
            edges = np.array(bins["edges"])
            context = (edges[:-1] + 1 + edges[1:]) / 2  # position t has t + 1 tokens
            _curve(axes, context, bins, color, row["label"], marker="o")
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_formatter(lambda x, _: f"{x:g}")
        axes.set_xlabel("tokens of context (windows start inside documents)")
        axes.set_ylabel("loss, nats per token")
        axes.legend()

    return _save(draw, path, 3.6)


def relative_position_matrices(
    matrices: Mapping[str, Float[Array, "T T"]], train_length: int, path: PathLike
) -> Path:
    """Relative positions, in tokens, seen by query i (down) at key j (across).

    Distances of the training length or more, which training never saw, are drawn in
    one signal colour; hidden keys stay blank.
    """
    columns = min(3, len(matrices))
    lines = -(-len(matrices) // columns)
    colors = matplotlib.colormaps["cividis"].with_extremes(over=UNTRAINED)

    def draw(figure: Figure) -> None:
        grid = figure.subplots(lines, columns, squeeze=False).ravel()
        for axes, (title, matrix) in zip(grid, matrices.items(), strict=False):
            matrix = np.ma.masked_invalid(np.asarray(matrix))
            image = axes.imshow(
                matrix, cmap=colors, vmin=0, vmax=train_length - 1, rasterized=True
            )
            axes.set_title(f"{title}\nup to {matrix.max():g}", fontsize=9.5)
            axes.grid(False)
            axes.set_xlabel("key j")
            axes.set_ylabel("query i")
            axes.label_outer()
            axes.locator_params(nbins=4)
        for axes in grid[len(matrices) :]:
            axes.remove()
        bar = figure.colorbar(
            image, ax=grid[: len(matrices)], location="bottom", extend="max",
            shrink=0.7, aspect=40, pad=0.02,
        )  # fmt: skip
        bar.set_label(
            f"relative position, tokens (orange: {train_length} and more, untrained)"
        )

    return _save(draw, path, 1.0 + 2.45 * lines)


def wavelengths(
    frequencies: Mapping[str, Frequencies], train_length: int, path: PathLike
) -> Path:
    """Wavelength of each plane against the training length, and what rounding moves.

    The first entry is the encoding that was trained; its critical dimension (the first
    plane whose wavelength is at least the training length) is marked.
    """
    known = {k: np.asarray(f.wavelengths, np.float64) for k, f in frequencies.items()}
    first = next(iter(frequencies.values()))
    critical = critical_dimension(first, train_length)

    def draw(figure: Figure) -> None:
        above, below = figure.subplots(2, 1, sharex=True, height_ratios=[2.2, 1])
        for n, (label, values) in enumerate(known.items()):
            style = {"color": SERIES[n], "marker": "os^Dv*"[n % 6], "markersize": 4}
            above.plot(values, label=label, lw=1.2, **style)
            rounding = 100 * (np.rint(values).clip(1) / values - 1)
            below.plot(rounding, lw=1, label=label, **style)
        above.set_yscale("log")
        above.axhline(train_length, color="0.5", ls="--", lw=1)
        above.text(
            0, train_length * 1.15, f"training length {train_length}", va="bottom"
        )
        for axes in (above, below):
            axes.axvline(critical - 0.5, color="0.5", ls=":", lw=1.2)
        below.text(
            critical - 0.3, 0.97, f"critical dimension {critical}",
            transform=below.get_xaxis_transform(), va="top",
        )  # fmt: skip
        above.set_ylabel("wavelength, tokens")
        above.legend(loc="lower right")
        below.set_ylabel("to the next\nwhole length, %")
        below.set_xlabel("plane (pair of head dimensions)")

    return _save(draw, path, 5.2)


def accuracy_by_text(
    results: lookup.Results, path: PathLike, length: int | None = None
) -> Path:
    """Next-token accuracy on natural and on repeated text, with 95 % intervals."""
    length = length or max(results["lengths"])
    rows = results["rows"]
    kinds = ((lookup.NATURAL, "o", SERIES[0]), (lookup.REPEATED, "D", SERIES[1]))

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        for kind, marker, color in kinds:
            cells = [lookup.cell(row, length, kind) for row in rows]
            middle = 100 * np.array([cell["accuracy"] for cell in cells])
            bounds = 100 * np.array([_bounds(cell) for cell in cells]).T
            axes.errorbar(
                middle, range(len(rows)), xerr=np.abs(bounds - middle), fmt=marker,
                color=color, markersize=5.5, elinewidth=1.4, label=f"{kind} text",
            )  # fmt: skip
        for n, row in enumerate(rows):
            if row["truncated"]:
                axes.axhspan(n - 0.5, n + 0.5, color="0.5", alpha=0.15, lw=0)
        axes.set_yticks(range(len(rows)), [row["label"] for row in rows])
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.set_xlabel(f"next-token accuracy over {length} tokens, %")
        axes.tick_params(axis="y", length=0)
        figure.legend(loc="outside upper center", ncols=2)

    return _save(draw, path, 1.3 + 0.3 * len(rows))


def training_curves(
    panels: Mapping[str, Mapping[str, tuple[Sequence[float], Sequence[float]]]],
    path: PathLike,
) -> Path:
    """Training loss by step: title of panel -> name of run -> (steps, losses)."""

    def draw(figure: Figure) -> None:
        grid = figure.subplots(1, len(panels), squeeze=False).ravel()
        for axes, (title, runs) in zip(grid, panels.items(), strict=True):
            for color, (label, (steps, losses)) in zip(
                SERIES, runs.items(), strict=False
            ):
                axes.plot(steps, losses, color=color, alpha=0.3, lw=0.8)
                axes.plot(steps, _smooth(losses), color=color, label=label)
            axes.set_title(title)
            axes.set_xlabel("step")
            axes.legend()
        grid[0].set_ylabel("training loss, nats per token")

    return _save(draw, path, 3.4)


def _one_panel(figure: Figure, curves, train_length: int, room) -> None:
    axes = figure.subplots()
    ends = []
    for color, (label, bins) in zip(SERIES, curves.items(), strict=False):
        _curve(axes, _middles(bins), bins, color, label)
        ends.append((min(bins["loss"][-1], room[1]), label, color))
    _frame(axes, train_length, room, max(b["edges"][-1] for b in curves.values()))
    axes.set_xlabel("position, tokens")
    axes.set_ylabel("loss, nats per token")
    heights = _spread([end for end, _, _ in ends], 0.055 * (room[1] - room[0]))
    for height, (_, label, color) in zip(heights, ends, strict=True):
        axes.annotate(
            label, (1.01, height), xycoords=axes.get_yaxis_transform(), color=color,
            va="center", annotation_clip=False,
        )  # fmt: skip


def _small_multiples(figure: Figure, curves, grey, train_length: int, room) -> None:
    shown = [label for label in curves if label not in grey]
    lines = -(-len(shown) // 3)
    grid = figure.subplots(lines, 3, sharex=True, sharey=True, squeeze=False).ravel()
    for axes, label in zip(grid, shown, strict=False):
        for name, dashes in zip(grey, (":", "--"), strict=False):
            bins = curves[name]
            axes.plot(_middles(bins), bins["loss"], color="0.5", ls=dashes, lw=1.2)
        _curve(axes, _middles(curves[label]), curves[label], SERIES[0], label)
        _frame(axes, train_length, room, curves[label]["edges"][-1])
        axes.set_title(label, fontsize=9)
        axes.locator_params(axis="x", nbins=4)
    for axes in grid[len(shown) :]:
        axes.remove()
    for axes in grid[max(0, len(shown) - 3) : len(shown)]:
        axes.tick_params(labelbottom=True)
    figure.supxlabel("position, tokens (vertical line: training length)", fontsize=10)
    figure.supylabel("loss, nats per token", fontsize=10)
    keys = [(":", grey[0]), ("--", grey[-1])][: len(grey)]
    handles = [
        matplotlib.lines.Line2D([], [], color="0.5", ls=dashes, label=name)
        for dashes, name in keys
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=2)


def _curve(axes, x, bins, color: str, label: str, marker: str | None = None) -> None:
    axes.plot(x, bins["loss"], color=color, label=label, marker=marker, markersize=4)
    if None not in bins["low"]:
        axes.fill_between(x, bins["low"], bins["high"], color=color, alpha=0.18, lw=0)


def _frame(axes, train_length: int, room, length: int) -> None:
    axes.axvline(train_length, color="0.5", lw=1)
    axes.set_xlim(0, length)
    axes.set_ylim(*room)


def _room(curves: Mapping[str, Any], train_length: int) -> tuple[float, float]:
    """Limits of the loss axis: a method that fails outright must not flatten others."""
    inside, everything = [], []
    for bins in curves.values():
        losses = np.array(bins["loss"])
        inside.append(np.median(losses[_middles(bins) < train_length]))
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


def _save(draw: Callable[[Figure], None], path: PathLike, height: float) -> Path:
    """Draws the same picture for light and for dark pages."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    for target, theme in ((path, LIGHT), (dark_path(path), DARK)):
        with matplotlib.rc_context(theme):
            figure = Figure(figsize=(WIDTH, height), layout="constrained")
            FigureCanvasAgg(figure)
            draw(figure)
            figure.savefig(target)
    return path
