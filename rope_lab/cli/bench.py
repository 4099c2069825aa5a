"""A benchmark of the clone, in a process of its own.

    rope-lab bench attention            python -m benchmarks.attention
    rope-lab bench attention --full     what stands behind the name is passed on

Looks for benchmarks/ in the current folder, then beside the package. Ends with the
status of the benchmark.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import rope_lab

FOLDER = "benchmarks"


def bench(arguments: Sequence[str]) -> int:
    """Runs one, or names those there are.

    Raises:
      ValueError: no clone here, or no such benchmark.
    """
    clone = _clone()
    names = _names(clone / FOLDER)
    name = arguments[0] if arguments else None
    if name not in names:
        known = ", ".join(names)
        raise ValueError(f"there is no benchmark {name or ''!r}; choose of {known}")
    command = [sys.executable, "-m", f"{FOLDER}.{name}", *arguments[1:]]
    return subprocess.run(command, cwd=clone).returncode


def _clone() -> Path:
    places = [Path.cwd(), Path(rope_lab.__file__).resolve().parents[1]]
    for place in places:
        if (place / FOLDER / "attention.py").is_file():
            return place
    raise ValueError(
        f"bench runs {FOLDER}/ of a clone of rope_lab, which is not part of an "
        f"installed package, and neither {places[0]} nor {places[1]} holds it: go to "
        "the folder of a clone"
    )


def _names(folder: Path) -> list[str]:
    """Modules that can be run."""
    return [
        path.stem
        for path in sorted(folder.glob("*.py"))
        if '__name__ == "__main__"' in path.read_text(encoding="utf-8")
        and not path.stem.endswith("_child")
    ]
