"""Makes the notebooks from their plain text, runs them and keeps what they draw.

    python -m colab.execute                  # all of them
    python -m colab.execute 1_see*           # those whose names match

The plain text, N_name.py, is what one edits and reviews; N_name.ipynb beside it is what
Colab opens, without outputs. Executed copies and their pictures go to runs/notebooks.
Needs the extra `dev`.
"""

from __future__ import annotations

import base64
import fnmatch
import os
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import jupytext
import nbformat
from nbclient import NotebookClient

HERE = Path(__file__).resolve().parent
RUNS = HERE.parent / "runs" / "notebooks"
SOURCES = sorted(HERE.glob("[0-9]_*.py"))
_WIDGETS = "application/vnd.jupyter.widget-state+json"
_SECONDS = 600  # for one cell


def paired(source: Path) -> nbformat.NotebookNode:
    """The notebook of a plain text, as it is stored: no outputs, cells numbered."""
    notebook = jupytext.read(source)
    for number, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{number:02}"
        cell["metadata"] = {}
    language = {"name": "python"}
    notebook.metadata["language_info"] = language  # what Colab's editor goes by
    return notebook


def execute(source: Path) -> nbformat.NotebookNode:
    """Runs a notebook top to bottom in an empty folder; returns it with its outputs.

    Raises:
      nbclient.exceptions.CellExecutionError: a cell that raises.
    """
    notebook = paired(source)
    environment = {**os.environ, "PYTHONPATH": str(HERE.parent)}
    environment.setdefault("JAX_PLATFORMS", "cpu")
    with TemporaryDirectory() as folder:
        client = NotebookClient(
            notebook,
            timeout=_SECONDS,
            kernel_name="python3",
            resources={"metadata": {"path": folder}},
        )
        client.execute(env=environment)
    return notebook


def pictures(notebook: nbformat.NotebookNode) -> list[bytes]:
    """Every PNG that the notebook shows: those of cells, then those under sliders."""
    shown = [
        out.get("data", {}) for c in notebook.cells for out in c.get("outputs", [])
    ]
    found = [data["image/png"] for data in shown if "image/png" in data]
    widgets = notebook.metadata.get("widgets", {}).get(_WIDGETS, {"state": {}})
    for widget in widgets["state"].values():
        if widget["model_name"] == "ImageModel":
            found += [buffer["data"] for buffer in widget["buffers"]]
    return [base64.b64decode(picture) for picture in found]


def main(patterns: list[str]) -> None:
    """Writes the pairs, executes them, and says how long each took."""
    RUNS.mkdir(parents=True, exist_ok=True)
    for source in SOURCES:
        if not any(fnmatch.fnmatch(source.name, f"{p}*") for p in patterns or ["*"]):
            continue
        nbformat.write(paired(source), source.with_suffix(".ipynb"))
        start, before = time.monotonic(), os.times()
        notebook = execute(source)
        seconds, after = time.monotonic() - start, os.times()
        worked = sum(after[2:4]) - sum(before[2:4])  # by the kernel, which has ended
        nbformat.write(notebook, RUNS / f"{source.stem}.ipynb")
        drawn = pictures(notebook)
        for number, picture in enumerate(drawn):
            (RUNS / f"{source.stem}-{number}.png").write_bytes(picture)
        took = f"{seconds:.0f} s, {worked:.0f} s of processor time"
        print(f"{source.stem}: {took}, {len(drawn)} pictures", flush=True)
    print(f"executed copies and pictures are in {RUNS}")


if __name__ == "__main__":
    main(sys.argv[1:])
