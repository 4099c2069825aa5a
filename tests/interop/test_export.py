"""Out and in again: the same logits, or the reason why not."""

import json

import chex
import jax
import numpy as np
import pytest
from tiny_checkpoint import HEAD_DIM, logits, tiny_model

from rope_lab import position_logic, rotary
from rope_lab.data.tokenizers import ByteTokenizer, load_tokenizer
from rope_lab.interop import export_pretrained, load_pretrained
from rope_lab.interop.card import phase_error
from rope_lab.logic import hwfa

YARN = {"scale": 4, "train_length": 64}
LISTS = {"short_factors": [1.0] * 8, "long_factors": [1.5] * 8, "length": 256}
# name, options, the rope type it is written as
EXPRESSED = [
    ("rope", {"base": 5e5}, "default"),
    ("interpolated", {"scale": 4}, "linear"),
    ("dynamic_ntk", {"train_length": 64, "length": 256, "scale": 2.0}, "dynamic"),
    ("yarn", YARN, "yarn"),
    ("yarn", {**YARN, "truncate": False, "logit_scale": 1.0}, "yarn"),
    ("llama3", {**YARN, "base": 5e5}, "llama3"),
    ("longrope", {**YARN, **LISTS}, "longrope"),
    ("p_rope", {"fraction": 0.5}, "proportional"),
    ("p_rope", {"train_length": 64}, "proportional"),
    ("nope", {}, "proportional"),
    ("rope", {"resonance": True}, "longrope"),
    ("yarn", {**YARN, "resonance": True, "base": 5e5}, "longrope"),
    ("yarn", {**YARN, "ramp": "rotations"}, "longrope"),
    ("ntk_mixed", {"scale": 4}, "longrope"),
    ("ntk_aware", {"scale": 4}, "longrope"),
    ("p_rope", {"fraction": 0.5, "resonance": True}, "longrope"),
    ("rope", {"softmax_scale": 0.5}, "longrope"),
    ("rope", {"frequencies": rotary.rope(HEAD_DIM, 777.0)}, "longrope"),
]


@pytest.fixture(scope="module")
def model():
    return tiny_model()


def rope_parameters(folder):
    return json.loads((folder / "config.json").read_text())["rope_parameters"]


@pytest.mark.parametrize(("name", "options", "kind"), EXPRESSED)
def test_an_encoding_comes_back_as_it_was(model, tmp_path, name, options, kind):
    config, graphdef, params = model
    logic = position_logic(name, head_dim=HEAD_DIM, **options)
    folder = export_pretrained(tmp_path / "x", config, params, logic, length=256)
    assert rope_parameters(folder)["rope_type"] == kind
    (folder / "tokenizer.json").write_bytes(b"")  # not read: the weights are compared
    loaded = reread(folder)
    found = loaded.logic(256)
    assert np.allclose(
        found.logit_scale * scale(found), logic.logit_scale * scale(logic)
    )
    np.testing.assert_allclose(
        logits(loaded.graphdef, loaded.params, found, 48),
        logits(graphdef, params, logic, 48),
        atol=2e-4 if kind == "longrope" else 1e-6,
    )


def scale(logic):
    return logic.temperature(HEAD_DIM, np.zeros(1, np.int32))[0]


def reread(folder):
    from rope_lab.interop.tokenizer_files import tokenizer_files

    for name, content in tokenizer_files(ByteTokenizer(), 64).items():
        (folder / name).write_bytes(content)
    return load_pretrained(folder)


def test_factors_are_those_of_the_wavelengths(model, tmp_path):
    config, _, params = model
    logic = position_logic("yarn", head_dim=HEAD_DIM, **YARN, resonance=True)
    folder = export_pretrained(tmp_path / "x", config, params, logic, length=256)
    found = rope_parameters(folder)
    wavelengths = 2 * np.pi * 10_000.0 ** (np.arange(8) / 8)
    whole = np.array(found["short_factor"]) * wavelengths
    np.testing.assert_allclose(whole, np.round(whole), rtol=1e-10)
    assert found["short_factor"] == found["long_factor"]
    factor = 0.1 * np.log(4.0) + 1
    for key in ("attention_factor", "short_mscale", "long_mscale"):
        assert found[key] == pytest.approx(factor, rel=1e-6)
    assert (found["original_max_position_embeddings"], found["factor"]) == (64, 4.0)


@pytest.mark.parametrize(
    ("changes", "window", "family"),
    [
        ({}, None, "llama"),
        ({"biases": True}, None, "llama"),
        ({"biases": "attention"}, None, "llama"),
        ({"biases": "feed_forward"}, None, "llama"),
        ({}, 5, "mistral"),
        ({"width": 36, "num_heads": 8}, None, "mistral"),
        ({"biases": "qkv"}, None, "qwen2"),
        ({"biases": "qkv"}, 5, "qwen2"),
        ({"qk_norm": "rms"}, None, "qwen3"),
        ({"qk_norm": "rms", "biases": "attention"}, 5, "qwen3"),
        ({"tied_embeddings": False}, None, "llama"),
    ],
)
def test_every_model_that_a_family_has_comes_back(tmp_path, changes, window, family):
    config, _, params = tiny_model(**changes)
    logic = position_logic("rope", head_dim=HEAD_DIM, sliding_window=window)
    folder = export_pretrained(tmp_path / "x", config, params, logic, length=64)
    assert json.loads((folder / "config.json").read_text())["model_type"] == family
    loaded = reread(folder)
    assert loaded.model == config
    assert loaded.logic().to_dict() == logic.to_dict()
    chex.assert_trees_all_equal(loaded.params, params)


