"""Look at checkpoints: what they hold, whether they are whole, how two differ.

    rope-lab checkpoint inspect PATH         a workdir, or a folder of one step in it
    rope-lab checkpoint verify PATH          every step of a workdir, or one
    rope-lab checkpoint diff PATH PATH

`verify` ends with status 1 if one is damaged, `diff` if numbers or settings differ.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rope_lab.model.trees import named_leaves
from rope_lab.training import checksums
from rope_lab.training.checkpoint import damage, read_checkpoint
from rope_lab.training.folders import FOLDER, find_step, steps_in
from rope_lab.training.meta import differences


def checkpoint(arguments: Sequence[str]) -> int:
    """The status of `rope-lab checkpoint ARGUMENTS`, after printing what it found.

    Raises:
      ValueError: arguments that do not fit, or nothing there to look at.
    """
    actions: dict[str, tuple[Callable[..., Any], int]] = {
        "inspect": (_inspect, 1),
        "verify": (_verify, 1),
        "diff": (_diff, 2),
    }
    name, *paths = arguments or [""]
    if name not in actions or len(paths) != actions[name][1]:
        raise ValueError(
            "expected `checkpoint inspect PATH`, `checkpoint verify PATH` or "
            f"`checkpoint diff PATH PATH`, got {' '.join(arguments) or 'nothing'}"
        )
    lines, status = actions[name][0](*(Path(path).absolute() for path in paths))
    for line in lines:
        print(line)
        sys.stdout.flush()
    return status()


def _inspect(path: Path):
    folder = find_step(path, None)
    return _about(folder), lambda: 0


def _about(folder: Path) -> Iterator[str]:
    items, meta = read_checkpoint(folder)
    yield f"{folder}"
    yield f"step {meta['step']}, schema version {meta['schema_version']}"
    yield _size(folder)
    yield f"encoding: {json.dumps(meta['encoding'])}"
    for name in ("model", "data", "versions"):
        yield f"{name}: {json.dumps(meta[name])}"
    for item, tree in items.items():
        leaves = named_leaves(tree)
        numbers = sum(np.size(leaf) for leaf in leaves.values())
        yield f"{item}: {len(leaves)} arrays, {numbers:,} numbers"
        if item == "params":
            for names, leaf in leaves.items():
                yield f"  {'.'.join(names)}  {leaf.dtype}{list(leaf.shape)}"


def _size(folder: Path) -> str:
    if not (folder / checksums.NAME).exists():
        return "no checksums: saved by an earlier version"
    record = checksums.read_seal(folder)
    size = sum(entry["bytes"] for entry in record["files"].values())
    rate = size / max(record["seconds"], 1e-3) / 1e6
    return (
        f"{size:,} bytes in {len(record['files'])} files, saved in "
        f"{record['seconds']} s ({rate:,.1f} MB/s)"
    )


def _verify(path: Path):
    damaged = []

    def lines() -> Iterator[str]:
        for folder in _folders(path):
            problem = damage(folder)
            damaged.extend([folder] if problem else [])
            yield f"{folder}: " + (f"damaged ({problem})" if problem else "whole")

    return lines(), lambda: 1 if damaged else 0


def _folders(path: Path) -> list[Path]:
    """Every step of a workdir, or the one that is given."""
    newest = find_step(path, None)  # or says that there is none
    if newest == path:
        return [path]
    folder = path if path.name == FOLDER else path / FOLDER
    return [folder / str(step) for step in sorted(steps_in(folder))]


def _diff(first: Path, second: Path):
    (items, meta), (others, other_meta) = (
        read_checkpoint(find_step(path, None)) for path in (first, second)
    )
    lines = differences(_settings(meta), _settings(other_meta))
    lines = [
        line.replace("checkpoint has", "first has").replace(
            "this run asks for", "second has"
        )
        for line in lines
    ]
    for item in {**items, **others}:
        lines += _differing(item, items.get(item, {}), others.get(item, {}))
    return lines or ["no difference"], lambda: 1 if lines else 0


def _settings(meta: dict[str, Any]) -> dict[str, Any]:
    return {
        name: meta[name] for name in ("step", "config", "model", "encoding", "data")
    }


def _differing(item: str, first: Any, second: Any) -> list[str]:
    """One line per array that is not the same, with how far apart they are."""
    mine, others = named_leaves(first), named_leaves(second)
    lines = []
    for names in {**mine, **others}:
        name = f"{item}.{'.'.join(names)}"
        shapes = [np.shape(x[names]) if names in x else None for x in (mine, others)]
        if shapes[0] != shapes[1]:
            lines.append(f"{name}: first has {shapes[0]}, second has {shapes[1]}")
            continue
        a, b = (np.asarray(x[names]).astype(np.float64) for x in (mine, others))
        if not np.array_equal(a, b):
            relative = float(np.linalg.norm(a - b)) / max(
                float(np.linalg.norm(a)), 1e-300
            )
            lines.append(
                f"{name}: up to {np.abs(a - b).max():.3g} apart, "
                f"{relative:.3g} of its norm"
            )
    return lines
