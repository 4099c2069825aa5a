"""Pictures in a notebook, and sliders that draw them anew."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from rope_lab.plots.style import PathLike

_PIXELS = 720  # on the page: type of 10 points is then as large as the text around it


def show(path: PathLike, see: str) -> None:
    """Shows a picture under the cell, and below it one line that says what to see.

        show(plots.wavelengths({"RoPE": rotary.rope(64)}, 256, "waves.png"), "Each ...")

    Args:
      path: of a PNG file, what every function of `rope_lab.plots` returns.
      see: one line; also what a screen reader reads in place of the picture.
    """
    from IPython.display import Image, Markdown, display  # of the extra `colab`

    display(Image(filename=str(path), width=_PIXELS, alt=see))
    display(Markdown(f"*{see}*"))


def sliders(draw: Callable[..., PathLike], see: str, **controls: Any) -> None:
    """Shows a picture below sliders, and draws it anew when one of them is moved.

    Not `ipywidgets.interact`, which would hide an error of the first drawing from
    whoever runs the notebook as a program.

    Args:
      draw: called with the value of each control by name; returns a PNG file.
      see: the line below.
      **controls: widgets with a value, such as ``window=IntSlider(8, min=1, max=64)``.
    """
    from IPython.display import display
    from ipywidgets import HTML, Image, VBox

    picture = Image(format="png", width=_PIXELS)

    def update(_: Any = None) -> None:
        values = {name: control.value for name, control in controls.items()}
        picture.value = Path(draw(**values)).read_bytes()

    for name, control in controls.items():
        control.description = name
        control.observe(update, names="value")
    update()
    display(VBox([*controls.values(), picture, HTML(f"<em>{see}</em>")]))
