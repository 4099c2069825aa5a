"""A logic as a plain dict: what a checkpoint records and reads back."""

import json

import jax
import numpy as np
import pytest

from rope_lab import logic_from_dict, position_logic, rotary

LISTS = {"short_factors": (1.0, 1.0, 1.5, 2.0), "long_factors": [1, 2, 4, 8.5]}
LENGTHS = {"train_length": 16, "length": 64}
CASES = [
    ("rope", {}),
    ("rope", {"base": 5e5, "resonance": True, "layout": "interleaved"}),
    ("rope", {"log_n": "train", "train_length": 32, "log_n_minimum": 16}),
    ("rope", {"sliding_window": 3, "softmax_scale": 0.25}),
    ("interpolated", {"scale": 3.7}),
    ("ntk_aware", {"scale": 4}),
    ("ntk_old", {"scale": 4.0}),
    ("ntk_fixed", {"scale": 4.0}),
    ("ntk_mixed", {"scale": 4.0, "exponent": 0.75}),
    ("dynamic_ntk", LENGTHS),
    ("yarn", {"scale": 4.0, "train_length": 16, "ramp": "rotations"}),
    ("llama3", {"scale": 4.0, "train_length": 16, "high_freq_factor": 8.0}),
    ("longrope", LENGTHS | LISTS | {"scale": 4.0}),
    ("partial", {"fraction": 0.5}),
    ("p_rope", {"fraction": 0.5}),
    ("p_rope", {"train_length": 64}),
    ("rerope", {"window": 3}),
    ("leaky_rerope", {"window": 3, "step": 2.5, "resonance": True}),
    ("self_extend", {"window": 4, "group": 3}),
    ("dual_chunk", {"chunk_length": 3, "local_window": 2}),
    ("nope", {"log_n": "test", "train_length": 4}),
    ("alibi", {"num_heads": 1, "sliding_window": 5}),
    ("kerple_log", {"num_heads": 1}),
    ("kerple_power", {"num_heads": 1, "softmax_scale": 1.0}),
    ("t5", {"num_heads": 1, "num_buckets": 8, "max_distance": 20}),
    ("fire", {"num_heads": 1, "threshold": 64, "hidden": 4}),
    ("xpos", {"scale_base": 64, "layout": "interleaved"}),
    ("randomized", {"draw_from": 64, "at_test": "even"}),
    ("rerope", {"window": 3, "frequencies": rotary.yarn(8, 1e4, 4.0, 16)}),
]


@jax.jit
def logits(logic):
    """Logits of fixed vectors at positions that reach every band."""
    rng = np.random.default_rng(0)
    q, k = rng.normal(size=(2, 1, 6, 1, 8)).astype(np.float32)
    positions = np.array([[0, 1, 2, 5, 70, 2**20]], np.int32)
    return logic(q, k, positions, positions)


@pytest.mark.parametrize(("name", "options"), CASES)
def test_a_logic_survives_json(name, options):
    logic = position_logic(name, head_dim=8, **options)
    record = json.loads(json.dumps(logic.to_dict()))
    again = logic_from_dict(record)
    np.testing.assert_array_equal(logits(again), logits(logic))
    assert again.to_dict() == logic.to_dict()
    assert record["schema_version"] == 1


def test_a_record_of_the_first_schema_still_loads():
    """Written out by hand: this is what checkpoints of version 1 hold."""
    record = {
        "schema_version": 1,
        "name": "yarn",
        "head_dim": 8,
        "base": 10_000.0,
        "options": {"scale": 4.0, "train_length": 16, "resonance": True},
    }
    logic = position_logic("yarn", head_dim=8, **record["options"])
    np.testing.assert_array_equal(logits(logic_from_dict(record)), logits(logic))


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"schema_version": 999}, "schema_version|999"),
        ({"name": "roope"}, "roope"),
        ({"options": {"windw": 4}}, "windw"),
        ({"head_dim": 7}, "head_dim"),
    ],
)
def test_a_record_that_cannot_be_meant_raises(change, word):
    record = position_logic("rope", head_dim=8).to_dict()
    with pytest.raises(ValueError, match=word):
        logic_from_dict(record | change)


@pytest.mark.parametrize(
    ("missing", "word"),
    [("schema_version", "schema"), ("name", "name"), ("head_dim", "head_dim")],
)
def test_a_record_without_a_field_says_which(missing, word):
    record = position_logic("rope", head_dim=8).to_dict()
    del record[missing]
    with pytest.raises(ValueError, match=word):
        logic_from_dict(record)


def test_a_logic_with_traced_numbers_refuses_to_be_written():
    """There is no number to write: a silent default would be another encoding."""

    def write(base):
        position_logic("rope", head_dim=8, base=base).to_dict()
        return base

    with pytest.raises(ValueError):
        jax.jit(write)(1e4)


def test_a_record_with_a_key_nothing_reads_raises():
    record = position_logic("rope", head_dim=8).to_dict()
    with pytest.raises(ValueError, match="colour"):
        logic_from_dict(record | {"colour": "red"})
