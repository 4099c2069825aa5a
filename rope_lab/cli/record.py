"""What a results file says of the run behind it: command, commit, times, machine."""

from __future__ import annotations

import contextlib
import importlib.metadata
import itertools
import json
import os
import platform
import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import jax

_LIBRARIES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")


@contextlib.contextmanager
def phase(workdir: Path, title: str):
    """Announces a phase and adds its wall time to timings.json, also on an error."""
    print(f"\n=== {title}", file=sys.stderr, flush=True)
    start = time.monotonic()
    try:
        yield
    finally:
        known = timings(workdir)
        known[title] = round(known.get(title, 0.0) + time.monotonic() - start, 1)
        temporary = workdir / "timings.json.tmp"
        temporary.write_text(json.dumps(known, indent=2))
        os.replace(temporary, workdir / "timings.json")


def timings(workdir: Path) -> dict[str, float]:
    """Seconds by phase, over all sittings."""
    workdir.mkdir(parents=True, exist_ok=True)
    path = workdir / "timings.json"
    return json.loads(path.read_text()) if path.exists() else {}


def describe_command(experiment: str) -> str:
    """The command line that repeats this run."""
    # From the first option on, so that values after a blank ("--grid ...") stay.
    options = itertools.dropwhile(lambda arg: not arg.startswith("--"), sys.argv[1:])
    return shlex.join(["python", "-m", f"experiments.{experiment}", *options])


def describe_machine() -> dict[str, Any]:
    """Cores this process may use, architecture, devices."""
    affinity = getattr(os, "sched_getaffinity", None)
    return {
        "cores": len(affinity(0)) if affinity else os.cpu_count(),
        "architecture": platform.machine(),
        "devices": [device.device_kind for device in jax.devices()],
    }


def describe_versions() -> dict[str, str]:
    """Of Python and of the libraries whose arithmetic the numbers are."""
    libraries = {name: importlib.metadata.version(name) for name in _LIBRARIES}
    return {"python": platform.python_version(), **libraries}


def commit() -> str | None:
    """Of the checkout this package is imported from, "-dirty" if its code differs.

    What a run writes into the checkout, pages and results, is not code. None outside of
    a checkout.
    """
    git = ["git", "-C", str(Path(__file__).parent)]
    changed = [*git, "status", "--porcelain", "--untracked-files=no", "--", ":/*.py"]
    try:
        found = _output([*git, "rev-parse", "HEAD"])
        return f"{found}-dirty" if _output(changed) else found
    except (OSError, subprocess.CalledProcessError):
        return None


def _output(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return done.stdout.strip()
