"""Every config in configs/ is read to the last key, and its encodings can be built."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest
from ml_collections import ConfigDict

from rope_lab.cli import config as schema
from rope_lab.cli.main import STUDY, reader_of
from rope_lab.cli.specs import resolve
from rope_lab.evaluation.article import ARTICLE
from rope_lab.logic import CATALOGUE
from rope_lab.model import ModelConfig, build_logic

ROOT = Path(__file__).resolve().parents[1]
FILES = sorted((ROOT / "configs").glob("*.py"))
MODEL = ModelConfig(vocab_size=257, num_layers=4, head_dim=32)


@pytest.fixture(autouse=True)
def catalogue_restored():
    """A config may add an encoding of its own."""
    before = dict(CATALOGUE)
    yield
    CATALOGUE.clear()
    CATALOGUE.update(before)


every_file = pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)


def experiment_of(path: Path) -> str:
    """The experiment of the first command that the docstring gives for the file."""
    docstring = module_of(path).__doc__
    given = f"--config=configs/{path.name}"
    found = re.search(rf"python -m experiments\.(\w+) {re.escape(given)}\b", docstring)
    assert found, f"the docstring has no command with {given}"
    return found[1]


def module_of(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def load(path: Path) -> ConfigDict:
    return module_of(path).get_config()


def variations(path: Path) -> list[list[str]]:
    """The assignments that the docstring offers beside its command, line by line."""
    lines = module_of(path).__doc__.replace("\\\n", " ").splitlines()
    found = [re.findall(r"--config\.(\S+=\S+)", line) for line in lines]
    return [assignments for assignments in found if assignments]


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
    _, cls = reader_of(experiment_of(path), load(path))
    assert schema.read(getattr(schema, cls), load(path))


@every_file
def test_the_encodings_of_a_config_can_be_built(path):
    values = load(path).to_dict()
    model, trained = MODEL, 128
    if reader_of(experiment_of(path), values) == STUDY:
        model = ModelConfig(vocab_size=257, **values["model"])
        trained = values["data"]["length"]
    specs = encodings(values)
    assert specs
    for spec in specs:
        options = {
            key: value for key, value in spec.items() if key not in ("label", "model")
        }
        build_logic(resolve(options, trained, 8 * trained), model)


@every_file
def test_what_a_docstring_offers_to_change_can_be_changed(path):
    cls = getattr(schema, reader_of(experiment_of(path), load(path))[1])
    for assignments in variations(path):
        values = load(path).to_dict()
        for assignment in assignments:
            schema.override(values, assignment)
        assert values != load(path).to_dict(), f"{assignments} changes nothing"
        config = schema.read(cls, values)
        if isinstance(config, schema.PretrainConfig):
            build_logic(config.model.logic, config.model.model_config(257))


def test_documents_of_l_eval_are_cut_where_the_published_ones_were():
    path = ROOT / "configs" / "llama2_eval.py"
    offered = [value for row in variations(path) for value in row]
    assert load(path).leval.length == 32 * 1000  # what L-Eval makes of "32k"
    assert "leval.length=16000" in offered


def test_the_rows_of_the_gated_attention_configs_are_read_from_their_docstrings():
    for name in ("gau_100m", "gau_small"):
        offered = variations(ROOT / "configs" / f"{name}.py")
        names = [value for row in offered for value in row if "logic.name" in value]
        assert names == ["model.logic.name=hwfa", "model.logic.name=hwfa2"]
        assert ["model.qk_norm=keys"] in offered


@pytest.mark.parametrize("size", ["small", "100m"])
def test_the_rows_of_the_article_are_in_its_study(size):
    values = load(ROOT / "configs" / f"rerope_{size}.py").to_dict()
    labels = [row["label"] for model in values["trained"] for row in model["rows"]]
    assert len(set(labels)) == len(labels)
    assert set(ARTICLE) - set(labels) == set()
