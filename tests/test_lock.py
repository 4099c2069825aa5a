"""requirements/ holds what setup.py asks for: after a change there, `make lock`."""

import re
from importlib.metadata import requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement

FOLDER = Path(__file__).parents[1] / "requirements"
EXTRAS = ("", "dev", "demo", "docs")  # those that lock.sh names


@pytest.mark.parametrize("python", ["py311", "py312"])
def test_all_that_the_project_needs_is_locked_at_a_version_that_does(python):
    lines = (FOLDER / f"{python}.txt").read_text().splitlines()
    locked = dict(line.split()[0].split("==") for line in lines if "==" in line)
    for text in requires("rope-lab"):
        one = Requirement(text)
        if one.marker and not any(one.marker.evaluate({"extra": x}) for x in EXTRAS):
            continue
        name = re.sub("[-_.]+", "-", one.name).lower()
        assert name in locked, f"{text} is not locked: run make lock"
        assert one.specifier.contains(locked[name], prereleases=True), text


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.txt")), ids=lambda x: x.name)
def test_locks_hold_versions_and_hashes_and_say_no_place(path):
    for line in path.read_text().splitlines():
        comment = line.startswith("#")
        hashed = re.fullmatch(r"    --hash=sha256:[0-9a-f]{64}( \\)?", line)
        entry = re.fullmatch(r"[a-z0-9][a-z0-9.-]*==[A-Za-z0-9.+!]+ \\", line)
        assert comment or hashed or entry, line
