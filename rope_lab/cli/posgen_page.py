"""The page of the PosGen study: README.md and pictures, made from results alone.

The folder holds one results file per size; the page is written from all of them, so it
grows as they are run and says what is missing.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from rope_lab import plots
from rope_lab.cli.posgen_tables import (
    MODEL_SIZES,
    claims_table,
    data_table,
    gain_table,
    main_table,
    missing,
    modulus_table,
    prefixes_table,
    run_lines,
)
from rope_lab.evaluation import load_results, save_results

MODULUS = "modulus"  # a study of its own, which has no size of model to compare
SIZES = (*MODEL_SIZES, MODULUS)
READING = "reading.md"  # what a person adds, without numbers

INTRODUCTION = """\
# PosGen

The synthetic tasks of [2403.00071](https://arxiv.org/abs/2403.00071), section 5. The
next token is a sum modulo m of a few earlier ones: the last four (*recursive*), the
first and the last three (*cot*), or the last three and one that a pointer moving at
half the speed shows (*semi_recursive*). A decoder of two layers learns sequences of 64
tokens and is measured, teacher-forced, on 256.

This page is written by `rope-lab posgen` from the JSON files beside it. Accuracies are
token accuracies in percent, mean ± standard deviation over seeds; of the published ones
the paper gives what it calls the variance over 5 runs. A row marked † did not reach
95 % within the training length: it has not learned the task, and its accuracy beyond
says little about the encoding. A difference counts when it exceeds its standard error.
Beside it stands its 95 % interval, by Student's t over seeds, and below the table which
of the differences that count have 0 in it. Differences are paired, since two rows of
one seed start from the same parameters and read the same data.
"""


def write_page(folder: str | os.PathLike, results: dict[str, Any]) -> Path:
    """Puts results and their pictures into the folder, and writes its README.md."""
    folder = Path(folder)
    save_results(folder / f"{results['size']}.json", results)
    if results["size"] != MODULUS:
        entries, titles = results["cells"], [_title(e) for e in results["cells"]]
        for name, draw in _PICTURES.items():
            draw(entries, folder / f"{results['size']}-{name}.png", titles)
    path = folder / "README.md"
    path.write_text(page(read_studies(folder), _reading(folder)), encoding="utf-8")
    return path


_PICTURES = {"accuracy": plots.posgen_accuracy, "validation": plots.posgen_validation}


def read_studies(folder: str | os.PathLike) -> dict[str, dict[str, Any]]:
    """size -> results, of the files that are there."""
    paths = {size: Path(folder) / f"{size}.json" for size in SIZES}
    return {size: load_results(path) for size, path in paths.items() if path.exists()}


def _reading(folder: Path) -> str:
    path = folder / READING
    return path.read_text(encoding="utf-8") if path.exists() else ""


def page(studies: dict[str, dict[str, Any]], reading: str = "") -> str:
    """README.md, from the results of each size that has been run."""
    sized = {size: r for size, r in studies.items() if size != MODULUS}
    parts = [INTRODUCTION, "## Beyond the training length\n\n" + main_table(sized)]
    parts += [f"Not run yet: {line}." for line in missing(studies)]
    if reading:
        parts.append("## Reading\n\n" + reading.strip())
    for size, results in sized.items():
        parts.append(f"## Does Resonance help? {size.capitalize()} size")
        parts += [claims_table(results), *_images(size, results)]
        parts += ["What a test sequence shares with training:", data_table(results)]
        if released := prefixes_table(results):
            parts += ["With the prefixes of the released code:", released]
    if MODULUS in studies:
        parts += ["## The modulus", modulus_table(studies[MODULUS])]
    for size, results in studies.items():
        if "gain" in results:
            title = f"## One program for all members, {size} size"
            parts += [title, gain_table(results)]
    if studies:
        parts += ["## Runs", *(run_lines(size, r) for size, r in studies.items())]
    return "\n\n".join(part.strip("\n") for part in parts) + "\n"


def _images(size: str, results: dict[str, Any]) -> list[str]:
    encodings = ", ".join(row["label"] for row in results["cells"][0]["rows"])
    return [
        f"![Accuracy by position of {encodings}]({size}-accuracy.png)",
        f"![Validation loss by step of {encodings}]({size}-validation.png)",
    ]


def _title(entry: dict[str, Any]) -> str:
    data = entry["settings"]["data"]
    released = ", released prefixes" if data["prefixes"] == "released" else ""
    return f"{data['subtask']}, m = {data['modulus']}{released}"
