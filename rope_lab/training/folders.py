"""Where the checkpoints of a run lie: <workdir>/checkpoints/<step>."""

from pathlib import Path

FOLDER = "checkpoints"
DAMAGED = "damaged"


def find_step(path: Path, step: int | None) -> Path:
    """The folder of a step, given the workdir, its checkpoints or that folder."""
    if not path.is_dir():
        raise ValueError(
            f"there is no folder {path}; give the workdir of a run, or one of its "
            f"folders {FOLDER}/<step>"
        )
    if path.name.isdecimal() and step is None and not (path / FOLDER).is_dir():
        return step_folder(path.parent, int(path.name))
    return step_folder(path if path.name == FOLDER else path / FOLDER, step)


def step_folder(folder: Path, step: int | None) -> Path:
    """One step, or the newest, among the checkpoints in `folder`."""
    steps = sorted(steps_in(folder))
    if not steps:
        raise ValueError(
            f"there is no complete checkpoint in {folder}; train there first, or give "
            "the workdir of another run"
        )
    if step is not None and step not in steps:
        raise ValueError(
            f"there is no complete checkpoint of step {step} in {folder}; "
            f"choose one of {steps}"
        )
    return folder / str(steps[-1] if step is None else step)


def steps_in(folder: Path) -> list[int]:
    """Complete ones: before that, the folder's name is not a number alone."""
    if not folder.is_dir():
        return []
    return [int(p.name) for p in folder.iterdir() if p.name.isdecimal() and p.is_dir()]


def set_aside(folder: Path, step: int) -> Path:
    """Moves a damaged checkpoint to <workdir>/damaged/<step>; returns where it is.

    There nobody takes it for a checkpoint, and its step can be saved again.
    """
    target = folder.parent / DAMAGED / str(step)
    number = 1
    while target.exists():
        number += 1
        target = target.with_name(f"{step}-{number}")
    target.parent.mkdir(exist_ok=True)
    return (folder / str(step)).rename(target)
