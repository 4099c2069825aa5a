"""Checksums of the files of a checkpoint, which say whether it is whole.

They are written into its folder before the folder gets its final name, so a checkpoint
that has that name has them. Those of earlier versions of rope_lab have none.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

NAME = "checksums.json"
_CHUNK = 2**22  # bytes read at once


def seal(folder: Path, seconds: float) -> None:
    """Writes the checksums of all files in the subfolders of `folder`.

    Files of the folder itself are Orbax's marks, some of which come later.

    Args:
      folder: of the checkpoint; complete.
      seconds: that saving took until now, kept beside them for `inspect`.
    """
    files = {
        path.relative_to(folder).as_posix(): _entry(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.parent != folder
    }
    record = {"schema_version": 1, "seconds": round(seconds, 3), "files": files}
    (folder / NAME).write_text(json.dumps(record, indent=1))


def problems(folder: Path, items: tuple[str, ...] = ()) -> list[str] | None:
    """What is wrong with the files of a checkpoint, one line each.

    Args:
      folder: of one step.
      items: subfolders to look into; none: all.

    Returns:
      Nothing if all is as it was written; None if there are no checksums.
    """
    if not (folder / NAME).exists():
        return None
    try:
        files = read_seal(folder)["files"]
        expected = {
            name: (entry["bytes"], entry["sha256"]) for name, entry in files.items()
        }
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        return [f"{NAME} cannot be read: {error}"]
    found = []
    for name, (size, digest) in expected.items():
        path = folder / name
        if items and name.partition("/")[0] not in items:
            continue
        if not path.is_file():
            found.append(f"{name} is missing")
        elif path.stat().st_size != size:
            found.append(f"{name} has {path.stat().st_size} bytes in place of {size}")
        elif _entry(path)["sha256"] != digest:
            found.append(f"{name} has another checksum than when it was written")
    return found


def read_seal(folder: Path) -> dict[str, Any]:
    """What `seal` wrote."""
    return json.loads((folder / NAME).read_text())


def _entry(path: Path) -> dict[str, Any]:
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
            size += len(chunk)
    return {"bytes": size, "sha256": digest.hexdigest()}
