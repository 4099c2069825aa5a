"""The training loop: update, log, evaluate, save, resume."""

import contextlib
import signal
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from jax.sharding import Mesh

from rope_lab.attention import zigzag
from rope_lab.data.pipeline import batch_identity, batches
from rope_lab.model.sharding import parts
from rope_lab.training.checkpoint import Checkpoints
from rope_lab.training.clock import Clock
from rope_lab.training.config import TrainingConfig
from rope_lab.training.distributed import stopping
from rope_lab.training.meta import check_same_run
from rope_lab.training.metrics import MetricsWriter
from rope_lab.training.monitor import Monitor
from rope_lab.training.profile import Profile
from rope_lab.training.progress import Progress
from rope_lab.training.sharding import global_batch, own_rows
from rope_lab.training.state import TrainState
from rope_lab.training.step import Step

Evaluate = Callable[[TrainState], dict[str, float]]


def train(
    state: TrainState,
    step_fn: Step,
    source: Any,
    batch_size: int,
    config: TrainingConfig,
    logic: Any,
    checkpoints: Checkpoints,
    writer: MetricsWriter,
    meta: dict[str, Any],
    progress: Progress | None = None,
    evaluate: Evaluate | None = None,
    eval_every: int | None = None,
    mesh: Mesh | None = None,
    flops_per_token: float | None = None,
    begun: Callable[[], None] | None = None,
) -> TrainState:
    """Trains up to `config.num_steps` updates, from the newest checkpoint if any.

    Calling it again with the same arguments, after the process ended in whatever way,
    continues and ends with the same parameters bit for bit on the same machine. On
    SIGTERM it saves and raises SystemExit.

    Args:
      state: the state before the first update; consumed.
      step_fn: from `make_train_step`.
      source: sequence n of the data; see `rope_lab.data.PackedSequences`.
      batch_size: sequences per update.
      config: num_steps, log_every, checkpoint_every and spike_factor are read here.
      logic: position logic, or one per layer, handed to every step.
      checkpoints: of this run's workdir.
      writer: of the same workdir.
      meta: from `run_meta`.
      progress: prints a line per `log_every` steps; None: silent.
      evaluate: state -> metrics, written as `eval/<name>`. It must not keep the state,
        whose memory the next step reuses.
      eval_every: steps between evaluations; the last step is always one.
      mesh: where state and batches lie, in this process or in several; None: where
        they happen to.
      flops_per_token: from `clock.training_flops`, for the rate in the rows.
      begun: called once it is known that the workdir is this run's.

    Returns:
      The state after the last update, which is saved too.

    Raises:
      TrainingDiverged: NaN, infinity or a spike; names the step and the batch.
      ValueError: the workdir holds another run; says how it differs.
      SystemExit: after SIGTERM.
    """
    _check(config, evaluate, eval_every)
    monitor = _make_monitor(config, source, batch_size, checkpoints)
    say = print if progress is None else progress.message
    state, start = _resume(state, checkpoints, monitor, meta, say)
    if begun is not None:
        begun()
    writer.resume(start)
    clock = Clock()
    about = 1 if mesh is None else mesh.size, flops_per_token
    report = _Reporter(config, start, monitor, writer, progress, clock, about)
    profile = Profile(writer.workdir if config.profile else None, start)

    def every(period: int, step: int) -> bool:
        return step % period == 0 or step == config.num_steps

    with (
        checkpoints.finishing(),
        contextlib.closing(profile),
        stopping() as stopped,
    ):
        stream = _batches(source, batch_size, start, mesh)
        for step in range(start + 1, config.num_steps + 1):
            with clock.on("data"):
                batch = next(stream)
            profile.before(step)
            with clock.on("step"):
                state, metrics = step_fn(state, batch, logic)
            monitor.add(step, metrics)
            profile.after(step, metrics)
            if every(config.log_every, step):
                report(step)
            scores = {}
            if evaluate is not None and every(eval_every, step):
                with clock.on("step"):
                    monitor.check()
                with clock.on("evaluation"):
                    scores = evaluate(state)
                writer.write(step, {f"eval/{k}": v for k, v in scores.items()})
            stop = stopped(step)
            if every(config.checkpoint_every, step) or stop:
                with clock.on("step"):
                    monitor.check()
                with clock.on("saving"):
                    saved = {**meta, "monitor": monitor.to_dict()}
                    checkpoints.save(step, state, saved, scores.get("loss"))
            if stop:
                raise SystemExit(128 + signal.SIGTERM)
    return state


