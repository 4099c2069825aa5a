"""Wavelengths that a search found, beside those it started from."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from rope_lab.plots.style import GREY, MARKERS, PathLike, save, styled
from rope_lab.rotary import Frequencies


def found_wavelengths(
    frequencies: Mapping[str, Frequencies],
    train_length: int,
    path: PathLike,
    title: str | None = None,
) -> Path:
    """Wavelength of each plane, and by how much it differs from the first entry's."""
    known = {k: np.asarray(f.wavelengths, np.float64) for k, f in frequencies.items()}
    start = next(iter(known.values()))

    def draw(figure: Figure) -> None:
        above, below = figure.subplots(2, 1, sharex=True)
        for style, (label, values) in styled(known.items(), MARKERS):
            above.plot(values, label=label, lw=1.2, markersize=4, **style)
            below.plot(100 * (values / start - 1), lw=1, markersize=4, **style)
        above.set_yscale("log")
        above.axhline(train_length, color=GREY, ls="--", lw=1)
        above.text(0, train_length * 1.15, f"training length {train_length}")
        above.set_ylabel("wavelength, tokens")
        above.legend(loc="lower right")
        below.set_ylabel(f"change from\n{next(iter(known))}, %")
        below.set_xlabel("plane (pair of head dimensions)")

    return save(draw, path, 5.6, title)
