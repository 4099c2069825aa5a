"""The grid of a sweep: which values which keys of a config take, and its cells.

    model.logic=[rope,{"name":"rerope","window":64}],seed=[0,1,2]

A comma between the keys, a list of values after each. A value is what a single override
takes, a Python literal or text; a logic without options is its name. Every combination
is a cell, the last key changing fastest. In a shell the whole stands in quotes.
"""

from __future__ import annotations

import ast
import copy
import dataclasses
import itertools
import re
from collections.abc import Mapping
from typing import Any

from rope_lab.cli.config import PretrainConfig, override, read
from rope_lab.model import build_logic

EXAMPLE = "--grid='model.logic=[rope,nope],seed=[0,1]'"
_VOCABULARY = 257  # any: a tokenizer decides it later, and no check depends on it
_CLOSES = {"]": "[", "}": "{", ")": "("}


@dataclasses.dataclass(frozen=True)
class Cell:
    """One run of a sweep."""

    name: str  # of its folder
    values: dict[str, Any]  # of the grid's keys
    config: PretrainConfig
    logic: Any  # position logic, or one per layer


def parse_grid(text: str) -> dict[str, list[Any]]:
    """Keys and their values, in the order given.

    >>> parse_grid("model.logic=[rope,{'name':'yarn','scale':4}],seed=[0,1]")
    {'model.logic': [{'name': 'rope'}, {'name': 'yarn', 'scale': 4}], 'seed': [0, 1]}

    Raises:
      ValueError: no grid, no list after a key, an empty one, a key or a value twice, a
        dict or list that is no Python literal.
    """
    axes: dict[str, list[Any]] = {}
    for part in _split(text):
        key, equals, values = (piece.strip() for piece in part.partition("="))
        listed = values[:1] == "[" and values[-1:] == "]"
        if not key or not equals or not listed:
            raise ValueError(
                f"--grid has {part!r}; expected key=[value,value], as in {EXAMPLE}"
            )
        if key in axes:
            raise ValueError(f"--grid names {key} twice; give all its values in one")
        axes[key] = [_value(key, one) for one in _split(values[1:-1])]
        _check_values(key, axes[key])
    if not axes:
        raise ValueError(f"--grid is missing: the keys to vary, as in {EXAMPLE}")
    return axes


def _split(text: str) -> list[str]:
    """At commas outside of brackets and quotes; without the blanks around."""
    parts, open_, quote = [""], [], ""
    for letter in text:
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "'\"":
            quote = letter
        elif letter in _CLOSES.values():
            open_.append(letter)
        elif letter in _CLOSES and (not open_ or open_.pop() != _CLOSES[letter]):
            raise ValueError(f"--grid has a {letter!r} that closes nothing: {text!r}")
        if letter == "," and not open_ and not quote:
            parts.append("")
        else:
            parts[-1] += letter
    if open_ or quote:
        raise ValueError(f"--grid never closes {quote or open_[-1]!r}: {text!r}")
    return [part.strip() for part in parts if part.strip()]


def _value(key: str, text: str) -> Any:
    holder: dict[str, Any] = {}
    override(holder, f"value={text}")
    value = holder["value"]
    if isinstance(value, str) and text[:1] in "[{(":
        raise ValueError(
            f"--grid: {key} has {text}, which is no Python literal: quote its words"
        )
    if isinstance(value, str) and key.rpartition(".")[2] == "logic":
        return {"name": value}
    return value


def _check_values(key: str, values: list[Any]) -> None:
    if not values:
        raise ValueError(f"--grid gives no values for {key}; expected {key}=[...]")
    for n, value in enumerate(values):
        if value in values[:n]:
            raise ValueError(f"--grid gives {key} the value {value!r} twice")


def make_cells(config: PretrainConfig, grid: str) -> list[Cell]:
    """Every cell of the grid over a config, checked as `pretrain` would.

    Raises:
      ValueError: a key that nothing reads, a value of the wrong type or out of range,
        an encoding that cannot be; the message names the cell.
    """
    axes = parse_grid(grid)
    plain = dataclasses.asdict(config)
    cells = []
    for values in itertools.product(*axes.values()):
        cells.append(_cell(plain, dict(zip(axes, values, strict=True))))
    names = [cell.name for cell in cells]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"--grid makes two cells of the name {name}; change one")
    return cells


def _cell(plain: dict[str, Any], values: dict[str, Any]) -> Cell:
    settings = copy.deepcopy(plain)
    name = "_".join(f"{key}-{_slug(value)}" for key, value in values.items())
    try:
        for key, value in values.items():
            override(settings, f"{key}={value!r}")
        config = read(PretrainConfig, settings)
        model = config.model.model_config(_VOCABULARY)
        return Cell(name, values, config, build_logic(config.model.logic, model))
    except ValueError as error:
        raise ValueError(f"--grid, cell {name}: {error}") from error


def _slug(value: Any) -> str:
    """Letters, digits, dots and signs of a value; a logic's name, then its options."""
    if isinstance(value, Mapping):
        value = [value.get("name", ""), *(v for v in value.items() if v[0] != "name")]
    if isinstance(value, list | tuple):
        value = "-".join(_slug(one) for one in value)
    return re.sub(r"[^\w.+-]+", "-", str(value)).strip("-")


def config_file(cell: Cell) -> str:
    """A config of `pretrain` that makes this cell and nothing else."""
    values = dataclasses.asdict(cell.config)
    assert ast.literal_eval(repr(values)) == values
    return (
        f'"""Cell {cell.name} of a sweep; `pretrain` continues it in its folder."""\n\n'
        "from ml_collections import ConfigDict\n\n\n"
        f"def get_config() -> ConfigDict:\n    return ConfigDict({values!r})\n"
    )
