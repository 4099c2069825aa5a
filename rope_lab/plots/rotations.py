"""What a plane of RoPE does: angles on the circle, of training and beyond."""

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from rope_lab.plots.style import UNTRAINED, PathLike, save, series, type_size
from rope_lab.rotary import Frequencies, angles, feature_gap

_INSIDE, _OUTSIDE = 1.0, 1.28  # radii, so that neither hides the other


def rotations(
    frequencies: Mapping[str, Frequencies],
    train_length: int,
    length: int,
    path: PathLike,
    planes: Sequence[int],
    title: str | None = None,
) -> Path:
    """Angle of every distance in a few planes; a row of circles for each encoding.

    Blue are the distances below the training length, under the first encoding, which
    was trained; orange, on a circle outside, those up to `length`, under the row's own.
    Where orange stands without blue beside it, the model meets an angle it has not
    learned; `rotary.feature_gap` is the longest way from orange to blue. Above each
    circle: the wavelength λ, tokens a turn, and the gap.

    Args:
      frequencies: by name; the first is what the model was trained with.
      train_length: tokens.
      length: tokens, above train_length.
      path: PNG file to write.
      planes: which, fast ones first.
      title: above the picture.
    """
    trained = next(iter(frequencies.values()))
    seen = np.asarray(angles(np.arange(train_length), trained))
    far = np.arange(train_length, length)

    def draw(figure: Figure) -> None:
        grid = figure.subplots(
            len(frequencies), len(planes), sharex=True, sharey=True, squeeze=False
        )
        for line, (name, own) in zip(grid, frequencies.items(), strict=True):
            gaps = feature_gap(own, train_length, length, trained)
            beyond = np.asarray(angles(far, own))
            for axes, plane in zip(line, planes, strict=True):
                _circle(axes, seen[:, plane], _INSIDE, series()[0], "o")
                _circle(axes, beyond[:, plane], _OUTSIDE, UNTRAINED, "s")
                turn = _short(float(own.wavelengths[plane]))
                _label(axes, f"plane {plane}\nλ = {turn}\ngap {gaps[plane]:.2f}")
            line[0].set_ylabel(
                f"{textwrap.fill(name, 18)}\nsin of the angle", size=type_size(0.9)
            )
        for axes in grid[-1]:
            axes.set_xlabel("cos of the angle", size=type_size(0.9))
        figure.legend(
            grid[0, 0].get_lines()[:2],
            [
                f"trained distances, 0 to {train_length - 1} tokens",
                f"untrained, {train_length} to {length - 1}",
            ],
            loc="outside lower center",
            ncols=2,
        )

    return save(draw, path, 0.9 + 1.75 * len(frequencies), title)


def _circle(axes, angles_N: np.ndarray, radius: float, color: str, marker: str) -> None:
    axes.plot(
        radius * np.cos(angles_N), radius * np.sin(angles_N), marker, color=color,
        markersize=type_size(0.25), markeredgewidth=0, rasterized=len(angles_N) > 2000,
    )  # fmt: skip


def _short(tokens: float) -> str:
    return f"{tokens:,.0f}" if tokens >= 100 else f"{tokens:.3g}"


def _label(axes, words: str) -> None:
    axes.set_title(words, fontsize=type_size(0.8))
    axes.set_aspect("equal")
    axes.set_xlim(-1.5, 1.5)
    axes.set_ylim(-1.5, 1.5)
    axes.set_xticks([-1, 0, 1])
    axes.set_yticks([-1, 0, 1])
