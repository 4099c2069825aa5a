"""Encodings themselves: matrices of relative positions, and wavelengths."""

import textwrap
from collections.abc import Mapping
from pathlib import Path

import matplotlib
import numpy as np
from jaxtyping import Array, Float
from matplotlib.figure import Figure

from rope_lab.plots.style import (
    GREY,
    MARKERS,
    UNTRAINED,
    PathLike,
    save,
    styled,
    type_size,
)
from rope_lab.rotary import Frequencies, critical_dimension

_WRITTEN = 12  # tokens of a matrix whose squares have room for numbers


def relative_position_matrices(
    matrices: Mapping[str, Float[Array, "T T"]],
    train_length: int,
    path: PathLike,
    title: str | None = None,
) -> Path:
    """Relative positions, in tokens, seen by query i (down) at key j (across).

    Distances of the training length or more, which training never saw, are drawn in
    one signal colour; hidden keys stay blank. Up to 12 tokens the numbers are written
    into the squares.
    """
    columns = 2 if len(matrices) in (2, 4) else min(3, len(matrices))
    lines = -(-len(matrices) // columns)
    letters = 18 if columns > 2 else 28  # of a name, on one line
    trained = np.nextafter(np.float32(train_length), 0)  # the length itself is not
    colors = matplotlib.colormaps["cividis"].with_extremes(over=UNTRAINED)

    def draw(figure: Figure) -> None:
        grid = figure.subplots(lines, columns, squeeze=False).ravel()
        drawn = grid[: len(matrices)]
        for axes, (name, matrix) in zip(drawn, matrices.items(), strict=True):
            matrix = np.ma.masked_invalid(np.asarray(matrix))
            image = axes.imshow(
                matrix, cmap=colors, vmin=0, vmax=trained, rasterized=True
            )
            axes.set_title(
                f"{textwrap.fill(name, letters)}\nup to {matrix.max():.4g}",
                fontsize=type_size(0.9),
            )
            axes.grid(False)
            if len(matrix) <= _WRITTEN:
                _write_numbers(axes, matrix, train_length, columns)
            axes.set_xlabel("key j")
            axes.set_ylabel("query i")
            axes.label_outer()
            axes.locator_params(nbins=3)
        for axes in grid[len(matrices) :]:
            axes.remove()
        bar = figure.colorbar(
            image, ax=drawn, location="bottom", extend="max",
            shrink=0.7, aspect=30, pad=0.03,
        )  # fmt: skip
        bar.set_label(
            f"relative position, tokens (orange: {train_length} and more, untrained)"
        )

    return save(draw, path, 1.1 + 6.3 / columns * lines, title)


def _write_numbers(axes, matrix, train_length: int, columns: int) -> None:
    """In white on the dark half of the scale, in black on the rest."""
    digits = max(len(f"{value:.3g}") for value in matrix.compressed())
    size = type_size(min(0.85, 2.8 / digits) * (1 if columns < 3 else 0.7))
    for (i, j), value in np.ma.ndenumerate(matrix):
        ink = "white" if value < train_length / 2 else "black"
        axes.text(j, i, f"{value:.3g}", ha="center", va="center", color=ink,
                  fontsize=size)  # fmt: skip


def wavelengths(
    frequencies: Mapping[str, Frequencies],
    train_length: int,
    path: PathLike,
    title: str | None = None,
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
        for style, (label, values) in styled(known.items(), MARKERS):
            above.plot(values, label=label, lw=1.2, markersize=4, **style)
            rounding = 100 * (np.rint(values).clip(1) / values - 1)
            below.plot(rounding, lw=1, label=label, markersize=4, **style)
        above.set_yscale("log")
        above.axhline(train_length, color=GREY, ls="--", lw=1)
        above.text(
            1, train_length * 1.15, f"training length {train_length}",
            transform=above.get_yaxis_transform(), ha="right",
        )  # fmt: skip
        for axes in (above, below):
            axes.axvline(critical - 0.5, color=GREY, ls=":", lw=1.2)
        below.margins(y=0.25)  # room for the words above the points
        below.text(
            critical - 0.3, 0.97, f"critical dimension {critical}",
            transform=below.get_xaxis_transform(), va="top",
        )  # fmt: skip
        above.set_ylabel("wavelength, tokens")
        above.legend(loc="upper left")
        below.set_ylabel("change by\nrounding, %")
        below.set_xlabel("plane (pair of head dimensions)")

    return save(draw, path, 5.2, title)