def test_interleaved_planes_are_regrouped_gains_and_biases_too(tmp_path):
    config, graphdef, params = tiny_model(qk_norm="rms", biases="attention")
    logic = position_logic("rope", head_dim=HEAD_DIM, layout="interleaved")
    export_pretrained(tmp_path / "x", config, params, logic, length=64)
    loaded = reread(tmp_path / "x")
    assert loaded.logic().layout == "half"
    np.testing.assert_allclose(
        logits(loaded.graphdef, loaded.params, loaded.logic(), 16),
        logits(graphdef, params, logic, 16),
        atol=1e-4,
    )


def test_windows_in_some_layers_are_those_of_qwen(tmp_path):
    config, _, params = tiny_model(qk_norm="rms")
    one, two = (
        position_logic("rope", head_dim=HEAD_DIM, sliding_window=window)
        for window in (None, 3)
    )
    export_pretrained(tmp_path / "x", config, params, [one, two], length=64)
    windows = [
        logic.record.value.options.get("sliding_window")
        for logic in reread(tmp_path / "x").logic()
    ]
    assert windows == [None, 3]


REFUSED = {
    "rerope cannot be exported: far keys": ("rerope", {"window": 4}),
    "leaky_rerope cannot be exported: far keys": (
        "leaky_rerope",
        {"window": 4, "step": 2},
    ),
    "self_extend cannot be exported: far": ("self_extend", {"window": 4, "group": 2}),
    "rope cannot be exported: its logits grow with log n": (
        "rope",
        {"log_n": "test", "train_length": 64},
    ),
    "alibi cannot be exported: a bias": ("alibi", {"num_heads": 4}),
    "xpos cannot be exported: its planes decay": ("xpos", {}),
    "randomized cannot be exported: its positions": ("randomized", {"draw_from": 99}),
    "partial cannot be exported: it rotates 8 of 16": ("partial", {"fraction": 0.5}),
}


@pytest.mark.parametrize("message", REFUSED)
def test_what_cannot_be_expressed_is_refused_with_the_reason(model, tmp_path, message):
    config, _, params = model
    name, options = REFUSED[message]
    logic = position_logic(name, head_dim=HEAD_DIM, **options)
    with pytest.raises(ValueError, match=message):
        export_pretrained(tmp_path / "x", config, params, logic, length=64)
    assert not list(tmp_path.iterdir())


def test_layers_of_different_frequencies_are_refused(model, tmp_path):
    config, _, params = model
    layers = hwfa(2, head_dim=HEAD_DIM, window=3, train_length=64)
    with pytest.raises(ValueError, match="log n|different frequencies"):
        export_pretrained(tmp_path / "x", config, params, layers, length=64)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"qk_norm": "keys"}, "qk_norm 'keys'"),
        ({"qk_norm": "rms", "biases": "qkv"}, "no family of llama"),
    ],
)
def test_models_that_no_family_has_are_refused(tmp_path, changes, message):
    config, _, params = tiny_model(**changes)
    logic = position_logic("rope", head_dim=HEAD_DIM)
    with pytest.raises(ValueError, match=message):
        export_pretrained(tmp_path / "x", config, params, logic, length=64)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_exists_stays_as_it_is(model, tmp_path):
    config, _, params = model
    logic = position_logic("rope", head_dim=HEAD_DIM)
    (tmp_path / "x").mkdir()
    with pytest.raises(ValueError, match="exists already"):
        export_pretrained(tmp_path / "x", config, params, logic, length=64)
    assert not list((tmp_path / "x").iterdir())


def test_the_card_says_what_float32_angles_cost(model, tmp_path):
    config, _, params = model
    logic = position_logic("ntk_mixed", head_dim=HEAD_DIM, scale=4)
    export_pretrained(tmp_path / "x", config, params, logic, length=64)
    card = (tmp_path / "x" / "README.md").read_text()
    assert "`ntk_mixed`" in card and "`longrope`" in card
    assert f"| 4,096 | {phase_error(logic, 4096):.1e} |" in card


def test_the_phase_error_of_a_published_head_is_as_published():
    # methods: 4e-4 radians at 4,096 and 1e-2 at 131,072 for 128 dims.
    logic = position_logic("rope", head_dim=128, resonance=True)
    assert 1e-4 < phase_error(logic, 4096) < 6e-4
    assert 3e-3 < phase_error(logic, 131_072) < 2e-2


def test_the_bytes_are_a_tokenizer_of_their_own_numbers(model, tmp_path):
    config, _, params = model
    logic = position_logic("rope", head_dim=HEAD_DIM)
    folder = export_pretrained(
        tmp_path / "x", config, params, logic, ByteTokenizer(), length=64
    )
    found, text = load_tokenizer(folder / "tokenizer.json"), "Aé\n\t☃ z"
    np.testing.assert_array_equal(found.encode(text), ByteTokenizer().encode(text))
    assert found.decode(found.encode(text)) == text
    assert found.bos_id == 256


def test_weights_are_rounded_once_to_the_dtype_of_the_files(model, tmp_path):
    config, _, params = model
    logic = position_logic("rope", head_dim=HEAD_DIM)
    folder = export_pretrained(
        tmp_path / "x", config, params, logic, length=64, dtype="float16"
    )
    for found, leaf in zip(
        jax.tree.leaves(reread(folder).params), jax.tree.leaves(params), strict=True
    ):
        np.testing.assert_array_equal(found, np.asarray(leaf, np.float16))
    with pytest.raises(ValueError, match="dtype must be one of"):
        export_pretrained(
            tmp_path / "y", config, params, logic, length=64, dtype="int8"
        )
