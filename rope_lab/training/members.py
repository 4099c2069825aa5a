"""The training loop of runs side by side: each keeps a folder of its own.

What `loop.train` does for one run, for the members of a `sweep.make_member_step`. The
folder of a member is, at any moment, that of a run of its own: its metrics, its
checkpoints, its meta. A member that diverges stops being written, and diverged.txt in
its folder says why; the others go on, also after a restart.
"""

import contextlib
import dataclasses
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from rope_lab.data.pipeline import batch_identity, batches
from rope_lab.training.checkpoint import Checkpoints
from rope_lab.training.config import TrainingConfig
from rope_lab.training.distributed import stopping
from rope_lab.training.folders import steps_in
from rope_lab.training.metrics import MetricsWriter
from rope_lab.training.monitor import Monitor, TrainingDiverged
from rope_lab.training.progress import Progress
from rope_lab.training.state import TrainState
from rope_lab.training.step import Step

Evaluate = Callable[[TrainState], list[dict[str, float]]]
DIVERGED = "diverged.txt"


@dataclasses.dataclass
class Member:
    """A run among others; `failure` says why it stopped, None while it has not.

    Keep two checkpoints or more: runs that were killed while they saved go on from the
    newest step that all of them hold.
    """

    name: str
    checkpoints: Checkpoints
    writer: MetricsWriter
    meta: dict[str, Any]  # from `run_meta`
    source: Any  # what it alone would read
    failure: str | None = None

    @property
    def mark(self) -> Path:
        """The file that says, after a restart, that it has failed."""
        return self.checkpoints.folder.parent / DIVERGED


def member_state(state: TrainState, member: int) -> TrainState:
    """The state of one member, out of a stacked one."""
    return jax.tree.map(lambda leaf: leaf[member], state)


def train_members(
    state: TrainState,
    step_fn: Step,
    source: Any,
    batch_size: int,
    config: TrainingConfig,
    logic: Any,
    members: Sequence[Member],
    progress: Progress,
    evaluate: Evaluate | None,
    eval_every: int,
) -> TrainState:
    """Trains all members up to `config.num_steps`, from where all of them are.

    Members that diverged in an earlier sitting stay as they are, unless all have: then
    all are tried again.

    Args:
      state: stacked, from `init_members`; consumed.
      step_fn: from `make_member_step`: metrics are float32[M].
      source: sequences [R, T] for all members.
      batch_size: sequences per update.
      config: of every member.
      logic: stacked like the state.
      members: their folders, in the order of the state.
      progress: a line per `log_every` steps, of the mean loss and all tokens.
      evaluate: stacked state -> metrics of each member, written as `eval/<name>`;
        None: none.
      eval_every: steps between evaluations; the last step is always one.

    Returns:
      The stacked state after the last update. Members that failed say so.

    Raises:
      ValueError: a folder holds another run. SystemExit: after SIGTERM.
    """
    group = _Group(members, config, batch_size)
    state, start = group.resume(state, progress.message)
    if start:
        progress.message(f"continues after step {start}")
    report = _Report(group, config.num_steps, start, progress)

    def every(period: int, step: int) -> bool:
        return step % period == 0 or step == config.num_steps

    with group.finishing(), stopping() as stopped:
        steps = range(start + 1, config.num_steps + 1)
        stream = batches(source, batch_size, start=start)
        for step, batch in zip(steps, stream, strict=False):
            state, metrics = step_fn(state, batch, logic)
            group.add(step, metrics)
            if every(config.log_every, step):
                report(step)
            if evaluate is not None and every(eval_every, step):
                group.write_evaluation(step, evaluate(state))
            stop = stopped(step)
            if every(config.checkpoint_every, step) or stop:
                group.save(step, state)
            if stop:
                raise SystemExit(128 + signal.SIGTERM)
            if not group.alive():
                break
    return state


