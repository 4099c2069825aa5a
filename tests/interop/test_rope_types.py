"""Rope types of transformers, both spellings: what is read, and what is refused."""

import math

import numpy as np
import pytest

from rope_lab import position_logic
from rope_lab.interop.keys import Keys
from rope_lab.interop.rope_types import TYPES, read_rope
from rope_lab.rotary.exact import join

D, L = 8, 64  # head dim, original length
THETA = 500.0 ** (-2.0 * np.arange(4) / D)
FACTORS = [1.0, 1.5, 2.0, 4.0]
SHORT = {"short_factor": FACTORS, "long_factor": [2.0 * f for f in FACTORS]}


def read(values, max_length=256):
    keys = Keys(values, "config.json")
    spec = read_rope(keys, D, max_length)
    keys.finish()
    return spec


def frequencies(spec, length=256):
    """(float64[P] radians per token, factor of the logits)."""
    if spec["name"] in ("dynamic_ntk", "longrope"):
        spec = spec | {"length": length}
    band = position_logic(head_dim=D, **spec).bands[0].frequencies
    return join(band.angular, band.angular_low), float(band.logit_scale)


# type -> (its keys, radians per token at 256 tokens, factor of the logits)
YARN = {"factor": 4.0, "original_max_position_embeddings": L}
EXPECTED = {
    "default": ({}, THETA, 1.0),
    "linear": ({"factor": 4.0}, THETA / 4, 1.0),
    # At 256 of 64 tokens, 3 * 256 / 64 - 2 = 10 times, to the power d / (d - 2).
    "dynamic": (
        {"factor": 3.0},
        (500.0 * 10 ** (8 / 6)) ** (-2.0 * np.arange(4) / D),
        1.0,
    ),
    # Planes 0 turns 10.2 times within 64 tokens, 1 2.2 times, the others less than
    # once: the ramp of 32 turns to 1 runs from plane 0 to ceil(1.49) = 2.
    "yarn": (
        YARN,
        THETA * [1.0, 0.5 + 0.5 / 4, 0.25, 0.25],
        (0.1 * math.log(4.0) + 1) ** 2,
    ),
    # Wavelengths 6.3, 29.7, 140, 664: below 64/4, between, above 64.
    "llama3": (
        {**YARN, "low_freq_factor": 1.0, "high_freq_factor": 4.0},
        THETA
        * [
            1.0,
            (1 - (s := (64 * THETA[1] / (2 * math.pi) - 1) / 3)) / 4 + s,
            0.25,
            0.25,
        ],
        1.0,
    ),
    "longrope": (
        {**SHORT, **YARN},
        THETA / (2 * np.array(FACTORS)),
        1 + math.log(4.0) / math.log(64.0),
    ),
    "proportional": (
        {"partial_rotary_factor": 0.5, "factor": 2.0},
        THETA * [0.5, 0.5, 0, 0],
        1.0,
    ),
}


def test_every_type_is_tested():
    assert EXPECTED.keys() == TYPES.keys()


@pytest.mark.parametrize("kind", EXPECTED)
def test_frequencies_of_a_type_in_both_spellings(kind):
    own, angular, logit_scale = EXPECTED[kind]
    max_length = L if kind == "dynamic" else 256
    newer = {"rope_parameters": {"rope_theta": 500.0, "rope_type": kind, **own}}
    older = {"rope_theta": 500.0, "rope_scaling": {"type": kind, **own}}
    for values in (newer, older):
        found, factor = frequencies(read(values, max_length))
        np.testing.assert_allclose(found, angular, rtol=1e-12, atol=1e-25)
        assert factor == pytest.approx(logit_scale, rel=1e-6)


def test_a_config_without_rope_keys_is_plain_rope_at_base_10000():
    assert read({"rope_scaling": None}) == {"name": "rope", "base": 10_000.0}


def test_longrope_takes_the_short_list_up_to_the_original_length():
    spec = read({"rope_scaling": {"type": "longrope", **SHORT, **YARN}})
    at = {length: frequencies(spec, length)[0] for length in (L, L + 1)}
    np.testing.assert_allclose(at[L], 2 * at[L + 1], rtol=1e-12)


