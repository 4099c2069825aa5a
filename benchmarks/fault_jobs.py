"""Small training runs in processes of their own, for `benchmarks.faults` to disturb."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.fault_cycles import Cycles
from rope_lab.model.trees import named_leaves
from rope_lab.training import load_parameters
from rope_lab.training.folders import FOLDER, steps_in

ROOT = Path(__file__).parents[1]
SAVE_EVERY = 5  # steps
FEW_STEPS = 150  # of a run that is disturbed once
PATIENCE = 600.0  # seconds for whatever is waited for; a start takes a few
_WORDS = ("the", "of", "union", "state", "congress", "people", "year", "peace")


class Bench:
    """A folder with a corpus, configs, a compilation cache and the runs."""

    def __init__(self, folder: Path):
        self.folder = folder
        corpus = folder / "corpus"
        corpus.mkdir(parents=True, exist_ok=True)
        rng = random.Random(0)
        for number in range(24):
            text = " ".join(rng.choice(_WORDS) for _ in range(160))
            (corpus / f"{number}.txt").write_text(text)
        self._whole: dict[tuple[int, int], dict] = {}
        self._jobs: list[Job] = []

    def job(
        self,
        name: str,
        processes: int = 1,
        restarts: int = 0,
        keep: bool = False,
        steps: int = FEW_STEPS,
    ) -> Job:
        """A run in folder/<name>, not started; begun anew unless told to keep it."""
        if not keep:
            shutil.rmtree(self.folder / name, ignore_errors=True)
            (self.folder / f"{name}.log").unlink(missing_ok=True)
        self._jobs.append(Job(self, self.folder / name, processes, restarts, steps))
        return self._jobs[-1]

    def cycles(self, kind: str) -> Cycles:
        """The kills of a kind, those of earlier sittings too."""
        return Cycles(self.folder / f"{kind}.cycles")

    def close(self) -> None:
        """Ends what still runs."""
        for job in self._jobs:
            if job.process is not None and job.process.poll() is None:
                job.kill()

    def config(self, steps: int) -> Path:
        """Of a run of so many steps."""
        path = self.folder / f"config-{steps}.json"
        path.write_text(json.dumps(_config(self.folder, steps), indent=1))
        return path

    def undisturbed(
        self, processes: int = 1, steps: int = FEW_STEPS
    ) -> dict[Any, np.ndarray]:
        """The last parameters of a run that nobody disturbs, by name."""
        if (processes, steps) not in self._whole:
            name = f"whole-{processes}-{steps}"
            ended = self.folder / f"{name}.ended"
            job = self.job(name, processes, keep=ended.exists(), steps=steps)
            if not ended.exists() and job.finish():
                raise RuntimeError(f"the undisturbed run ended badly:\n{job.printed()}")
            ended.touch()
            self._whole[processes, steps] = job.parameters()
        return self._whole[processes, steps]


def _config(folder: Path, num_steps: int) -> dict[str, Any]:
    return {
        "model": {
            "logic": {"name": "rerope", "window": 4},
            "num_layers": 1,
            "width": 16,
            "ff_width": 32,
            "num_heads": 2,
            "num_kv_heads": 2,
            "head_dim": 8,
        },
        "data": {
            "corpus": str(folder / "corpus"),
            "tokenizer": "bytes",
            "length": 16,
            "batch_size": 4,
            "data_dir": str(folder / "data"),
        },
        "training": {
            "num_steps": num_steps,
            "learning_rate": 0.003,
            "log_every": SAVE_EVERY,
            "checkpoint_every": SAVE_EVERY,
            "tensorboard": False,
        },
        "validation": {"every": num_steps, "num_windows": 4},
    }


class Job:
    """One run, started as often as it takes."""

    def __init__(
        self, bench: Bench, workdir: Path, processes: int, restarts: int, steps: int
    ):
        self.workdir, self.processes = workdir, processes
        self.process: subprocess.Popen | None = None
        self._log = workdir.with_suffix(".log")
        self.command = [sys.executable, "-m", "experiments.pretrain"]
        self.command += [f"--config={bench.config(steps)}", f"--workdir={workdir}"]
        if processes > 1:
            local = [sys.executable, "-m", "experiments.launch.local", "--devices=1"]
            local += [f"--processes={processes}", f"--max_restarts={restarts}", "--"]
            waits = ["--heartbeat_seconds=10", "--join_seconds=120"]
            self.command = [*local, *self.command, *waits]
        self._environment = os.environ | {
            "JAX_PLATFORMS": "cpu",
            "JAX_COMPILATION_CACHE_DIR": str(bench.folder / "cache"),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.1",
            "PYTHONPATH": str(ROOT),
        }

    def start(self) -> None:
        """Starts it, or starts it again."""
        with self._log.open("a") as log:
            self.process = subprocess.Popen(
                self.command,
                env=self._environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                cwd=ROOT,
            )

    def wait(self) -> int:
        """Until it ends; its status."""
        return self.process.wait(PATIENCE * 4)

    def finish(self) -> int:
        """Starts it again and waits."""
        self.start()
        return self.wait()

    def kill(self) -> None:
        """kill -9 of all its processes at once."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def kill_one(self, number: int) -> None:
        """kill -9 of one process of several."""
        os.kill(self.pids()[number], signal.SIGKILL)

    def pids(self) -> list[int]:
        """Of the newest processes, if it has several."""
        found = re.findall(r"local: process \d+ of \d+ is (\d+)", self.printed())
        return [int(pid) for pid in found[-self.processes :]]

    def starts(self) -> int:
        """How often all of several processes were started."""
        return self.printed().count(f"local: process {self.processes - 1} of")

    def printed(self) -> str:
        """All that its processes said."""
        return self._log.read_text() if self._log.exists() else ""

    def saved(self) -> int:
        """The newest complete step, 0 without any."""
        return max(steps_in(self.workdir / FOLDER), default=0)

    def is_saving(self) -> bool:
        """Whether there is a checkpoint that has not got its name yet."""
        folder = self.workdir / FOLDER
        return folder.is_dir() and any(
            ".orbax" in path.name for path in folder.iterdir()
        )

    def until(self, holds: Callable[[], bool]) -> None:
        """Waits for a condition.

        Raises:
          RuntimeError: the run ended before, or it took too long.
        """
        deadline = time.monotonic() + PATIENCE
        while not holds():
            if self.process.poll() is not None:
                raise RuntimeError(
                    f"the run ended too early:\n{self.printed()[-2000:]}"
                )
            if time.monotonic() > deadline:
                raise RuntimeError(f"nothing happened:\n{self.printed()[-2000:]}")
            time.sleep(0.002)

    def parameters(self) -> dict[Any, np.ndarray]:
        """The last saved ones by name."""
        nested, _ = load_parameters(self.workdir)
        return {name: np.asarray(leaf) for name, leaf in named_leaves(nested).items()}

    def ends_as(self, whole: dict[Any, np.ndarray]) -> bool:
        """Whether its last parameters are these, bit for bit."""
        mine = self.parameters()
        return mine.keys() == whole.keys() and all(
            np.array_equal(mine[name], whole[name]) for name in whole
        )
