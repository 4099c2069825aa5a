"""Pictures in a notebook."""

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
