"""The page of config keys, from the dataclasses that read them and their comments."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import io
import tokenize
import typing
from pathlib import Path
from typing import Any

from rope_lab.cli import config
from rope_lab.cli.commands import COMMANDS
from rope_lab.model import ModelConfig

HEAD = """# Every key of a config

A config holds the keys of one of these classes, nested where a value is a class. Any is
set on the command line by `--config.KEY=VALUE`, with points between nested keys; a key
that does not exist is an error with the nearest name. Keys without a default are
**bold**: a config has to give them.

"""


def write_config(folder: Path) -> None:
    """Writes config.md: commands, then a section for each class."""
    sections = map(section, classes())
    parts = [HEAD, _commands(), *sections]
    (folder / "config.md").write_text("\n".join(parts), encoding="utf-8")


def classes() -> list[type]:
    """Those that commands read, then those that stand in them."""
    names = [row.config for row in COMMANDS.values() if row.config is not None]
    found = [getattr(config, name) for name in [*names, "StudyConfig"]]
    for cls in found:  # grows
        for hint in typing.get_type_hints(cls).values():
            inner = [hint, *typing.get_args(hint)]
            found += [one for one in inner if dataclasses.is_dataclass(one)]
    return list(dict.fromkeys(found))


def section(cls: type) -> str:
    """A class: what it is, and its keys with type, default and meaning."""
    about = _about(cls)
    if cls is config.ModelSection:
        about += f"\n\n{_about(ModelConfig).partition(chr(10) * 2)[2]}"
    rows = ["| key | type | default | |", "|---|---|---|---|"]
    said = comments(cls)
    for field in dataclasses.fields(cls):
        default, name = _default(field), f"`{field.name}`"
        written = field.type if isinstance(field.type, str) else _written(field.type)
        kind = f"`{written}`".replace("|", "\\|")
        inner = [one for one in classes() if one.__name__ in written]
        if inner:
            kind = f"[{kind}](#{inner[-1].__name__.lower()})"
        cells = [name if default else f"**{name}**", kind, default]
        rows.append(f"| {' | '.join(cells)} | {said.get(field.name, '')} |")
    return "\n".join([f"## {cls.__name__}", "", about, "", *rows, ""])


def comments(cls: type) -> dict[str, str]:
    """Field -> what the comment above it, and the one behind it, say."""
    found = {}
    for base in reversed(cls.__mro__[:-1]):
        if dataclasses.is_dataclass(base):
            found |= _comments_of(inspect.getsource(base))
    if cls is config.ModelSection:  # the keys of a model are explained there
        found = comments(ModelConfig) | found
    return {
        name: text.replace("|", "\\|").replace("<", "&lt;")
        for name, text in found.items()
    }


def _about(cls: type) -> str:
    return inspect.cleandoc(cls.__doc__ or "").partition("\n\nRaises:")[0]


def _comments_of(source: str) -> dict[str, str]:
    lines = source.splitlines()
    behind = {
        token.start[0]: token.string.lstrip("# ")
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT
    }
    found = {}
    for node in ast.parse(source).body[0].body:
        if not isinstance(node, ast.AnnAssign) or not isinstance(node.target, ast.Name):
            continue
        texts, above = [], node.lineno - 1
        while above in behind and lines[above - 1].lstrip().startswith("#"):
            texts.insert(0, behind[above])
            above -= 1
        texts += [
            behind[n] for n in range(node.lineno, node.end_lineno + 1) if n in behind
        ]
        if texts:
            found[node.target.id] = " ".join(texts)
    return found


def _written(kind: Any) -> str:
    return kind.__name__ if type(kind) is type else str(kind)


def _default(field: dataclasses.Field) -> str:
    """Nothing for a key that has to be given."""
    if field.default is not dataclasses.MISSING:
        value = field.default
    elif field.default_factory is not dataclasses.MISSING:
        value = field.default_factory()
    else:
        return ""
    if dataclasses.is_dataclass(value):
        return f"{type(value).__name__}'s"
    return f"`{value!r}`"


def _commands() -> str:
    rows = ["| command | reads |", "|---|---|"]
    for name, row in COMMANDS.items():
        if row.config is not None:
            more = ", or StudyConfig where it lists models to train"
            more = more if name == "extrapolate" else ""
            rows.append(f"| `{name}` | [{row.config}](#{row.config.lower()}){more} |")
    return "\n".join([*rows, ""])
