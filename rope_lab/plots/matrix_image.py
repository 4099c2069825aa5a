"""A matrix of relative positions as a small picture without axes, for pages of many."""

from __future__ import annotations

import io

import matplotlib
import numpy as np
from jaxtyping import Array, Float
from matplotlib.image import imsave

from rope_lab.plots.style import UNTRAINED


def matrix_image(matrix: Float[Array, "T T"], train_length: int) -> bytes:
    """A PNG with a pixel for each entry, query i down, key j across.

    Colours are those of `relative_position_matrices`; hidden keys are transparent.
    """
    values_TT = np.asarray(matrix, np.float64)
    shown = matplotlib.colormaps["cividis"](values_TT / train_length)
    shown[values_TT >= train_length] = matplotlib.colors.to_rgba(UNTRAINED)
    shown[np.isnan(values_TT)] = 0.0
    file = io.BytesIO()
    imsave(file, shown, format="png")
    return file.getvalue()


def scale_colors(count: int = 8) -> list[str]:
    """Colours of distances 0 to the training length, in equal steps."""
    colors = matplotlib.colormaps["cividis"](np.linspace(0, 1, count))
    return [matplotlib.colors.to_hex(color) for color in colors]
