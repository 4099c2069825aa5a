"""The rooms of rope_lab import downwards only, read from the source itself."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "rope_lab"

# A room may import rooms of a smaller number, and itself. "" is rope_lab/__init__.py,
# the public surface over the rooms up to the model.
LEVELS = {
    "rotary": 0,
    "logic": 1,
    "attention": 2,
    "model": 3,
    "data": 3,
    "": 4,
    "training": 5,
    "evaluation": 5,
    "interop": 5,
    "planning": 6,  # what training needs of devices that are not there
    "plots": 6,  # draws what evaluation measured
    "cli": 7,
}
OUTSIDE = {"experiments", "configs", "benchmarks", "tests", "oracle", "colab"}
HEAVY = {"torch", "tensorflow", "transformers"}


def room_of(path: Path) -> str:
    """The room a file belongs to: a folder, or a module beside the folders."""
    first = path.relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py").removeprefix("__init__")


def absolute_name(node: ast.ImportFrom, path: Path) -> str:
    """The module a `from` statement names, with leading dots resolved."""
    if not node.level:
        return node.module or ""
    package = path.relative_to(ROOT).parent.parts
    parents = package[: len(package) - node.level + 1]
    return ".".join([*parents, *filter(None, [node.module])])


def imported_names(path: Path) -> set[str]:
    """Dotted names of everything a file imports, inside functions too."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = absolute_name(node, path)
            names.update(f"{module}.{alias.name}" for alias in node.names)
    return names


def imported_rooms(path: Path) -> set[str]:
    """Rooms a file imports from; a name that is no room comes from rope_lab itself."""
    rooms = set()
    for name in imported_names(path):
        top, _, rest = name.partition(".")
        if top == "rope_lab":
            room = rest.split(".")[0]
            rooms.add(room if room in LEVELS else "")
    return rooms


FILES = {
    path.relative_to(PACKAGE).as_posix(): path for path in sorted(PACKAGE.rglob("*.py"))
}


def offenders(names_of: set[str], rooms: frozenset = frozenset()) -> dict:
    """Files outside `rooms` that import one of these top-level names, and which."""
    found = {}
    for file, path in FILES.items():
        tops = {name.split(".")[0] for name in imported_names(path)}
        if tops & names_of and room_of(path) not in rooms:
            found[file] = sorted(tops & names_of)
    return found


def test_every_room_has_its_place_in_the_order():
    strangers = {room_of(path) for path in FILES.values()} - set(LEVELS)
    assert not strangers, f"give {sorted(strangers)} a level in LEVELS"


def test_the_map_in_the_readme_is_that_of_the_folders():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    section = text.split("## A map of the code")[1].split("\n## ")[0]
    rooms = re.findall(r"^\| `rope_lab/(\w+)` \|.*\|$", section, re.MULTILINE)
    assert sorted(rooms) == sorted(set(LEVELS) - {""})
    levels = [LEVELS[room] for room in rooms]
    assert levels == sorted(levels, reverse=True), "a room may import those below it"


def test_imports_point_to_lower_rooms():
    upward = []
    for file, path in FILES.items():
        here = room_of(path)
        for room in sorted(imported_rooms(path) - {here}):
            if LEVELS[room] >= LEVELS[here]:
                upward.append(f"{file} imports {room or 'rope_lab'}")
    assert not upward


def test_the_package_imports_nothing_that_stands_outside_it():
    assert not offenders(OUTSIDE)


def test_other_frameworks_are_imported_by_interop_alone():
    assert not offenders(HEAVY, rooms=frozenset({"interop"}))


def test_pictures_are_drawn_in_one_room():
    # One look: notebooks, studies, reports and papers call rope_lab.plots.
    assert not offenders({"matplotlib", "cycler"}, rooms=frozenset({"plots"}))


def test_orbax_stays_in_one_module():
    # Its top-level import changes meaning at 1.0.
    assert offenders({"orbax"}).keys() <= {"training/checkpoint.py"}


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("from rope_lab.model import x", {"model"}),
        ("from ..model.decoder import x", {"model"}),
        ("from .. import rotary, attend", {"rotary", ""}),
        ("from . import x", {"logic"}),
        ("def f():\n    import rope_lab.cli.main", {"cli"}),
        ("import numpy", set()),
    ],
)
def test_the_reader_of_imports_understands(source, expected, monkeypatch, tmp_path):
    path = tmp_path / "rope_lab" / "logic" / "bands.py"
    path.parent.mkdir(parents=True)
    path.write_text(source)
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    assert imported_rooms(path) == expected
