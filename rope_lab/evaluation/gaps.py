"""Does the feature gap of a row's frequencies predict how much it loses beyond L?

A row has a gap where one band serves all layers. Its loss is that of the tokens beyond
the training length, minus that of truncated context under the model's own encoding.
"""

from typing import Any

import numpy as np
from jaxtyping import Float
from scipy import stats

from rope_lab.evaluation.combine import model_labels, of_model
from rope_lab.evaluation.intervals import Interval
from rope_lab.evaluation.results import NATURAL, Results, cell, truncated_row
from rope_lab.logic import logic_from_dict
from rope_lab.rotary import Frequencies, feature_gap

RESAMPLES = 4000
FEWEST = 4  # rows that a rank correlation is worth computing of


def row_gaps(results: Results) -> dict[str, Float[np.ndarray, " P"]]:
    """label -> gap of each plane at the longest length, of rows with one band.

    The trained angles are those of the frequencies that the row's model was trained
    with; a model that rotates nothing, or not with one band, gives its rows no gap.
    """
    length, gaps = max(results["lengths"]), {}
    for row in results["rows"]:
        reference = truncated_row(of_model(results, row["model"]))
        trained = _one_band(reference, length) if reference else None
        frequencies = _one_band(row, length)
        if row["truncated"] or trained is None or frequencies is None:
            continue
        if frequencies.planes == trained.planes:
            gaps[row["label"]] = feature_gap(
                frequencies, results["train_length"], length, trained
            )
    return gaps


def loss_increase(results: Results, label: str) -> float:
    """Nats beyond the training length, minus truncated context, on natural text."""
    (row,) = (row for row in results["rows"] if row["label"] == label)
    found = cell(row, max(results["lengths"]), NATURAL)
    return found["minus_truncated"]["beyond"]["mean"]


def gap_correlations(results: Results) -> dict[str, Any]:
    """Spearman's rank correlation of mean and largest gap with the loss increase.

    {"rows": count, "mean": {"mean", "interval"}, "largest": ..., "models": {label of a
    model: the same three of its rows alone}}. Rows of one model with equal gaps and
    equal losses are one encoding under several names, and count once. Intervals are
    from a bootstrap over rows within each model; correlations are null with fewer than
    `FEWEST` rows, or where gaps or losses do not vary.
    """
    gaps = row_gaps(results)
    model_of = {row["label"]: row["model"] for row in results["rows"]}
    distinct: dict[tuple[str, bytes, float], tuple[str, np.ndarray, float]] = {}
    for label, values in gaps.items():
        model, loss = model_of[label], loss_increase(results, label)
        distinct.setdefault((model, values.tobytes(), loss), (model, values, loss))
    points = list(distinct.values())
    models = {
        model: [point for point in points if point[0] == model]
        for model in model_labels(results)
    }
    return _correlations(points) | {
        "models": {model: _correlations(own) for model, own in models.items() if own}
    }


def _correlations(points: list[tuple[str, np.ndarray, float]]) -> dict[str, Any]:
    """Of (model, gap of each plane, loss increase), one per row."""
    found: dict[str, Any] = {"rows": len(points), "mean": None, "largest": None}
    if len(points) >= FEWEST:
        models, gaps, losses = zip(*points, strict=True)
        for name, reduce in (("mean", np.mean), ("largest", np.max)):
            reduced = [reduce(values) for values in gaps]
            mean, low, high = rank_correlation(reduced, losses, groups=models)
            if not np.isnan(mean):
                interval = None if np.isnan(low) else [float(low), float(high)]
                found[name] = {"mean": float(mean), "interval": interval}
    return found


def rank_correlation(
    a: Any, b: Any, resamples: int = RESAMPLES, seed: int = 0, groups: Any = None
) -> Interval:
    """Spearman's correlation of paired values with its 95 % percentile interval.

    Pairs are drawn with replacement; a draw in which one of the two does not vary has
    no correlation and is left out.

    Args:
      a, b: float[N].
      resamples: bootstrap draws.
      seed: of the draws.
      groups: a name per pair; each draw has as many pairs of a group as there are. By
        default all are of one.

    Raises:
      ValueError: for fewer than two pairs, or unequal numbers of values or names.
    """
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if a.shape != b.shape or a.ndim != 1 or len(a) < 2:
        raise ValueError(
            f"a has shape {a.shape} and b {b.shape}; a rank correlation needs at least "
            "two pairs of numbers"
        )
    names = np.zeros(len(a)) if groups is None else np.asarray(groups)
    if names.shape != a.shape:
        raise ValueError(
            f"groups has {len(names)} names for {len(a)} pairs; give one name per pair"
        )
    rng, drawn = np.random.default_rng(seed), []
    for name in np.unique(names):
        own = np.flatnonzero(names == name)
        drawn.append(own[rng.integers(len(own), size=(resamples, len(own)))])
    drawn_RN = np.concatenate(drawn, axis=1)
    found = _spearman(a[drawn_RN], b[drawn_RN])
    found = found[np.isfinite(found)]
    low, high = np.quantile(found, [0.025, 0.975]) if len(found) else (np.nan, np.nan)
    return Interval(float(_spearman(a[None], b[None])[0]), low, high)


def _spearman(a_RN: np.ndarray, b_RN: np.ndarray) -> np.ndarray:
    """Correlation of the mean ranks in each line; NaN where one does not vary."""
    ranks = [stats.rankdata(x, axis=1) for x in (a_RN, b_RN)]
    a, b = (rank - rank.mean(axis=1, keepdims=True) for rank in ranks)
    scale = np.sqrt((a**2).sum(axis=1) * (b**2).sum(axis=1))
    with np.errstate(invalid="ignore", divide="ignore"):
        return (a * b).sum(axis=1) / scale


def _one_band(row: dict[str, Any], length: int) -> Frequencies | None:
    described = cell(row, length, NATURAL)["logic"]
    if not isinstance(described, dict) or "schema_version" not in described:
        return None
    bands = logic_from_dict(described).bands
    if len(bands) != 1 or not bands[0].frequencies.planes:
        return None
    return bands[0].frequencies
