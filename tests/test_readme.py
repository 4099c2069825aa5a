"""What the README shows runs, and what it lists is what there is."""

import inspect
import re
from pathlib import Path

import pytest
from tiny_checkpoint import write_folder

from rope_lab.cli.commands import COMMANDS
from rope_lab.logic import CATALOGUE

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.fixture
def catalogue_restored():
    before = dict(CATALOGUE)
    yield
    CATALOGUE.clear()
    CATALOGUE.update(before)


def snippets() -> list[str]:
    """What the README shows, each on the lines where it stands there."""
    found = re.finditer(r"^```python\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)
    return ["\n" * TEXT[: one.start(1)].count("\n") + one[1] for one in found]


def test_the_snippets_run_in_order(monkeypatch, catalogue_restored, tmp_path):
    (tmp_path / "README.md").write_text(TEXT, encoding="utf-8")
    write_folder(tmp_path / "Llama-3.2-1B")  # a small one stands in for it
    monkeypatch.chdir(tmp_path)
    shared = {"__name__": "readme"}
    for source in snippets():
        exec(compile(source, "README.md", "exec"), shared)
    # Twenty steps on the file itself: better than guessing among its 256 bytes.
    assert shared["loss_NT"].mean() < 4.0
    assert shared["o_BTHC"].shape == (1, 16, 4, 64)
    assert "grouped" in CATALOGUE
    assert shared["trained_as"] == {"name": "rope", "base": 10_000.0}
    assert (tmp_path / "Llama-3.2-1B-long" / "model.safetensors").is_file()


def table_rows() -> dict[str, list[str]]:
    """Cells of the table of encodings by name."""
    section = TEXT.split("## The encodings")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| `")]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {row[0].strip("`"): row[1:] for row in rows}


def test_the_table_lists_the_catalogue():
    assert list(table_rows()) == list(CATALOGUE)


@pytest.mark.parametrize("name", CATALOGUE)
def test_the_table_says_what_an_encoding_needs(name):
    _, training, options, _ = table_rows()[name]
    entry = CATALOGUE[name]
    assert training == entry.needs_training
    expected = []
    for option, parameter in entry.options.items():
        required = parameter.default is inspect.Parameter.empty
        expected.append(f"**`{option}`**" if required else f"`{option}`")
    assert options == ", ".join(expected)


def test_the_list_of_commands_is_that_of_the_program():
    section = TEXT.split("## Commands")[1].split("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)` \| (.+) \|$", section, re.MULTILINE)
    assert rows == [(name, command.about) for name, command in COMMANDS.items()]
    named = re.findall(r"rope-lab ([a-z]\w*)", TEXT)
    assert named and set(named) <= set(COMMANDS)


def test_files_and_modules_the_readme_names_exist():
    paths = re.findall(r"`((?:rope_lab|tests|configs)/[\w/.]+)`", TEXT)
    assert len(paths) >= 7
    paths += re.findall(r"--config=([\w/.]+)", TEXT)
    paths += [
        f"{module.replace('.', '/')}.py"
        for module in re.findall(r"python -m ([\w.]+)", TEXT)
    ]
    missing = [path for path in paths if not (ROOT / path).exists()]
    assert not missing


def test_commands_of_make_exist():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in set(re.findall(r"make (\w+)(?= |$|`)", TEXT, re.MULTILINE)):
        assert f"\n{target}:" in makefile, target
