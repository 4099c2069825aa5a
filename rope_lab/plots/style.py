"""How pictures look, on light and on dark pages.

Colours are those of Okabe and Ito, which people with the common colour deficiencies can
tell apart, brightened on dark ground; nothing is told by colour alone.
"""

import os
from collections.abc import Callable
from pathlib import Path

import matplotlib
from cycler import cycler
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

WIDTH = 5.6  # inches: type of 10 points stays readable on a phone
UNTRAINED = "#D55E00"
GREY = "0.5"  # readable on both
_SHARED = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.grid": True,
    "grid.linewidth": 0.5,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "savefig.dpi": 160,
}

PathLike = str | os.PathLike


def _theme(ink: str, soft: str, grid: str, card: str, series: str) -> dict:
    colors = {"text.color": ink, "axes.labelcolor": ink, "axes.titlecolor": ink}
    colors |= {"xtick.color": soft, "ytick.color": soft, "axes.edgecolor": soft}
    colors |= {"figure.facecolor": card, "axes.facecolor": card, "grid.color": grid}
    colors |= {"savefig.facecolor": card}
    return _SHARED | colors | {"axes.prop_cycle": cycler(color=series.split())}


LIGHT = _theme(
    "#1b1f24", "#57606a", "#e4e7eb", "#ffffff",
    "#0072B2 #D55E00 #009E73 #CC79A7 #B87F00 #56B4E9",
)  # fmt: skip
DARK = _theme(
    "#e6e9ed", "#9aa4b0", "#2c333c", "#171b21",
    "#56B4E9 #F0803C #2FC89A #E39CC4 #F0C040 #8A9BFF",
)  # fmt: skip
NUM_COLORS = 6


def series() -> list[str]:
    """The colours of the theme in force."""
    return matplotlib.rcParams["axes.prop_cycle"].by_key()["color"]


def dark_path(path: PathLike) -> Path:
    """Where the picture for dark pages lies: ``loss.png`` -> ``loss-dark.png``."""
    path = Path(path)
    return path.with_name(f"{path.stem}-dark{path.suffix}")


def save(draw: Callable[[Figure], None], path: PathLike, height: float) -> Path:
    """Draws the same picture for light and for dark pages."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    for target, theme in ((path, LIGHT), (dark_path(path), DARK)):
        with matplotlib.rc_context(theme):
            figure = Figure(figsize=(WIDTH, height), layout="constrained")
            FigureCanvasAgg(figure)
            draw(figure)
            figure.savefig(target)
    return path
