"""What to do when the machine, and not the user, is in the way."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import jax

_FULL = (errno.ENOSPC, errno.EDQUOT)
_ASKED = "JAX_PLATFORMS"
_LOCKED = (errno.EACCES, errno.EPERM, errno.EROFS)


def advice(error: Exception, folder: str | None) -> str:
    """What the error says, and what helps; folder: the workdir of the run, if any."""
    said = " ".join(str(error).split())
    if isinstance(error, OSError) and error.errno in _FULL:
        return f"{said}: the disk is full{_left(folder)}; make room, or move the run, \
and start the same command again: it goes on from the newest whole checkpoint"
    if isinstance(error, OSError) and error.errno in _LOCKED:
        return f"{said}: no permission to write there; give another --workdir, or a \
folder of yours for prepared data in $ROPE_LAB_DATA, or change the permissions"
    if is_no_accelerator(error):
        return f"JAX_PLATFORMS={os.environ[_ASKED]} asks for what JAX cannot start \
here; unset it, or set JAX_PLATFORMS=cpu; for a GPU or TPU install the extra gpu or tpu"
    return said


def is_no_accelerator(error: Exception) -> bool:
    """Whether JAX was asked for a platform that it cannot start.

    It raises errors of several kinds then, some without a word, so it is asked again.
    """
    if not isinstance(error, RuntimeError | AssertionError) or _ASKED not in os.environ:
        return False
    try:
        jax.devices()
    except (RuntimeError, AssertionError):
        return True
    return False


def _left(folder: str | None) -> str:
    """How much room there is where the run is written, if that can be told."""
    place = Path(folder or ".").absolute()
    while not place.exists():
        place = place.parent
    try:
        free = shutil.disk_usage(place).free
    except OSError:
        return ""
    return f" ({free / 2**20:.0f} MiB are left in {place})"
