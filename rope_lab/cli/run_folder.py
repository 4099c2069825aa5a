"""What a run's folder says of itself, so that anyone can repeat it.

config.json   the whole configuration; `--config=config.json` takes it
run.json      each sitting: command, and the folder it was given in, from which relative
              paths of the config lead; commit, versions, machine, mesh, processes;
              checksums of corpus and tokenizer
trains        locked by the process that trains here
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shlex
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
from jax.sharding import Mesh

from rope_lab.cli.record import commit, describe_machine, describe_versions
from rope_lab.training.distributed import is_first

CONFIG, RUN, TRAINS = "config.json", "run.json", "trains"
SCHEMA_VERSION = 1


@contextlib.contextmanager
def only_here(workdir: Path) -> Iterator[None]:
    """Within, no other job of this machine trains in the folder.

    The first process of a job holds the lock; the system takes it back however that
    process ends.

    Raises:
      ValueError: another does.
    """
    if not is_first():
        yield
        return
    workdir.mkdir(parents=True, exist_ok=True)
    with (workdir / TRAINS).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(
                f"another process trains in {workdir}; wait for it or end it, or "
                "choose another workdir"
            ) from None
        except OSError as error:  # a file system without locks
            print(
                f"{workdir} cannot be locked ({error.strerror}): see that no other job "
                "trains there",
                file=sys.stderr,
            )
        yield


def describe_run(
    workdir: Path,
    experiment: str,
    config: dict[str, Any],
    data: dict[str, str],
    mesh: Mesh,
) -> None:
    """Writes config.json, and adds this sitting to run.json.

    Args:
      data: checksums of what is trained on, as `run_meta` has them.
    """
    workdir.mkdir(parents=True, exist_ok=True)
    _write(workdir / CONFIG, config)
    path = workdir / RUN
    record = json.loads(path.read_text()) if path.exists() else _fresh(experiment)
    record["sittings"].append(
        {
            "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "command": shlex.join(sys.argv),
            "folder": os.getcwd(),
            "data": data,
            "commit": commit(),
            "versions": describe_versions(),
            "machine": describe_machine(),
            "mesh": dict(mesh.shape),
            "processes": jax.process_count(),
        }
    )
    _write(path, record)


def first_commit(workdir: Path) -> str | None:
    """Of the code that the run in this folder was begun with."""
    return json.loads((workdir / RUN).read_text())["sittings"][0]["commit"]


def _fresh(experiment: str) -> dict[str, Any]:
    repeat = f"python -m experiments.{experiment} --config={CONFIG} --workdir=again"
    return {"schema_version": SCHEMA_VERSION, "repeat": repeat, "sittings": []}


def _write(path: Path, content: Any) -> None:
    scratch = path.with_name(f"{path.name}.tmp")
    scratch.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n")
    os.replace(scratch, path)
