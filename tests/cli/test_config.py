"""Configs are read strictly: what nothing reads is an error."""

import dataclasses

import pytest
from ml_collections import ConfigDict

from rope_lab.cli.config import ExtrapolateConfig, PretrainConfig, override, read
from rope_lab.cli.specs import resolve


def test_sections_become_dataclasses(settings):
    config = read(PretrainConfig, ConfigDict(settings))
    assert config.model.num_layers == 1 and config.data.length == 16
    assert config.training.learning_rate == 0.01
    assert dataclasses.asdict(config)["model"]["logic"] == {"name": "rope"}


def test_an_integer_serves_as_a_float(settings):
    settings["training"]["learning_rate"] = 1
    assert read(PretrainConfig, settings).training.learning_rate == 1.0


@pytest.mark.parametrize(
    ("section", "key", "value", "message"),
    [
        ("model", "num_layer", 2, r"config\.model\.num_layer.*did you mean 'num_lay"),
        ("training", "steps", 2, r"config\.training\.steps: nothing reads this key"),
        ("data", "length", "16", r"config\.data\.length must be a int, got '16'"),
        ("data", "length", True, r"config\.data\.length must be a int"),
        ("validation", "every", None, r"config\.validation\.every must be a int"),
        (
            "validation",
            "every",
            0,
            r"config\.validation\.every is 0; expected at least",
        ),
        ("training", "learning_rate", 1e999, r"learning_rate must be a finite number"),
        ("data", "seed", 2**70, r"config\.data\.seed must be a seed from 0 to"),
        ("data", "seed", -1, r"config\.data\.seed must be a seed from 0 to"),
        ("data", "length", 10**20, r"config\.data\.length must have 64 bits"),
        ("model", "logic", 3, r"config\.model\.logic is a dict with the name"),
        (
            "model",
            "logic",
            {"name": 5},
            r"config\.model\.logic is a dict with the name",
        ),
        ("model", "logic", ["rope"], r"config\.model\.logic is a dict with the name"),
    ],
)
def test_a_wrong_key_or_type_is_named(settings, section, key, value, message):
    settings[section][key] = value
    with pytest.raises(ValueError, match=message):
        read(PretrainConfig, settings)


def test_a_missing_key_is_named(settings):
    del settings["data"]["batch_size"]
    with pytest.raises(ValueError, match=r"config\.data\.batch_size is missing"):
        read(PretrainConfig, settings)


@pytest.mark.parametrize(
    ("assignment", "value"),
    [("8", 8), ("0.5", 0.5), ("True", True), ("false", False), ("None", None)],
)
def test_an_override_is_a_literal(settings, assignment, value):
    override(settings, f"model.new={assignment}")
    assert settings["model"]["new"] is value or settings["model"]["new"] == value


def test_an_override_that_is_no_literal_is_text(settings):
    override(settings, "model.logic.name=rerope")
    assert settings["model"]["logic"] == {"name": "rerope"}


def test_elements_of_lists_are_checked():
    values = {"models": {"pretrained": "x"}, "encodings": [], "lengths": ["a"]}
    with pytest.raises(ValueError, match=r"config\.lengths\[0\] must be a int"):
        read(ExtrapolateConfig, values)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"models": {"base": "x"}}, r"config\.models|models needs the label"),
        ({"lengths": []}, "lengths is empty"),
        ({"lengths": [8, 0]}, r"config\.lengths is 0; expected at least 1"),
        ({"encodings": ["rope"]}, r"config\.encodings holds 'rope'; each of them"),
        ({"num_windows": 0}, r"config\.num_windows is 0"),
    ],
)
def test_what_cannot_be_measured_is_refused(changes, message):
    values = {"models": {"pretrained": "x"}, "encodings": [], "lengths": [8]}
    read(ExtrapolateConfig, values)
    with pytest.raises(ValueError, match=message):
        read(ExtrapolateConfig, values | changes)


def test_length_words_become_tokens():
    spec = {
        "name": "yarn",
        "train_length": "trained",
        "length": "measured",
        "scale": "measured/trained",
        "beta_fast": 16,
    }
    assert resolve(spec, trained=128, measured=512) == {
        "name": "yarn",
        "train_length": 128,
        "length": 512,
        "scale": 4,
        "beta_fast": 16,
    }
    assert resolve([{"name": "rerope", "window": "trained/4"}], 128)[0]["window"] == 32


def test_a_measured_length_needs_a_measurement():
    with pytest.raises(ValueError, match="no measured length"):
        resolve({"name": "dynamic_ntk", "length": "measured"}, trained=8)
