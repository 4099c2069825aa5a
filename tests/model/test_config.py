"""What a model config and the spec of its position logic accept."""

import pytest

from rope_lab import position_logic
from rope_lab.logic import hwfa
from rope_lab.model import ModelConfig, build_logic

TINY = {"vocab_size": 11, "num_layers": 4, "width": 12, "ff_width": 20}
TINY |= {"num_heads": 4, "num_kv_heads": 2, "head_dim": 8}
ONE_HEAD = {"num_heads": 1, "num_kv_heads": 1}


def test_build_logic_reads_a_spec_for_the_config():
    config = ModelConfig(**TINY)
    spec = {"name": "yarn", "base": 5e5, "scale": 4.0, "train_length": 16}
    expected = position_logic("yarn", head_dim=8, base=5e5, scale=4.0, train_length=16)
    assert build_logic(spec, config).to_dict() == expected.to_dict()
    assert spec["name"] == "yarn"


def test_build_logic_cycles_a_list_over_the_layers():
    """kexue.fm 9603's window layers and full layer, as a config."""
    config = ModelConfig(**TINY)
    window = {"name": "rope", "sliding_window": 3}
    logics = build_logic([window, {"name": "nope"}], config)
    names = [logic.to_dict()["name"] for logic in logics]
    assert names == ["rope", "nope", "rope", "nope"]


def test_build_logic_reads_a_pattern_over_all_layers():
    spec = {"name": "hwfa", "window": 3, "train_length": 16, "resonance": True}
    expected = hwfa(4, head_dim=8, window=3, train_length=16, resonance=True)
    found = build_logic(spec, ModelConfig(**TINY))
    assert [one.to_dict() for one in found] == [one.to_dict() for one in expected]
    assert found[0] is found[2]


@pytest.mark.parametrize(
    ("spec", "word"),
    [
        ({"name": "roope"}, "roope"),
        ({"base": 1e4}, "name"),
        ({"name": "rope", "windw": 3}, "windw"),
        ([{"name": "rope"}] * 3, "4"),
        ([], "logic|spec|empty|list"),
        ({"name": "hwfa", "train_length": 8}, "hwfa: .*'window'"),
        ({"name": "hwfa", "window": 3, "train_length": 8, "bse": 1e4}, "'bse'"),
        ([{"name": "hwfa", "window": 3, "train_length": 8}], "not in a list"),
    ],
)
def test_build_logic_refuses_what_it_cannot_read(spec, word):
    with pytest.raises(ValueError, match=word):
        build_logic(spec, ModelConfig(**TINY))


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"head_dim": 7}, "head_dim"),
        ({"num_kv_heads": 3}, "num_kv_heads"),
        ({"num_layers": 0}, "num_layers"),
        ({"vocab_size": 0}, "vocab_size"),
        ({"dtype": "float8"}, "dtype"),
        ({"block": "mlp"}, "block.*'gau'"),
        ({"biases": "keys"}, "biases.*'qkv'"),
        ({"qk_norm": True}, "qk_norm.*'rms'"),
        ({"block": "gau"}, "num_heads=1"),
        ({"block": "gau", **ONE_HEAD, "biases": True}, "biases=False"),
    ],
)
def test_a_config_that_cannot_be_built_raises_and_says_which_field(changes, word):
    with pytest.raises(ValueError, match=word):
        ModelConfig(**(TINY | changes))
