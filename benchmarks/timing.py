"""What every benchmark shares: pinned cores, interleaved rounds, where it was measured.

Ratios are taken inside one process and one run. Every round calls each program once, in
an order that rotates from round to round, so that a slow moment of the machine does not
fall on one row; what is reported is the median over the rounds.
"""

import datetime
import importlib.metadata
import importlib.util
import json
import os
import platform
import re
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax

from rope_lab.cli.record import commit

SCHEMA_VERSION = 2
LIBRARIES = ("jax", "jaxlib", "numpy", "torch", "transformers")
LONG = 5.0  # seconds; a first call this long is a round: warming up is lost in it
SHORT = 1.0  # seconds: such a call is repeated before it is measured
_PINNED = "ROPE_LAB_BENCHMARK_THREADS"
_POOLS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")

Call = Callable[[], Any]


def pin(threads: int) -> None:
    """Restarts this process on so many cores, which JAX and torch count as they start.

    Where the system cannot bind a process to cores (macOS) only the sizes of the thread
    pools that read the environment are set; `machine` says which.
    """
    if os.environ.get(_PINNED) == str(threads):
        return
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        if len(cores) < threads:
            raise SystemExit(f"--threads {threads}: this process has cores {cores}")
        os.sched_setaffinity(0, cores[-threads:])
    for name in (_PINNED, *_POOLS):
        os.environ[name] = str(threads)
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def has_torch() -> bool:
    """Whether the peers in PyTorch can be measured; they are no dependency."""
    return importlib.util.find_spec("torch") is not None


def load_torch() -> Any:
    """torch on as many threads as `pin` left."""
    import torch

    torch.set_num_threads(int(os.environ.get(_PINNED, torch.get_num_threads())))
    return torch


def interleaved(calls: Mapping[str, Call], rounds: int) -> dict[str, list[float]]:
    """Milliseconds of every call: [rounds] by name. A call returns when it is done.

    A short call is made once unmeasured just before: a neighbour that fills the memory
    would otherwise be paid for by whoever comes next, always the same row.
    """
    taken: dict[str, list[float]] = {label: [] for label in calls}

    def once(label: str) -> float:
        start = time.perf_counter()
        calls[label]()
        return time.perf_counter() - start

    short = {}
    for label in calls:
        first = once(label)
        short[label] = first < SHORT
        if first > LONG:
            taken[label].append(1e3 * first)
    labels = list(calls)
    for turn in range(rounds):
        shift = turn % max(1, len(labels))
        for label in labels[shift:] + labels[:shift]:
            if len(taken[label]) < rounds:
                if short[label]:
                    calls[label]()
                taken[label].append(1e3 * once(label))
    return taken


def summary(milliseconds: list[float]) -> dict[str, Any]:
    """{"ms": median, "rounds_ms": each}."""
    return {
        "ms": statistics.median(milliseconds),
        "rounds_ms": [round(value, 4) for value in milliseconds],
    }


def heading(threads: int) -> dict[str, Any]:
    """The fields with which every record of a benchmark begins."""
    return {
        "schema_version": SCHEMA_VERSION,
        "command": " ".join(["python", *sys.orig_argv[1:]]),
        "commit": commit(),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "threads": threads,
        # Who else computes meanwhile belongs to a figure as much as the machine.
        "load_average": round(os.getloadavg()[0], 1),
        "machine": machine(),
    }


def machine() -> dict[str, Any]:
    """Where the numbers come from."""
    return {
        "cpu": _cpu_name(),
        "cores": os.cpu_count(),
        "pinned": hasattr(os, "sched_setaffinity"),
        "architecture": platform.machine(),
        "system": platform.system(),
        "device": jax.devices()[0].device_kind,
        "versions": {"python": platform.python_version(), **_versions()},
    }


def describe(record: Mapping[str, Any]) -> str:
    """One line for the top of a table."""
    where, versions = record["machine"], record["machine"]["versions"]
    known = [f"{name} {version}" for name, version in versions.items() if version]
    device = "" if where["device"] == "cpu" else f", {where['device']}"
    load = record.get("load_average")
    others = "" if load is None else f", load {load} at its start"
    code = re.sub("([0-9a-f]{12})[0-9a-f]*", r"\1", record["commit"] or "unknown")
    return (
        f"{record['date']}, commit {code}, "
        f"{where['cpu']} ({where['cores']} cores, {record['threads']} used{others})"
        f"{device}; "
        f"{', '.join(known)}. `{record['command']}`"
    )


def write(path: Path, record: Mapping[str, Any]) -> None:
    """JSON, whole or not at all: a run that is killed leaves the last whole one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".unfinished")
    unfinished.write_text(json.dumps(record, indent=1, allow_nan=False) + "\n")
    unfinished.replace(path)


def minutes(seconds: float) -> str:
    """A duration to be read: "40 s", "12 min", "1.5 h"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def markdown(heads: list[str], rows: list[list[str]]) -> str:
    """A table; the first column is text, the others are numbers."""
    ruler = ["---", *["---:"] * (len(heads) - 1)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [heads, ruler, *rows])


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [x.split(":")[1].strip() for x in lines if x.startswith("model name")]
    return names[0] if names else platform.machine()


def _versions() -> dict[str, str | None]:
    versions: dict[str, str | None] = {}
    for name in LIBRARIES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = None
    return versions
