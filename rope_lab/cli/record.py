"""What a results file says of the run that wrote it: command, commit, machine."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax

_LIBRARIES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")


def describe_command(experiment: str) -> str:
    """The command line that repeats this run."""
    options = [arg for arg in sys.argv if arg.startswith("--")]
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
    """Of the checkout this package is imported from; None outside of one."""
    command = ["git", "-C", str(Path(__file__).parent), "describe"]
    command += ["--always", "--abbrev=40", "--dirty", "--exclude=*"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return found.stdout.strip()
