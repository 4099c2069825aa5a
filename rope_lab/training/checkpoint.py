"""Checkpoints on disk. The only module that imports Orbax.

One folder per kept step, <workdir>/checkpoints/<step>, with the items

    params   the parameters
    average  their moving average, if the run keeps one
    state    optimizer state, step (which is the data position) and random state
    meta     JSON: see rope_lab.training.meta

An item is a nested dict of the names of its leaves. The folder gets its final name
when all of it is written, its checksums too (rope_lab.training.checksums), so a run
killed during a save keeps the checkpoint before. On several devices or processes each
writes and reads its own parts, and a state is read onto any other mesh.
"""

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint.checkpoint_managers import (
    AnyPreservationPolicy,
    BestN,
    EveryNSteps,
    LatestN,
)

from rope_lab.model.trees import named_leaves, shape_differences
from rope_lab.training.abandoned import silence_abandoned_reads
from rope_lab.training.checksums import problems, seal
from rope_lab.training.distributed import agreed, is_first
from rope_lab.training.folders import (
    FOLDER,
    find_step,
    set_aside,
    step_folder,
    steps_in,
)
from rope_lab.training.items import TREES, all_finite, state_from, state_items
from rope_lab.training.meta import check_same_run, upgraded
from rope_lab.training.state import TrainState


class Checkpoints:
    """The checkpoints of one workdir, written in the background.

    Use it as a context manager, or call `close`: a save that is under way is only
    complete after that. In several processes all do the same with it.

    Args:
      workdir: the run's folder; made if missing.
      keep: how many of the newest checkpoints stay.
      keep_every: so do those whose step is a multiple of it.
      keep_best: and so many of those with the least loss given to `save`.
    """

    def __init__(
        self,
        workdir: str | Path,
        keep: int = 2,
        keep_every: int | None = None,
        keep_best: int = 0,
    ):
        self.folder = Path(workdir).absolute() / FOLDER
        self.folder.mkdir(parents=True, exist_ok=True)
        self._saving: tuple[int, float] | None = None  # step, and when it began
        self._manager = ocp.CheckpointManager(
            self.folder,
            options=ocp.CheckpointManagerOptions(
                preservation_policy=_kept(keep, keep_every, keep_best),
                best_fn=_goodness if keep_best else None,
                enable_async_checkpointing=True,
                cleanup_tmp_directories=True,
                async_options=ocp.AsyncOptions(post_finalization_callback=self._seal),
            ),
        )

    def latest_step(self) -> int | None:
        """The newest complete step, or None."""
        return max(steps_in(self.folder), default=None)

    def path(self, step: int) -> Path:
        """The folder of one step."""
        return self.folder / str(step)

    def newest_whole(
        self, report: Callable[[str], None] = print, until: int | None = None
    ) -> int | None:
        """The newest step whose files are as they were written, or None.

        Damaged ones are set aside, see `folders.set_aside`, and reported.

        until: of the steps up to this one.
        """
        newest = -1
        # The first process looks for all of them.
        steps = [s for s in steps_in(self.folder) if until is None or s <= until]
        for step in sorted(steps, reverse=True) * is_first():
            problem = damage(self.path(step))
            if problem is None:
                newest = step
                break
            place = set_aside(self.folder, step)
            report(
                f"checkpoint {self.path(step)} is damaged ({problem}); it is now in "
                f"{place}, and the one before it is used"
            )
        newest = agreed(newest)
        self._manager.reload()
        return None if newest < 0 else newest

    def save(
        self,
        step: int,
        state: TrainState,
        meta: dict[str, Any],
        loss: float | None = None,
    ) -> None:
        """Starts writing; returns when the state's arrays may be given away.

        loss: for `keep_best`; without one it is kept for other reasons alone.

        Raises:
          ValueError: the parameters hold NaN or infinity, which is never saved.
        """
        if not all_finite(state.params):
            raise ValueError(
                f"the parameters after step {step} are not finite; they are not saved"
            )
        items = {
            name: ocp.args.StandardSave(tree)
            for name, tree in state_items(state).items()
        }
        meta = {**meta, "step": step, "data_position": step}
        self.wait()
        self._saving = step, time.monotonic()
        self._manager.save(
            step,
            args=ocp.args.Composite(**items, meta=ocp.args.JsonSave(meta)),
            metrics=None if loss is None else {"loss": loss},
            force=True,
        )

    def _seal(self) -> None:
        """Called by Orbax when all is written, before the folder's final name."""
        if self._saving is None or not is_first():
            return
        step, began = self._saving
        scratches = [p for p in self.folder.glob(f"{step}.*") if p.is_dir()]
        scratch = max(scratches, key=lambda path: path.stat().st_mtime)
        seal(scratch, time.monotonic() - began)

    def read_meta(self, step: int | None = None) -> dict[str, Any]:
        """The JSON saved beside a step (default: the newest)."""
        return read_meta(self.path(self._existing(step)))

    def restore(
        self, step: int | None, like: TrainState, meta: dict[str, Any] | None = None
    ) -> TrainState:
        """Reads a whole state.

        Args:
          step: which; None for the newest.
          like: a state of the same structure and shapes, whose devices are taken over.
          meta: the run that asks. If given, it has to continue the run that saved.

        Raises:
          ValueError: there is no such checkpoint; it is damaged; it is of another
            architecture or configuration (names what differs).
        """
        folder = self.path(self._existing(step))
        saved = read_meta(folder)
        if meta is not None:
            check_same_run(saved, meta, folder)
        items = _read_trees(folder, state_items(like))
        return state_from(items, like)

    def wait(self) -> None:
        """Returns when the save under way is complete."""
        self._manager.wait_until_finished()

    @contextlib.contextmanager
    def finishing(self) -> Iterator[None]:
        """Completes the save under way when the block is left, also by an error."""
        try:
            yield
        finally:
            self.wait()

    def close(self) -> None:
        """Completes the save under way and ends the background threads."""
        self._manager.close()

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def _existing(self, step: int | None) -> int:
        step = self.latest_step() if step is None else step
        return int(step_folder(self.folder, step).name)


