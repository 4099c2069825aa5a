"""The verbs of rope-lab: explained, with examples that hold; the catalogue listed."""

import importlib
import inspect
import re
import shlex
from pathlib import Path

import pytest

from rope_lab.cli.commands import COMMANDS
from rope_lab.cli.main import main
from rope_lab.logic import CATALOGUE

ROOT = Path(__file__).resolve().parents[2]


def ended(*arguments) -> int:
    with pytest.raises(SystemExit) as stop:
        main(["rope-lab", *arguments])
    return stop.value.code


def test_help_shows_every_command_with_its_example(capsys):
    assert ended("--help") == 0
    printed = capsys.readouterr().out
    for name, command in COMMANDS.items():
        assert f"  {name} " in printed and f"rope-lab {command.example}" in printed
    assert ended() == 2


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_a_command_has_an_example_of_files_that_exist(name):
    module, _, function = COMMANDS[name].function.partition(":")
    loaded = importlib.import_module(module)
    assert callable(getattr(loaded, function))
    assert f"\n    rope-lab {name} " in loaded.__doc__
    for text in (loaded.__doc__, COMMANDS[name].example):
        for path in re.findall(r"configs/\w+\.py", text):
            assert (ROOT / path).is_file(), path
    assert shlex.split(COMMANDS[name].example)[0] == name


def test_an_experiment_has_a_main_of_its_own_or_takes_a_checkpoint():
    mains = {path.stem for path in (ROOT / "experiments").glob("*.py")}
    with_config = {name for name, command in COMMANDS.items() if command.config}
    assert with_config - mains == {"import", "export"}


def test_without_a_config_the_command_says_which_one_a_clone_has(capsys, tmp_path):
    for name in ("demo", "posgen"):
        assert ended(name, f"--workdir={tmp_path}") == 2
        assert f"--config=configs/{name}" in capsys.readouterr().err


def test_bench_runs_the_benchmark_of_the_clone_and_ends_as_it_does(
    tmp_path, monkeypatch, capsys
):
    folder = tmp_path / "benchmarks"
    folder.mkdir()
    source = 'import sys\nif __name__ == "__main__":\n    sys.exit(len(sys.argv[1]))\n'
    (folder / "attention.py").write_text(source)
    monkeypatch.chdir(tmp_path)
    assert ended("bench", "attention", "seven..") == 7
    assert ended("bench", "attension") == 2
    assert "choose of attention" in capsys.readouterr().err


def test_bench_without_a_clone_says_where_it_looked(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("rope_lab.__file__", str(tmp_path / "site" / "rope_lab" / "x"))
    assert ended("bench", "attention") == 2
    printed = capsys.readouterr().err
    assert f"{tmp_path} " in printed and str(tmp_path / "site") in printed


def listed(capsys, *names) -> dict[str, dict[str, str]]:
    """What `list` prints: name -> its facts, and under "" its summary."""
    assert ended("list", *names) == 0
    found = {}
    for block in capsys.readouterr().out.strip().split("\n\n"):
        first, *lines = block.splitlines()
        name, _, summary = first.partition(": ")
        found[name] = {"": summary}
        for line in lines:
            key, _, value = line.strip().partition(" ")
            found[name][key] = value.strip()
    return found


def test_the_list_is_the_registry(capsys):
    found = listed(capsys)
    assert list(found) == list(CATALOGUE)
    for name, entry in CATALOGUE.items():
        facts = found[name]
        assert facts[""] == entry.summary
        for key in ("formula", "cost", "source"):
            assert facts[key] == getattr(entry, key) != ""
        options = re.findall(
            r"(\w+)(?: \(required\))?(?:, |$)", facts.get("options", "")
        )
        assert options == list(entry.options)
        needed = {
            option
            for option, parameter in entry.options.items()
            if parameter.default is inspect.Parameter.empty
        }
        said = re.findall(r"(\w+) \(required\)", facts.get("options", ""))
        assert set(said) == needed


def test_the_list_says_what_an_encoding_needs(capsys):
    needs = {name: facts["needs"] for name, facts in listed(capsys).items()}
    assert needs["rerope"] == "nothing"
    assert needs["yarn"] == "nothing; fine-tuning helps"
    assert needs["alibi"] == "training from the start"
    for name, entry in CATALOGUE.items():
        assert ("from the start" in needs[name]) == ("start" in entry.needs_training)


def test_some_encodings_are_listed_alone_and_an_unknown_one_is_refused(capsys):
    assert list(listed(capsys, "yarn", "rope")) == ["yarn", "rope"]
    assert ended("list", "yarm") == 2
    assert "did you mean 'yarn'" in capsys.readouterr().err
