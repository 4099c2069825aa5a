"""From sums over windows to perplexity with intervals over documents.

A unit is a document at a length. Sums are [losses, hits, targets]: those of each of its
windows, and those of each bin of the target's position in its window.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from rope_lab.evaluation.intervals import ratio_interval
from rope_lab.evaluation.summaries import log_edges, rounded, statistic

Unit = dict[str, list[list[float]]]


def binned(
    loss_T: Float[np.ndarray, " T"],
    hit_T: Bool[np.ndarray, " T"],
    wanted_T: Bool[np.ndarray, " T"],
    edges: Int[np.ndarray, " K+1"],
) -> Float[np.ndarray, "K 3"]:
    """The sums of one window in bins of position."""
    columns = (loss_T * wanted_T, hit_T & wanted_T, wanted_T)
    bins = [np.add.reduceat(x.astype(np.float64), edges[:-1]) for x in columns]
    return np.stack(bins, axis=-1)


def unit_of(windows: list[Float[np.ndarray, "K 3"]]) -> Unit:
    """A finished document, as the journal keeps it."""
    bins_WK3 = np.stack(windows)
    return {
        "windows": bins_WK3.sum(axis=1).tolist(),
        "bins": bins_WK3.sum(axis=0).tolist(),
    }


def summarise_length(
    units: list[Unit], length: int, weights: str, train_length: int
) -> dict[str, Any]:
    """``loss``, ``perplexity`` and ``accuracy`` with 95 % intervals over documents.

    Also ``by_position``, the loss in bins of the target's position in its window, every
    target weighing the same, null where none was scored; ``per_document_loss``, for
    paired differences; and how much was measured.
    """
    windows = [np.asarray(unit["windows"], np.float64) for unit in units]
    sums = np.array([_weighed(document, weights) for document in windows])
    loss = statistic(ratio_interval(sums[:, 0], sums[:, 2]))
    accuracy = statistic(ratio_interval(sums[:, 1], sums[:, 2]))
    interval = loss["interval"]
    return {
        "length": length,
        "loss": loss["mean"],
        "loss_interval": interval,
        "perplexity": rounded(np.exp(loss["mean"])),
        "perplexity_interval": None if interval is None else rounded(np.exp(interval)),
        "accuracy": accuracy["mean"],
        "accuracy_interval": accuracy["interval"],
        "documents": len(units),
        "windows": sum(len(document) for document in windows),
        "tokens": int(sum(document[:, 2].sum() for document in windows)),
        "per_document_loss": rounded(sums[:, 0] / sums[:, 2]),
        "by_position": _by_position(units, length, train_length),
    }


def _weighed(windows_W3: Float[np.ndarray, "W 3"], weights: str) -> np.ndarray:
    """[loss, hits, weight] of a document."""
    if weights == "windows":
        windows_W3 = windows_W3 / windows_W3[:, 2:]
    return windows_W3.sum(axis=0)


def _by_position(units: list[Unit], length: int, train_length: int) -> dict[str, Any]:
    bins_K3 = np.sum([np.asarray(unit["bins"], np.float64) for unit in units], axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        loss_K = bins_K3[:, 0] / bins_K3[:, 2]
    return {
        "edges": log_edges(length, train_length).tolist(),
        "loss": rounded(loss_K),
        "targets": [int(x) for x in bins_K3[:, 2]],
    }
