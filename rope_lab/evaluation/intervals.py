"""95 % intervals by a bootstrap over documents.

Windows of one document, and tokens of one window, share subject and style: treating
them as independent makes intervals far too narrow. So whole documents are drawn, with
replacement, and every statistic is a mean over the windows of the drawn documents.

A percentile interval of few documents is too narrow by about sqrt((n-1)/n) and by
taking a normal in place of a t quantile; the percentiles are widened for both
(the expanded percentile interval of Hesterberg, arXiv 1411.5279).
"""

import functools
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, Shaped
from scipy import stats

RESAMPLES = 4000


class Interval(NamedTuple):
    """A mean and its 95 % interval; low and high are NaN with a single document."""

    mean: np.ndarray | float
    low: np.ndarray | float
    high: np.ndarray | float


def mean_interval(
    values: Float[np.ndarray, "N ..."],
    document_ids: Shaped[np.ndarray, " N"],
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval:
    """Mean over windows, with an interval from resampling documents.

    Args:
      values: one value per window, or an array of them (position bins).
      document_ids: the document each window was cut from.
      resamples: bootstrap draws.
      seed: of the draws; equal seeds draw equal documents.

    Raises:
      ValueError: if there are no windows, or not one document per window.
    """
    values = np.asarray(values, np.float64)
    ids = np.asarray(document_ids)
    if len(values) < 1 or ids.shape != (len(values),):
        raise ValueError(
            f"values has {len(values)} windows and document_ids shape {ids.shape}; "
            "expected at least one window and one document id for each"
        )
    return ratio_interval(*_by_document(values, ids), resamples, seed)


def ratio_interval(
    sums: Float[np.ndarray, "M ..."],
    sizes: Float[np.ndarray, " M"],
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval:
    """Sum of `sums` by sum of `sizes`, with its interval over documents.

    Args:
      sums: one total per document, such as the loss of its tokens.
      sizes: what it is a total of, such as the number of its tokens; positive.
      resamples: bootstrap draws.
      seed: of the draws; equal seeds draw equal documents.
    """
    sums, sizes = np.asarray(sums, np.float64), np.asarray(sizes, np.float64)
    mean = sums.sum(axis=0) / sizes.sum()
    if len(sizes) == 1:
        unknown = np.full_like(mean, np.nan)
        return Interval(mean[()], unknown[()], unknown[()])
    counts = _draws(len(sizes), resamples, seed)
    shape = (-1,) + (1,) * (sums.ndim - 1)
    means = np.tensordot(counts, sums, axes=1) / (counts @ sizes).reshape(shape)
    low, high = np.quantile(means, _levels(len(sizes)), axis=0)
    return Interval(mean[()], low[()], high[()])


def paired_interval(
    a: Float[np.ndarray, "N ..."],
    b: Float[np.ndarray, "N ..."],
    document_ids: Shaped[np.ndarray, " N"],
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval:
    """Mean of a - b over the same windows, with an interval over documents.

    Raises:
      ValueError: if a and b differ in shape, so cannot be of the same windows.
    """
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if a.shape != b.shape:
        raise ValueError(
            f"a has shape {a.shape} and b {b.shape}; a paired difference needs the "
            "values of the same windows"
        )
    return mean_interval(a - b, document_ids, resamples, seed)


def _by_document(
    values: Float[np.ndarray, "N ..."], ids: Shaped[np.ndarray, " N"]
) -> tuple[Float[np.ndarray, "M ..."], Int[np.ndarray, " M"]]:
    """Sum of the values, and number of windows, of each document."""
    _, index, sizes = np.unique(ids, return_inverse=True, return_counts=True)
    sums = np.zeros((len(sizes), *values.shape[1:]))
    np.add.at(sums, index, values)
    return sums, sizes


@functools.lru_cache(maxsize=16)
def _draws(documents: int, resamples: int, seed: int) -> Float[np.ndarray, "R M"]:
    """How often each document is drawn in each resample."""
    rng = np.random.default_rng(seed)
    return rng.multinomial(
        documents, np.full(documents, 1 / documents), resamples
    ).astype(np.float64)


def _levels(documents: int) -> tuple[float, float]:
    """The two percentiles (as fractions) of the expanded interval."""
    quantile = stats.t.ppf(0.975, documents - 1)
    low = stats.norm.cdf(-quantile * np.sqrt(documents / (documents - 1)))
    return low, 1 - low