def load_parameters(
    path: str | Path, step: int | None = None, average: bool = False
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Reads the parameters of a checkpoint, and nothing else of its state.

    Args:
      path: a workdir, or the folder of one step in it.
      step: which step of a workdir; default: the newest.
      average: the moving average instead (the run had `ema_decay`).

    Returns:
      The parameters as nested dicts of arrays, to be placed into those of
      `init_model` by `trees.from_nested`, and the checkpoint's meta.

    Raises:
      ValueError: nothing there, or damaged; says what to do.
    """
    folder = find_step(Path(path).absolute(), step)
    item = "average" if average else "params"
    wrong = problems(folder, (item, "meta"))
    if wrong:
        raise ValueError(_damaged(folder, "; ".join(wrong[:3])))
    meta = read_meta(folder)
    if average and not (folder / item).is_dir():
        raise ValueError(
            f"checkpoint {folder} has no average: its run had no training.ema_decay"
        )
    # Through numpy, because Orbax pins arrays to their device: pinned parameters beside
    # the free arrays of a new optimizer would compile its step twice.
    found = _read_trees(folder, {item: None})[item]
    return jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf)), found), meta


_REMEDY = (
    "; copy the checkpoint again, or delete its folder to use the one before it"
    " (or to start again, if there is none)"
)


@contextlib.contextmanager
def _reading(folder: Path) -> Iterator[None]:
    """Turns whatever a damaged file makes Orbax raise into one message."""
    silence_abandoned_reads()
    try:
        yield
        return
    except Exception as error:
        first_line = str(error).strip().partition("\n")[0][:120]
        reason = f"{type(error).__name__}: {first_line}"
    raise ValueError(_damaged(folder, reason))


def _damaged(folder: Path, reason: str) -> str:
    return f"checkpoint {folder} is damaged or incomplete ({reason}){_REMEDY}"


def damage(folder: Path) -> str | None:
    """What is wrong with a checkpoint, in a line; None if it is whole.

    One that has no checksums is read instead.
    """
    found = problems(folder)
    if found is None:
        try:
            missing = {"params", "state"} - read_checkpoint(folder)[0].keys()
        except ValueError as error:
            return str(error)
        return f"{sorted(missing)} is missing" if missing else None
    return "; ".join(found[:3]) or None


def read_checkpoint(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """All trees of a checkpoint by item, nested dicts of arrays, and its meta."""
    meta = read_meta(folder)
    items = [name for name in TREES if (folder / name).is_dir()]
    return _read_trees(folder, dict.fromkeys(items)), meta


def _reader() -> ocp.Checkpointer:
    trees = {name: ocp.StandardCheckpointHandler() for name in TREES}
    return ocp.Checkpointer(
        ocp.CompositeCheckpointHandler(**trees, meta=ocp.JsonCheckpointHandler())
    )


def read_meta(folder: Path) -> dict[str, Any]:
    """What a step says of itself, without its arrays; see `meta.run_meta`.

    Raises:
      ValueError: damaged or of a schema this version does not read.
    """
    with _reading(folder), _reader() as reader:
        meta = reader.restore(
            folder, args=ocp.args.Composite(meta=ocp.args.JsonRestore())
        ).meta
    return upgraded(meta, folder)


def _read_trees(folder: Path, wanted: dict[str, Any]) -> dict[str, Any]:
    """Reads items, each onto the devices of its value, or the default one if None."""
    args = {}
    with _reader() as reader:
        with _reading(folder):
            found = reader.metadata(folder).item_metadata
            saved = {name: found[name].tree for name in wanted}
        for name, like in wanted.items():
            if like is not None:
                _check_shapes(folder, saved[name], like)
            target = jax.tree.map(_description, saved[name] if like is None else like)
            args[name] = ocp.args.StandardRestore(target)
        with _reading(folder):
            return dict(reader.restore(folder, args=ocp.args.Composite(**args)))


def _description(leaf: Any) -> jax.ShapeDtypeStruct:
    """Shape, dtype and where it is to lie: where the leaf does, or on one device.

    Without that Orbax would ask for the devices that the checkpoint was saved from.
    """
    if isinstance(leaf, jax.Array):
        sharding = leaf.sharding
    else:
        sharding = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)


def _check_shapes(folder: Path, saved: Any, like: Any) -> None:
    lines = shape_differences(named_leaves(saved), named_leaves(like))
    if lines:
        raise ValueError(
            f"checkpoint {folder} holds another architecture:\n  " + "\n  ".join(lines)
        )


def _goodness(metrics: dict[str, float]) -> float:
    return -metrics["loss"]


def _kept(keep: int, keep_every: int | None, keep_best: int) -> Any:
    policies = [LatestN(keep)]
    if keep_every is not None:
        policies.append(EveryNSteps(keep_every))
    if keep_best:
        best = {"n": keep_best, "get_metric_fn": _goodness}
        policies.append(BestN(**best, keep_checkpoints_without_metrics=False))
    return AnyPreservationPolicy(policies)