@pytest.mark.parametrize(
    ("own", "factor"),
    [
        ({"attention_factor": 1.5}, 1.5),
        (
            {"mscale": 0.7, "mscale_all_dim": 1.4},
            (0.07 * math.log(4) + 1) / (0.14 * math.log(4) + 1),
        ),
        ({"mscale": 1.0, "mscale_all_dim": 1.0}, 1.0),
    ],
)
def test_yarn_multiplies_logits_by_the_square_of_its_factor(own, factor):
    spec = read({"rope_scaling": {"type": "yarn", **YARN, **own}})
    assert frequencies(spec)[1] == pytest.approx(factor**2, rel=1e-6)


def test_yarn_without_truncation_ramps_between_planes():
    spec = read({"rope_scaling": {"type": "yarn", **YARN, "truncate": False}})
    end = D * math.log(L / (2 * math.pi)) / (2 * math.log(10_000.0))  # one turn
    kept = (end - 1) / end  # of plane 1, as the ramp begins at plane 0
    expected = 10_000.0**-0.25 * (kept + (1 - kept) / 4)
    assert frequencies(spec)[0][1] == pytest.approx(expected, rel=1e-12)


def test_a_factor_that_is_left_out_is_the_ratio_of_the_lengths():
    without = {"original_max_position_embeddings": L, "type": "yarn"}
    assert read({"rope_scaling": without})["scale"] == 4.0
    beside = {"rope_scaling": {"type": "yarn"}, "original_max_position_embeddings": 32}
    assert read(beside)["scale"] == 8.0


WRONG = {
    "unknown rope type 'mrope'": {"rope_scaling": {"type": "mrope"}},
    "rope_type 'yarn', but type 'linear'": {
        "rope_scaling": {"rope_type": "yarn", "type": "linear", "factor": 2.0}
    },
    "rope_parameters .* and rope_scaling .* disagree": {
        "rope_parameters": {"rope_type": "default"},
        "rope_scaling": {"rope_type": "linear", "factor": 2.0},
    },
    "rope_theta 100.0, but beside it stands 200.0": {
        "rope_theta": 200.0,
        "rope_parameters": {"rope_theta": 100.0},
    },
    "partial_rotary_factor 0.5 with rope type 'default'": {
        "partial_rotary_factor": 0.5
    },
    "partial_rotary_factor 0.25 with rope type 'yarn'": {
        "rope_scaling": {"type": "yarn", **YARN, "partial_rotary_factor": 0.25}
    },
    "nothing here reads 'low_freq_factor'": {
        "rope_scaling": {"type": "yarn", **YARN, "low_freq_factor": 1.0}
    },
    "nothing here reads 'factor'": {"rope_scaling": {"type": "default", "factor": 2.0}},
    "lacks the key 'factor'": {"rope_scaling": {"type": "linear"}},
    "factor must be a number above 0": {
        "rope_scaling": {"type": "linear", "factor": "8"}
    },
    "factor 2.0 times the original length 64 is not": {
        "rope_scaling": {"type": "yarn", **YARN, "factor": 2.0}
    },
    "mscale and mscale_all_dim together": {
        "rope_scaling": {"type": "yarn", **YARN, "mscale": 0.7}
    },
    "original_max_position_embeddings is 64, and 32 beside it": {
        "original_max_position_embeddings": 32,
        "rope_scaling": {"type": "yarn", **YARN},
    },
    "scales dynamic from max_position_embeddings 256": {
        "rope_scaling": {"type": "dynamic", **YARN}
    },
    "long_factor must be 4 numbers": {
        "rope_scaling": {"type": "longrope", **SHORT, **YARN, "long_factor": [1.0]}
    },
    "short_mscale=1.5 is not supported: attention_factor is 1.2": {
        "rope_scaling": {
            "type": "longrope",
            **SHORT,
            **YARN,
            "attention_factor": 1.2,
            "short_mscale": 1.5,
        }
    },
    "must hold keys and values": {"rope_scaling": "yarn"},
}


@pytest.mark.parametrize("message", WRONG)
def test_what_is_wrong_is_refused_by_name(message):
    with pytest.raises(ValueError, match=message):
        read(WRONG[message])
