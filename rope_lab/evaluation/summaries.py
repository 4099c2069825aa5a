"""From losses of single tokens to the numbers of results.json.

Losses are nats per token, accuracies fractions. ``inside`` is the positions t < L
(L the training length), ``beyond`` the positions t >= L. A difference is a
dictionary of ``mean`` and ``interval``, the 95 % interval over documents; an interval
that one document cannot give is null.
"""

from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from rope_lab.evaluation.intervals import Interval, mean_interval, paired_interval

Cell = dict[str, Any]  # everything measured on one set of windows
DIGITS = 6
EQUAL_BINS = 32


def summarise(
    loss: Float[np.ndarray, "N T"],
    hit: Bool[np.ndarray, "N T"],
    document_ids: Shaped[np.ndarray, " N"],
    train_length: int,
) -> Cell:
    """All statistics of one encoding on one set of windows; see ``compare``, too."""
    length = loss.shape[1]
    parts = {"whole": slice(0, length), "inside": slice(0, train_length)}
    if length > train_length:
        parts["beyond"] = slice(train_length, length)
    windows = {
        name: (loss[:, part].mean(1, np.float64), hit[:, part].mean(1, np.float64))
        for name, part in parts.items()
    }
    cell = level(*windows["whole"], document_ids, loss.size)
    cell |= {"windows": len(loss), "documents": len(np.unique(document_ids))}
    for name in ("inside", "beyond"):
        cell[name] = None
        if name in parts:
            tokens = loss[:, parts[name]].size
            cell[name] = level(*windows[name], document_ids, tokens)
    for name in ("whole", "beyond"):
        cell[f"{name}_minus_inside"] = None
        if "beyond" in parts:
            pair = windows[name][0], windows["inside"][0]
            cell[f"{name}_minus_inside"] = difference(*pair, document_ids)
    cell["by_position"] = {
        "log": by_position(loss, hit, document_ids, log_edges(length, train_length)),
        "equal": by_position(loss, hit, document_ids, equal_edges(length)),
    }
    cell["per_window"] = {
        f"{name}_{quantity}": rounded(values)
        for name, both in windows.items()
        for quantity, values in zip(("loss", "accuracy"), both, strict=True)
    }
    return cell


def copies(
    hit: Bool[np.ndarray, "N T"],
    document_ids: Shaped[np.ndarray, " N"],
    repeat_length: int,
) -> dict[str, Any]:
    """Accuracy on the first copy of a repeated passage, and on all later ones.

    Target t is token t + 1 of a window, so the later copies begin at position
    repeat_length - 1. ``gain`` is later minus first, paired within each window.
    """
    parts = hit[:, : repeat_length - 1], hit[:, repeat_length - 1 :]
    first, later = (part.mean(1, np.float64) for part in parts)
    ids = np.asarray(document_ids)
    return {
        "repeat_length": repeat_length,
        "first": statistic(mean_interval(first, ids)),
        "later": statistic(mean_interval(later, ids)),
        "gain": difference(later, first, ids),
    }


def compare(cell: Cell, reference: Cell, document_ids: list[int]) -> dict[str, Any]:
    """Loss of a cell minus that of another on the same windows, paired.

    Raises:
      ValueError: if the two did not score the same target tokens.
    """
    same_targets(cell, reference)
    ours, theirs = cell["per_window"], reference["per_window"]
    return {
        part: difference(ours[f"{part}_loss"], theirs[f"{part}_loss"], document_ids)
        for part in ("whole", "beyond")
        if f"{part}_loss" in ours
    }


def same_targets(cell: Cell, reference: Cell) -> None:
    """Raises ValueError unless both cells scored the same target tokens."""
    ours, theirs = cell["targets_checksum"], reference["targets_checksum"]
    if ours != theirs:
        raise ValueError(
            f"the two rows scored different target tokens (checksums {ours[:12]} and "
            f"{theirs[:12]}); only rows measured on the same windows can be compared"
        )


def difference(a: Any, b: Any, document_ids: Any) -> dict[str, Any]:
    """Mean and 95 % interval of a - b, values of the same windows."""
    return statistic(paired_interval(a, b, np.asarray(document_ids)))


def by_position(
    loss: Float[np.ndarray, "N T"],
    hit: Bool[np.ndarray, "N T"],
    document_ids: Shaped[np.ndarray, " N"],
    edges: Int[np.ndarray, " K+1"],
) -> dict[str, list[Any]]:
    """Loss and accuracy in bins of position; bin k holds edges[k] <= t < edges[k+1]."""
    sizes_K = np.diff(edges)
    loss_NK = np.add.reduceat(loss.astype(np.float64), edges[:-1], axis=1) / sizes_K
    hit_NK = np.add.reduceat(hit.astype(np.float64), edges[:-1], axis=1) / sizes_K
    interval = mean_interval(loss_NK, document_ids)
    accuracy = mean_interval(hit_NK, document_ids)
    return {
        "edges": edges.tolist(),
        "loss": rounded(interval.mean),
        "low": rounded(interval.low),
        "high": rounded(interval.high),
        "accuracy": rounded(accuracy.mean),
        "accuracy_low": rounded(accuracy.low),
        "accuracy_high": rounded(accuracy.high),
    }


def log_edges(length: int, train_length: int) -> Int[np.ndarray, " K+1"]:
    """Edges 0, 1, 2, 3, 4, 6, 8, 12, ... and the training length, up to length."""
    powers = 2 ** np.arange(1, max(2, int(np.ceil(np.log2(length))) + 1))
    edges = np.concatenate([[0, 1, train_length, length], powers, powers * 3 // 2])
    return np.unique(edges[edges <= length])


def equal_edges(length: int, bins: int = EQUAL_BINS) -> Int[np.ndarray, " K+1"]:
    """Edges of at most ``bins`` bins of (nearly) equal width."""
    return np.unique(np.linspace(0, length, min(bins, length) + 1).round().astype(int))


def level(loss_N, accuracy_N, document_ids, tokens: int) -> dict[str, Any]:
    """Mean loss and accuracy of windows, with their intervals."""
    loss = statistic(mean_interval(loss_N, document_ids))
    accuracy = statistic(mean_interval(accuracy_N, document_ids))
    return {
        "loss": loss["mean"],
        "loss_interval": loss["interval"],
        "accuracy": accuracy["mean"],
        "accuracy_interval": accuracy["interval"],
        "tokens": tokens,
    }


def share(scores: Any, document_ids: Any) -> dict[str, Any]:
    """Mean and 95 % interval of scores in [0, 1].

    The interval is null where all scores are equal: drawing among equal numbers says
    nothing of how sure they are.
    """
    found = statistic(mean_interval(np.asarray(scores), np.asarray(document_ids)))
    return found if len(set(scores)) > 1 else found | {"interval": None}


def statistic(interval: Interval) -> dict[str, Any]:
    """{"mean": ..., "interval": [low, high]} for JSON; null where there is none."""
    mean, low, high = (rounded(x) for x in interval)
    return {"mean": mean, "interval": None if low is None else [low, high]}


def rounded(values: Any) -> Any:
    """Plain numbers for JSON, which knows no NaN: null instead."""
    if np.ndim(values):
        return [rounded(x) for x in values]
    return round(float(values), DIGITS) if np.isfinite(values) else None
