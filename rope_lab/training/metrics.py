"""Where a run's numbers go: JSON lines, TensorBoard files, Weights & Biases."""

import importlib
import json
import math
import os
import uuid
from pathlib import Path
from types import ModuleType
from typing import Any, TextIO

FILE = "metrics.jsonl"


class MetricsWriter:
    """Writes rows of metrics to <workdir>/metrics.jsonl, and to other sinks if asked.

    A row is on disk when `write` returns, so it survives the death of the process.
    Use it as a context manager, or call `close`.

    Args:
      workdir: the run's folder; made if missing.
      tensorboard: also TensorBoard files, in <workdir>/tensorboard.
      wandb: also Weights & Biases, project rope_lab, a run named like the workdir.
        WANDB_MODE=offline keeps it on this machine.
      silent: write nothing at all, because another process of the run does.

    Raises:
      ValueError: wandb is asked for and not installed.
    """

    def __init__(
        self,
        workdir: str | Path,
        tensorboard: bool = True,
        wandb: bool = False,
        silent: bool = False,
    ):
        self._silent = silent
        self.workdir = Path(workdir).absolute()
        self.workdir.mkdir(parents=True, exist_ok=True)
        self._with_tensorboard = tensorboard
        self._wandb_module = _import_wandb() if wandb else None
        self._file: TextIO | None = None
        self._tensorboard: Any = None
        self._wandb: Any = None

    def resume(self, step: int) -> None:
        """Forgets the rows after `step`, which the run will write again, and opens.

        A run that was killed may have written rows past its last checkpoint.
        """
        self.close()
        if self._silent:
            return
        path = self.workdir / FILE
        rows = [row for row in read_metrics(self.workdir) if row["step"] <= step]
        temporary = path.with_suffix(".tmp")
        temporary.write_text("".join(json.dumps(row) + "\n" for row in rows))
        os.replace(temporary, path)
        self._file = path.open("a")
        if self._with_tensorboard:
            self._tensorboard = _open_tensorboard(self.workdir, step)
        if self._wandb_module is not None:
            self._wandb = _open_wandb(self._wandb_module, self.workdir)

    def write(self, step: int, metrics: dict[str, float]) -> None:
        """Adds one row.

        Args:
          step: updates done.
          metrics: name -> finite number.

        Raises:
          ValueError: a number is NaN or infinite; says which.
        """
        if self._silent:
            return
        if self._file is None:
            self.resume(step)
        metrics = {name: float(value) for name, value in metrics.items()}
        for name, value in metrics.items():
            if not math.isfinite(value):
                raise ValueError(f"the metric {name} is {value} at step {step}")
        self._file.write(json.dumps({"step": step, **metrics}) + "\n")
        self._file.flush()
        if self._tensorboard is not None:
            for name, value in metrics.items():
                self._tensorboard.add_scalar(name, value, step)
            self._tensorboard.flush()
        if self._wandb is not None:
            self._wandb.log(metrics, step=step)

    def close(self) -> None:
        """Completes and closes every sink."""
        for sink in (self._file, self._tensorboard):
            if sink is not None:
                sink.close()
        if self._wandb is not None:
            self._wandb.finish()
        self._file = self._tensorboard = self._wandb = None

    def __enter__(self) -> "MetricsWriter":
        return self

    def __exit__(self, *_) -> None:
        self.close()


def read_metrics(workdir: str | Path) -> list[dict[str, Any]]:
    """The rows of <workdir>/metrics.jsonl; none if there is no such file.

    A last line that a killed process left incomplete is dropped.

    Raises:
      ValueError: another line is no JSON; says which.
    """
    path = Path(workdir) / FILE
    if not path.exists():
        return []
    lines = path.read_text().splitlines(keepends=True)
    if lines and not lines[-1].endswith("\n"):
        lines.pop()
    rows = []
    for number, line in enumerate(lines, start=1):
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError as error:
            raise ValueError(
                f"line {number} of {path} is no JSON; delete that line"
            ) from error
    return rows


def _open_tensorboard(workdir: Path, step: int):
    from tensorboardX import SummaryWriter  # 0.3 s that a run without it saves

    return SummaryWriter(
        str(workdir / "tensorboard"), purge_step=step + 1, write_to_disk=True
    )


def _import_wandb() -> ModuleType:
    try:
        return importlib.import_module("wandb")
    except ImportError as error:
        raise ValueError(
            "training.wandb is set and wandb is not installed: "
            "pip install 'rope-lab[wandb]', or set training.wandb=False"
        ) from error


def _open_wandb(wandb: ModuleType, workdir: Path):
    """One run per workdir: a restart continues the run it named there."""
    path = workdir / "wandb_id.txt"
    if not path.exists():
        path.write_text(uuid.uuid4().hex)
    return wandb.init(
        project="rope_lab",
        name=workdir.name,
        dir=str(workdir),
        id=path.read_text(),
        resume="allow",
    )