class _Group:
    """The members of a run, each with its monitor; what has failed is left alone."""

    def __init__(self, members: Sequence[Member], config, batch_size: int):
        self.members = members
        self._monitors = [_monitor(one, config, batch_size) for one in members]
        self._unfetched: list[tuple[int, dict[str, jax.Array]]] = []

    def alive(self) -> list[tuple[int, Member, Monitor]]:
        """(place, member, monitor) of those that go on."""
        pairs = zip(self.members, self._monitors, strict=True)
        every = [(m, *pair) for m, pair in enumerate(pairs)]
        return [one for one in every if one[1].failure is None]

    def resume(
        self, state: TrainState, report: Callable[[str], None]
    ) -> tuple[TrainState, int]:
        """The newest states that all who go on hold whole, and their step.

        A member that had failed takes its first state along, which nobody reads.
        """
        if all(member.mark.exists() for member in self.members):
            for member in self.members:
                member.mark.unlink()
        for member in self.members:
            if member.mark.exists():
                member.failure = member.mark.read_text(encoding="utf-8").strip()
        start = self._common_step(report)
        states = [member_state(state, m) for m in range(len(self.members))]
        for m, member, monitor in self.alive():
            member.writer.resume(start)
            if start:
                states[m] = member.checkpoints.restore(start, states[m], member.meta)
                monitor.restore(member.checkpoints.read_meta(start)["monitor"])
        if start:
            state = jax.tree.map(lambda *leaves: jnp.stack(leaves), *states)
        return state, start

    def _common_step(self, report: Callable[[str], None]) -> int:
        """The newest step of which all who go on have a whole checkpoint, or 0."""
        step = None
        while True:
            newest = [
                member.checkpoints.newest_whole(report, until=step)
                for _, member, _ in self.alive()
            ]
            if None in newest:
                return 0
            step = min(newest)
            if step == max(newest):
                return step

    def add(self, step: int, metrics: dict[str, jax.Array]) -> None:
        self._unfetched.append((step, metrics))

    def check(self) -> None:
        """Hands each member its metrics; one that diverged has failed."""
        fetched, self._unfetched = jax.device_get(self._unfetched), []
        for m, member, monitor in self.alive():
            for step, metrics in fetched:
                monitor.add(step, {name: float(x[m]) for name, x in metrics.items()})
            try:
                monitor.check()
            except TrainingDiverged as error:
                member.failure = str(error)
                member.mark.write_text(f"{error}\n", encoding="utf-8")

    def write_evaluation(self, step: int, scores: list[dict[str, float]]) -> None:
        self.check()
        for m, member, _ in self.alive():
            row = {f"eval/{name}": value for name, value in scores[m].items()}
            member.writer.write(step, row)

    def save(self, step: int, state: TrainState) -> None:
        """Each member's state into its folder, unless it lies there already."""
        self.check()
        self.wait()  # so that no member is two checkpoints ahead of another
        for m, member, monitor in self.alive():
            if step not in steps_in(member.checkpoints.folder):
                meta = {**member.meta, "monitor": monitor.to_dict()}
                member.checkpoints.save(step, member_state(state, m), meta)

    def wait(self) -> None:
        for member in self.members:
            member.checkpoints.wait()

    @contextlib.contextmanager
    def finishing(self) -> Iterator[None]:
        """Completes the saves under way when the block is left, also by an error."""
        try:
            yield
        finally:
            self.wait()


class _Report:
    """Writes a row of metrics for each member, and a line of progress for all."""

    def __init__(self, group: _Group, num_steps: int, start: int, progress: Progress):
        self._group, self._num_steps, self._progress = group, num_steps, progress
        self._step, self._time = start, time.perf_counter()

    def __call__(self, step: int) -> None:
        self._group.check()
        seconds = max(time.perf_counter() - self._time, 1e-9)
        per_step = seconds / (step - self._step)
        self._step, self._time = step, time.perf_counter()
        rows = []
        for _, member, monitor in self._group.alive():
            row = monitor.report()
            row["tokens_per_second"] = row["tokens"] / per_step
            member.writer.write(step, row)
            rows.append(row)
        if rows:
            loss = sum(row["loss"] for row in rows) / len(rows)
            speed = sum(row["tokens_per_second"] for row in rows)
            left = per_step * (self._num_steps - step)
            self._progress.update(step, loss, speed, left)
        if step == self._num_steps:
            self._progress.close()


def _monitor(member: Member, config: TrainingConfig, batch_size: int) -> Monitor:
    def identify(step: int) -> str:
        return batch_identity(member.source, step - 1, batch_size)

    def last_checkpoint() -> str | None:
        member.checkpoints.wait()
        step = member.checkpoints.latest_step()
        return None if step is None else str(member.checkpoints.path(step))

    return Monitor(config.spike_factor, identify, last_checkpoint)
