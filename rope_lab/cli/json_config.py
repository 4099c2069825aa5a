"""Configs as JSON: those of strangers, and those in the folders of runs.

A Python config is a program, which runs when it is read: it is for one's own. JSON is
data. What either may hold, `rope_lab.cli.config` says.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

LARGEST = 2**20  # bytes; no config has a thousandth of it


def take_json_config(argv: Sequence[str]) -> tuple[list[str], dict[str, Any] | None]:
    """The arguments without --config=FILE.json, and what that file holds.

    Raises:
      ValueError: the file is missing, too large, or no JSON object.
    """
    rest: list[str] = []
    arguments, found = iter(argv), None
    for argument in arguments:
        option, equals, value = argument.partition("=")
        if option not in ("--config", "-config"):
            rest.append(argument)
            continue
        given = [argument]
        if not equals:
            value = next(arguments, "")
            given.append(value)
        if value.endswith(".json"):
            found = _read(Path(value))
        else:
            rest += given
    return rest, found


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise ValueError(f"--config: there is no file {path}")
    if path.stat().st_size > LARGEST:
        raise ValueError(f"--config: {path} has more than {LARGEST} bytes")
    try:
        values = json.loads(path.read_text(), parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"--config: {path} is no JSON: {error}") from None
    if not isinstance(values, dict):
        raise ValueError(
            f"--config: {path} holds a {type(values).__name__}; expected an object "
            "with the sections of the experiment"
        )
    return values


def _refuse(name: str) -> None:
    raise ValueError(f"{name} is no number of JSON")
