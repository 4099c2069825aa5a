"""Runs side by side on one page that needs nothing else.

    rope-lab compare runs/base runs/long --out compare.html

Takes folders of pretrain, finetune, extrapolate, posgen, evaluate, perplexity and the
demo, those of studies and sweeps, which stand for the runs in them, and files like
results.json. The page shows values by length and position, wavelengths, matrices of
relative positions, and differences between runs, paired on the text that both measured;
a run that is damaged or unfinished is named there. Ends with status 1, and no page,
where no folder holds a single measurement.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from rope_lab.cli.compare_page import compare_page
from rope_lab.cli.compare_runs import read_runs


def compare(paths: Sequence[str | Path], out: str | Path) -> int:
    """Writes the page; returns the status of the command.

    Raises:
      ValueError: a folder is not there.
    """
    runs = read_runs(paths)
    for run in runs:
        for problem in run.problems:
            print(f"{run.name}: {problem}")
    if not any(run.lines or run.curves for run in runs):
        print("nothing to compare: no folder holds a measurement that can be read")
        return 1
    path = Path(out)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(compare_page(runs), encoding="utf-8")
    print(path)
    return 0


def main(arguments: Sequence[str]) -> int:
    """`rope-lab compare`; argparse ends wrong usage with status 2."""
    parser = argparse.ArgumentParser(
        prog="rope-lab compare",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("runs", nargs="+", metavar="RUN_DIR")
    parser.add_argument("--out", default="compare.html", metavar="FILE")
    options = parser.parse_args(list(arguments))
    return compare(options.runs, options.out)
