"""Pages of the API: the public names of each room, from their docstrings."""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path

# Room -> what its page is called.
ROOMS = {
    "rope_lab": "The public surface",
    "rope_lab.rotary": "rotary: frequencies and angles",
    "rope_lab.logic": "logic: encodings as values",
    "rope_lab.attention": "attention: one call for every logic",
    "rope_lab.model": "model: the decoder and text from it",
    "rope_lab.data": "data: text and PosGen",
    "rope_lab.training": "training: from batches to parameters",
    "rope_lab.evaluation": "evaluation: numbers with intervals",
    "rope_lab.interop": "interop: checkpoints of others",
    "rope_lab.planning": "planning: what a step needs of chips",
    "rope_lab.plots": "plots: pictures",
}


def write_api(folder: Path) -> None:
    """Writes a page for each room, which autodoc fills."""
    for room, title in ROOMS.items():
        (folder / f"api_{room.replace('.', '_')}.md").write_text(_page(room, title))


def public_names(room: str) -> list[str]:
    """What a room offers: its `__all__`, or what it imports from below itself."""
    module = importlib.import_module(room)
    names = getattr(module, "__all__", None)
    if names is None:
        names = [
            name
            for name, value in vars(module).items()
            if not name.startswith("_")
            and getattr(value, "__module__", "").startswith(f"{room}.")
        ]
    return [name for name in names if not inspect.ismodule(getattr(module, name))]


def _page(room: str, title: str) -> str:
    module = importlib.import_module(room)
    lines = [f"# {title}", "", "```{eval-rst}", f".. automodule:: {room}", ""]
    shared = set(importlib.import_module("rope_lab").__all__)
    for name in public_names(room):
        if room != "rope_lab" and name in shared:  # it has its place on the first page
            lines += [f":py:obj:`{name} <rope_lab.{name}>`, see there.", ""]
            continue
        lines += [*_entry(room, name, getattr(module, name)), ""]
    return "\n".join([*lines, "```", ""])


def _entry(room: str, name: str, value: object) -> list[str]:
    """The directive that documents one name."""
    if isinstance(value, dict):
        keys = ", ".join(f"``{key}``" for key in value)
        return [f".. py:data:: {room}.{name}", "", f"   Keys: {keys}."]
    kind = "class" if inspect.isclass(value) else "function"
    lines = [f".. auto{kind}:: {room}.{name}"]
    if kind == "class":
        lines.append("   :members:")
    return lines