def _check(config: TrainingConfig, evaluate: Any, eval_every: int | None) -> None:
    if (evaluate is None) != (eval_every is None):
        raise ValueError("give both evaluate and eval_every, or neither")
    if config.keep_best and (not eval_every or config.checkpoint_every % eval_every):
        raise ValueError(
            f"training.keep_best is {config.keep_best}, which needs a validation with "
            f"every checkpoint: make training.checkpoint_every "
            f"({config.checkpoint_every}) a multiple of validation.every ({eval_every})"
        )


def _batches(source, batch_size: int, start: int, mesh: Mesh | None) -> Iterator:
    """Of which each process reads what its devices need.

    Where devices share a sequence, its tokens come in the order that gives each of them
    the same work; their positions and segments say where they belong.
    """
    if mesh is None:
        return batches(source, batch_size, start)
    rows = own_rows(mesh, batch_size)
    stream = batches(source, batch_size, start, rows)
    if (shards := parts(mesh, "tokens")) > 1:
        stream = (_zigzag(mine, shards) for mine in stream)
    return (global_batch(mine, mesh, batch_size) for mine in stream)


def _zigzag(rows: dict[str, np.ndarray], shards: int) -> dict[str, np.ndarray]:
    order = zigzag(rows["inputs"].shape[1], shards)
    return {name: x_BT[:, order] for name, x_BT in rows.items()}


def _make_monitor(config, source, batch_size, checkpoints) -> Monitor:
    def identify(step: int) -> str:
        return batch_identity(source, step - 1, batch_size)

    def last_checkpoint() -> str | None:
        checkpoints.wait()
        step = checkpoints.latest_step()
        return None if step is None else str(checkpoints.path(step))

    return Monitor(config.spike_factor, identify, last_checkpoint)


def _resume(state, checkpoints, monitor, meta, report) -> tuple[TrainState, int]:
    """The newest saved state and its step, or the given state and 0."""
    start = checkpoints.newest_whole(report)
    if start is None:
        return state, 0
    saved = checkpoints.read_meta(start)
    check_same_run(saved, meta, checkpoints.path(start))
    if "monitor" not in saved:
        raise ValueError(
            f"{checkpoints.path(start)} was imported, not trained here: give the run "
            "a workdir of its own, and fine-tune from that checkpoint"
        )
    state = checkpoints.restore(start, like=state)
    monitor.restore(saved["monitor"])
    return state, start


class _Reporter:
    """Writes a row of metrics and a line of progress."""

    def __init__(self, config, start, monitor, writer, progress, clock, about):
        self._num_steps, self._step = config.num_steps, start
        self._monitor, self._writer, self._progress = monitor, writer, progress
        self._clock, self._about = clock, about
        if progress is not None and start:
            progress.message(f"continues after step {start}")

    def __call__(self, step: int) -> None:
        with self._clock.on("step"):
            self._monitor.check()
        row = self._monitor.report()
        row |= self._clock.row(step - self._step, row["tokens"], *self._about)
        self._step = step
        self._writer.write(step, row)
        if self._progress is not None:
            speed = row["tokens_per_second"]
            left = row["tokens"] / speed * (self._num_steps - step)
            self._progress.update(step, row["loss"], speed, left)
            if step == self._num_steps:
                self._progress.close()
