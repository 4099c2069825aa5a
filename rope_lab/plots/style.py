"""How pictures look: on light and on dark pages, and in the columns of a paper.

Colours are those of Okabe and Ito, which people with the common colour deficiencies can
tell apart, brightened on dark ground; nothing is told by colour alone. Sizes of type
are given as shares of the theme's own, so that one drawing serves every width.
"""

import os
import textwrap
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import matplotlib
from cycler import cycler
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure, SubFigure

WIDTH = 5.6  # inches: type of 10 points stays readable on a phone
SIZE = 10  # points, of most type on a page; heights are given for it
UNTRAINED = "#D55E00"
GREY = "0.5"  # readable on both
_SHARED = {
    "font.size": SIZE,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": "medium",
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.grid": True,
    "grid.linewidth": 0.5,
    "legend.edgecolor": "none",  # an unframed card, so that no line runs through type
    "legend.framealpha": 1.0,
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
MARKERS = "os^Dv*"
_DASHES = ("-", "--", ":", "-.")
_GREY_DASHES = (":", "--", "-.", "-")
T = TypeVar("T")


class Paper(NamedTuple):
    """Width in inches, and points of type, of a picture in a paper."""

    width: float
    size: float


# The column and the text width of two-column proceedings.
PAPERS = {"single": Paper(3.35, 7), "double": Paper(6.9, 8)}
_paper: ContextVar[Paper | None] = ContextVar("paper", default=None)


@contextmanager
def paper(columns: str = "single") -> Iterator[None]:
    """Inside, every picture is one vector PDF for a paper in place of two PNG files.

        with plots.paper("double"):
            plots.loss_by_position(results, "loss.pdf")

    Args:
      columns: "single", 3.35 inches wide with type of 7 points; or "double", 6.9 inches
        and 8 points. Include the file at its own size.

    Raises:
      ValueError: another word.
    """
    if columns not in PAPERS:
        raise ValueError(f"columns is {columns!r}; expected one of {sorted(PAPERS)}")
    token = _paper.set(PAPERS[columns])
    try:
        yield
    finally:
        _paper.reset(token)


def series() -> list[str]:
    """The colours of the theme in force."""
    return matplotlib.rcParams["axes.prop_cycle"].by_key()["color"]


def styled(items: Iterable[T], markers: str = "") -> Iterator[tuple[dict[str, Any], T]]:
    """(keywords of `plot`, item): dashes change when the six colours are used up.

    Args:
      items: what is drawn, a curve each, however many.
      markers: a sign for each, in turn; none where it is empty.
    """
    colors = series()
    for n, item in enumerate(items):
        dashes = _DASHES[n // NUM_COLORS % len(_DASHES)]
        style: dict[str, Any] = {"color": colors[n % NUM_COLORS], "ls": dashes}
        if markers:
            style["marker"] = markers[n % len(markers)]
        yield style, item


def styled_grey(items: Iterable[T]) -> Iterator[tuple[dict[str, Any], T]]:
    """The same for what curves are compared with: grey, and told apart by dashes."""
    for n, item in enumerate(items):
        yield {"color": GREY, "ls": _GREY_DASHES[n % len(_GREY_DASHES)]}, item


def type_size(share: float) -> float:
    """A size of type, in points, as a share of the theme's."""
    return share * matplotlib.rcParams["font.size"]


def panel_columns() -> int:
    """How many panels stand side by side: two in a single column, else three."""
    return 2 if _paper.get() is PAPERS["single"] else 3


def dark_path(path: PathLike) -> Path:
    """Where the picture for dark pages lies: ``loss.png`` -> ``loss-dark.png``."""
    path = Path(path)
    return path.with_name(f"{path.stem}-dark{path.suffix}")


def save(
    draw: Callable[[Figure], None],
    path: PathLike,
    height: float,
    title: str | None = None,
) -> Path:
    """Draws the same picture for light and for dark pages, or once for a paper.

    Args:
      draw: puts axes into an empty figure; called once for each file.
      path: of the PNG file, or inside `paper` of the PDF file.
      height: inches, for type of 10 points; smaller type makes it smaller.
      title: what the picture shows, above it.

    Raises:
      ValueError: another kind of file.
    """
    path, page = Path(path), _paper.get()
    _check_suffix(path, ".png" if page is None else ".pdf")
    path.parent.mkdir(parents=True, exist_ok=True)
    if page is None:
        for target, theme in ((path, LIGHT), (dark_path(path), DARK)):
            _draw_one(draw, target, theme, (WIDTH, height), title)
        return path
    size = (page.width, height * page.size / SIZE)
    _draw_one(draw, path, _on_paper(page), size, title)
    return path


def _draw_one(draw, path: Path, theme: dict, size, title: str | None) -> None:
    with matplotlib.rc_context(theme):
        figure = Figure(figsize=size, layout="constrained")
        FigureCanvasAgg(figure)
        draw(figure if title is None else _under_title(figure, title))
        undated = {"CreationDate": None} if path.suffix == ".pdf" else None
        figure.savefig(path, metadata=undated)


def _under_title(figure: Figure, title: str) -> SubFigure:
    """Writes a title above, and gives what is below, as large as all was before.

    A part of its own, since legends outside of the axes would lie over a suptitle.
    """
    width, height = figure.get_size_inches()
    size = type_size(1.1)
    letters = int(width * 72 / (0.58 * size))  # of bold type, on one line
    lines = textwrap.wrap(title, letters)
    above = (1.3 * len(lines) + 0.5) * size / 72
    figure.set_size_inches(width, height + above)
    grid = figure.add_gridspec(2, 1, height_ratios=[above, height])
    head, body = figure.add_subfigure(grid[0]), figure.add_subfigure(grid[1])
    left = 0.05 / width
    text = "\n".join(lines)
    head.text(left, 0.5, text, va="center", weight="bold", size=size, linespacing=1.3)
    return body


def _on_paper(page: Paper) -> dict:
    """White paper; type that stays text in the file (Type 42), and thinner lines."""
    return LIGHT | {
        "font.size": page.size,
        "pdf.fonttype": 42,
        "lines.linewidth": 1.2,
        "lines.markersize": 3,
        "axes.linewidth": 0.6,
    }


def _check_suffix(path: Path, expected: str) -> None:
    if path.suffix != expected:
        raise ValueError(
            f"{path}: pictures of pages are .png files, those inside plots.paper(...) "
            f".pdf files; give a name that ends with {expected}"
        )
