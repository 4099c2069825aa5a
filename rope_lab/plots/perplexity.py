"""Perplexity against length, from the records of `measure_perplexity`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from rope_lab.plots.style import GREY, MARKERS, PathLike, save, styled


def perplexity_by_length(
    records: Sequence[dict[str, Any]],
    train_length: int,
    path: PathLike,
    title: str | None = None,
) -> Path:
    """Perplexity at each length with 95 % intervals over documents, a curve per record.

    Curves are moved aside a little, so that no interval hides another.

    Args:
      records: from `measure_perplexity`, of the same documents.
      train_length: tokens, marked.
      path: PNG file to write.
      title: above the picture.
    """
    lengths = sorted({cell["length"] for r in records for cell in r["results"]})

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        aside = 2.0 ** (0.04 * (np.arange(len(records)) - len(records) // 2))
        placed = zip(aside, records, strict=True)
        for style, (factor, record) in styled(placed, MARKERS):
            cells = record["results"]
            middle = np.array([cell["perplexity"] for cell in cells])
            bounds = np.array([_bounds(cell) for cell in cells]).T
            axes.errorbar(
                [factor * cell["length"] for cell in cells], middle,
                yerr=np.abs(bounds - middle), markersize=5, elinewidth=1.2,
                label=record["label"], **style,
            )  # fmt: skip
        axes.axvline(train_length, color=GREY, lw=1)
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        axes.set_xticks(lengths, [f"{length:,}" for length in lengths])
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 4, 5, 7)))
        axes.yaxis.set_major_formatter(lambda y, _: f"{y:,.4g}")
        axes.minorticks_off()
        axes.set_xlabel("length, tokens (vertical line: training length)")
        axes.set_ylabel("perplexity per token")
        figure.legend(loc="outside upper center", ncols=2)

    return save(draw, path, 3.8, title)


def _bounds(cell: dict[str, Any]) -> Sequence[float]:
    """The interval; of no width where one document gave none."""
    return cell["perplexity_interval"] or [cell["perplexity"]] * 2
