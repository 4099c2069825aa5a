from pathlib import Path

import pytest
import tiny_run

from rope_lab.training.meta import (
    check_same_run,
    describe_logic,
    run_meta,
    upgraded,
)

FOLDER = Path("runs/a/checkpoints/5")


def meta(config, model=None, logic=None, corpus="c", tokenizer="t"):
    return run_meta(config, model or {}, logic or tiny_run.logic(), corpus, tokenizer)


def test_the_same_run_is_continued_whatever_type_held_its_sequences():
    config = {"model": {"pattern": (1, 2)}, "seed": 0}
    check_same_run(
        meta(config), meta({"model": {"pattern": [1, 2]}, "seed": 0}), FOLDER
    )


def test_keys_that_reach_no_parameter_may_change():
    one = {"training": {"log_every": 1, "keep_checkpoints": 1, "wandb": False}}
    two = {"training": {"log_every": 9, "keep_checkpoints": 3, "wandb": True}}
    check_same_run(meta(one), meta(two), FOLDER)


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"config": {"seed": 1}}, "seed: checkpoint has 0, this run asks for 1"),
        ({"config": {}}, "seed: checkpoint has 0, this run asks for 'nothing'"),
        ({"corpus": "d"}, "data.corpus: checkpoint has 'c', this run asks for 'd'"),
        ({"tokenizer": "u"}, "data.tokenizer: checkpoint has 't'"),
        ({"logic": max}, "encoding.0.name: checkpoint has 'rope'"),
        ({"model": {"width": 8}}, "model.width: checkpoint has 'nothing'"),
    ],
)
def test_another_run_in_the_same_workdir_is_refused_by_its_keys(change, line):
    given = {"config": {"seed": 0}} | change
    with pytest.raises(ValueError) as error:
        check_same_run(meta({"seed": 0}), meta(**given), FOLDER)
    assert line in str(error.value)
    assert str(FOLDER) in str(error.value)
    assert "another workdir" in str(error.value)


def test_logics_of_layers_are_described_one_by_one():
    both = describe_logic((tiny_run.logic(), max))
    assert both[0] == tiny_run.logic().to_dict()
    assert both[1]["callable"] == "max"


def test_a_run_begun_under_version_1_goes_on():
    """Which had one block and one optimizer, and qk_norm as true or false."""
    old = meta(
        {"model": {"qk_norm": True, "width": 8}, "training": {"b1": 0.9}},
        {"qk_norm": True, "width": 8},
    ) | {"schema_version": 1}
    new = {"qk_norm": "rms", "block": "llama", "width": 8}
    given = meta(
        {"model": new, "training": {"b1": 0.9, "optimizer": "adamw"}},
        new,
    )
    check_same_run(upgraded(old, FOLDER), given, FOLDER)
    assert old["model"] == {"qk_norm": True, "width": 8}
    assert upgraded(given, FOLDER) == given
    plain = meta({}, {"qk_norm": False}) | {"schema_version": 1}
    assert upgraded(plain, FOLDER)["model"]["qk_norm"] == "none"


def test_a_run_begun_under_version_2_goes_on_with_the_same_remat():
    old = meta({"model": {"remat": True}}, {"remat": True}) | {"schema_version": 2}
    found = upgraded(old, FOLDER)
    assert found["model"]["remat"] == found["config"]["model"]["remat"] == "full"
    plain = meta({}, {"width": 8}) | {"schema_version": 2}
    assert upgraded(plain, FOLDER)["model"]["remat"] == "none"
    assert old["model"]["remat"] is True


def test_a_run_goes_on_with_other_devices_and_microbatches():
    one = {"mesh": {"data": 1, "fsdp": 2}, "training": {"accumulation_steps": 1}}
    two = {"mesh": {"data": 4, "fsdp": 1}, "training": {"accumulation_steps": 2}}
    check_same_run(meta(one), meta(two), FOLDER)
    check_same_run(meta(one), meta({"training": {}}), FOLDER)
    with pytest.raises(ValueError, match="data: checkpoint has 1"):
        check_same_run(meta({"data": 1}), meta({"data": 2}), FOLDER)


def test_a_run_begun_before_repeats_had_options_goes_on():
    """Others of the same version have no corpus, and get no options of one."""
    old = meta({"data": {"repeat_fraction": 0.2}}, {})
    new = {"repeat_fraction": 0.2, "repeat_shortest": None, "repeat_random": 0.0}
    new |= {"repeat_first": 0, "repeat_longest": None}
    check_same_run(upgraded(old, FOLDER), meta({"data": new}, {}), FOLDER)
    later = meta({"data": {name: new[name] for name in list(new)[:-1]}}, {})
    check_same_run(upgraded(later, FOLDER), meta({"data": new}, {}), FOLDER)
    assert upgraded(meta({"data": {"m": 7}}, {}), FOLDER)["config"]["data"] == {"m": 7}


def test_a_run_begun_before_validation_could_be_packed_goes_on():
    old = meta({"validation": {"every": 5, "num_windows": 2}}, {})
    new = meta({"validation": {"every": 5, "num_windows": 2, "packed": False}}, {})
    check_same_run(upgraded(old, FOLDER), new, FOLDER)
    packed = meta({"validation": {**new["config"]["validation"], "packed": True}}, {})
    with pytest.raises(ValueError, match=r"validation\.packed: checkpoint has False"):
        check_same_run(upgraded(old, FOLDER), packed, FOLDER)
    assert upgraded(packed, FOLDER) == packed
