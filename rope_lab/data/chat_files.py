"""What lies beside a tokenizer's file: which tokens end a text, how chats are spelled.

The files are those of transformers: generation_config.json, chat_template.jinja, and
tokenizer_config.json, in which older checkpoints have their template.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rope_lab.data.json_text import parse_json

_GENERATION, _TEMPLATE = "generation_config.json", "chat_template.jinja"
_SETTINGS = "tokenizer_config.json"
_EOS = "eos_token_id"


def read_beside(folder: Path) -> tuple[tuple[int, ...], str | None]:
    """(tokens that end a text, chat template in Jinja or None) of a folder.

    Raises:
      ValueError: a file that is damaged, or whose values are none of these.
    """
    path = folder / _GENERATION
    generation = _object(path)
    ids = token_ids(generation.get(_EOS), f"{path}: {_EOS}")
    path = folder / _TEMPLATE
    if path.is_file():
        return ids, path.read_bytes().decode(errors="replace")
    return ids, _default_template(_object(folder / _SETTINGS).get("chat_template"))


def files_beside(eos_ids: Sequence[int], template: str | None) -> dict[str, bytes]:
    """Name -> content of what `read_beside` reads; nothing for what is not there."""
    files = {}
    if eos_ids:
        files[_GENERATION] = json.dumps({_EOS: one_or_all(eos_ids)}, indent=2).encode()
    if template is not None:
        files[_TEMPLATE] = template.encode()
    return files


def token_ids(value: Any, place: str) -> tuple[int, ...]:
    """A token, a list of them, or null; below 0 is none, too.

    Raises:
      ValueError: something else, named by `place`.
    """
    values = value if isinstance(value, list) else [] if value is None else [value]
    if not all(type(one) is int for one in values):
        raise ValueError(f"{place} must be the number of a token or several: {value!r}")
    return tuple(dict.fromkeys(one for one in values if one >= 0))


def one_or_all(ids: Sequence[int]) -> int | list[int] | None:
    """As config files have it: null for none, a number for one."""
    return None if not ids else ids[0] if len(ids) == 1 else list(ids)


def _object(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    values = parse_json(path.read_bytes(), str(path))
    if not isinstance(values, dict):
        raise ValueError(f"{path} must hold keys and values")
    return values


def _default_template(value: Any) -> str | None:
    """The template itself, or of several by name the one called default."""
    for one in value if isinstance(value, list) else []:
        if isinstance(one, dict) and one.get("name") == "default":
            value = one.get("template")
    return value if isinstance(value, str) else None
