"""Needle in a haystack: how often it is found, by length and depth."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from rope_lab.plots.style import PathLike, save, type_size


def needle_heatmap(record: dict[str, Any], path: PathLike) -> Path:
    """Mean score in a grid of depth and length.

    Args:
      record: of ``retrieval/needle``, from `measure_retrieval`.
      path: PNG file to write.
    """
    lengths, depths, scores_DL = score_grid(record)

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        axes.grid(False)
        image = axes.imshow(
            scores_DL, aspect="auto", vmin=0, vmax=1, cmap="viridis", origin="upper"
        )
        for (row, column), score in np.ndenumerate(scores_DL):
            if np.isfinite(score):
                ink = "black" if score > 0.5 else "white"
                axes.text(column, row, f"{score:.2g}", ha="center", va="center",
                          color=ink, fontsize=type_size(0.7))  # fmt: skip
        axes.set_xticks(range(len(lengths)), [f"{length:,}" for length in lengths])
        axes.set_yticks(range(len(depths)), [f"{depth:.0%}" for depth in depths])
        axes.set_xlabel("length, tokens")
        axes.set_ylabel("depth of the needle")
        axes.set_title(f"Needle found: {record['label']}")
        figure.colorbar(image, ax=axes, label="share found")

    return save(draw, path, 1.6 + 0.28 * len(depths))


def score_grid(record: dict[str, Any]) -> tuple[list[int], list[float], np.ndarray]:
    """Lengths, depths and mean scores float[depths, lengths]; NaN without a sample."""
    results = record["results"]
    depths = sorted({depth for cell in results for depth in cell["depths"]})
    grid_DL = np.full((len(depths), len(results)), np.nan)
    for column, cell in enumerate(results):
        given, scores = np.array(cell["depths"]), np.array(cell["scores"])
        for row, depth in enumerate(depths):
            if (given == depth).any():
                grid_DL[row, column] = scores[given == depth].mean()
    return [cell["length"] for cell in results], depths, grid_DL
