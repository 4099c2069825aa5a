"""Every config in configs/ is read to the last key, and its encodings can be built."""

import importlib.util
from pathlib import Path

import pytest
from ml_collections import ConfigDict

from rope_lab.cli import config as schema
from rope_lab.cli.main import EXPERIMENTS
from rope_lab.cli.specs import resolve
from rope_lab.model import ModelConfig, build_logic

ROOT = Path(__file__).resolve().parents[1]
FILES = sorted((ROOT / "configs").glob("*.py"))
MODEL = ModelConfig(vocab_size=257, num_layers=4, head_dim=32)

every_file = pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)


def experiment_of(path: Path) -> str:
    """The experiment whose name the file has, or begins with."""
    (name,) = (name for name in EXPERIMENTS if path.stem.startswith(name))
    return name


def load(path: Path) -> ConfigDict:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.get_config()


def encodings(values) -> list[dict]:
    """Every dict with a "name" in a config, at any depth."""
    if isinstance(values, dict):
        if "name" in values:
            return [values]
        return [spec for value in values.values() for spec in encodings(value)]
    if isinstance(values, list | tuple):
        return [spec for value in values for spec in encodings(value)]
    return []


@every_file
def test_a_config_holds_what_its_experiment_reads_and_nothing_else(path):
    cls = getattr(schema, EXPERIMENTS[experiment_of(path)][1])
    assert schema.read(cls, load(path))


@every_file
def test_the_encodings_of_a_config_can_be_built(path):
    specs = encodings(load(path).to_dict())
    assert specs
    for spec in specs:
        options = {
            key: value for key, value in spec.items() if key not in ("label", "model")
        }
        build_logic(resolve(options, trained=128, measured=1024), MODEL)


@every_file
def test_the_docstring_of_a_config_gives_its_command(path):
    text = path.read_text(encoding="utf-8")
    name = experiment_of(path)
    docstring = text.split('"""')[1]
    command = f"python -m experiments.{name} --config=configs/{path.name}"
    assert command in docstring or f"make {name}" in docstring
