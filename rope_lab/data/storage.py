"""Where prepared data lies, and how it gets there whole or not at all."""

import contextlib
import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np


def data_root(data_dir: str | os.PathLike | None = None) -> Path:
    """The folder of all prepared data: `data_dir`, $ROPE_LAB_DATA or the cache."""
    chosen = data_dir or os.environ.get("ROPE_LAB_DATA") or "~/.cache/rope_lab"
    return Path(chosen).expanduser().absolute()


def built(folder: Path, write: Callable[[Path], None]) -> Path:
    """Returns `folder`, after `write(scratch)` has filled it if it was missing.

    The scratch folder gets its final name by one rename, after everything in it
    has reached the disk: a process killed at any moment leaves no half-written
    `folder`, and the next call starts again. Two processes never build at once.
    """
    if folder.exists():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    scratch = folder.with_name(f"{folder.name}.partial")
    with _locked(folder.with_name(f"{folder.name}.lock")):
        if folder.exists():  # another process was faster
            return folder
        shutil.rmtree(scratch, ignore_errors=True)  # left by a killed process
        scratch.mkdir()
        try:
            write(scratch)
        except BaseException:
            shutil.rmtree(scratch, ignore_errors=True)
            raise
        for path in scratch.rglob("*"):
            if path.is_file():
                _flush(path)
        scratch.rename(folder)
    return folder


def load_array(path: Path) -> np.ndarray:
    """The array in `path`, a file that `built` wrote.

    Raises:
      ValueError: it cannot be read; says which folder to remove.
    """
    try:
        return np.load(path, allow_pickle=False)
    except Exception as error:  # numpy's reader hands on whatever its parser of
        # Python raises: ValueError, SyntaxError, TokenError, by version of Python
        raise ValueError(damaged(path.parent)) from error


def damaged(folder: Path) -> str:
    """What to say of a prepared folder that does not hold what was written."""
    return f"{folder} is damaged; remove it, and it is prepared anew"


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Holds an exclusive lock, which the system releases if the process dies."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _flush(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
