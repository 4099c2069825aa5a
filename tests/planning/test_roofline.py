"""FLOPs and bounds against arithmetic by hand."""

import pytest

from rope_lab.model import ModelConfig
from rope_lab.planning import CHIPS
from rope_lab.planning.collectives import Traffic
from rope_lab.planning.roofline import roofline

CHIP = CHIPS["v5e"]
MODEL = ModelConfig(
    vocab_size=10, num_layers=3, width=8, num_heads=2, num_kv_heads=2, head_dim=4
)


def found(model=MODEL, moved=0.0, traffic=()):
    return roofline(CHIP, model, 1000, 5, 20.0, moved, list(traffic))


def test_model_flops_count_a_product_thrice_and_the_causal_half_once():
    # 15 pairs of 5 tokens, each a product of 4 numbers for logits and 4 for values.
    pairs = 3 * 2 * (4 + 4) * 15 / 5
    assert found().model_flops == 20 * 3 * (2 * 1000 + 2 * pairs)


def test_a_repeated_forward_pass_takes_time_and_is_no_flop_of_the_model():
    full = ModelConfig(**{**MODEL.__dict__, "remat": "full"})
    assert found(full).model_flops == found().model_flops
    assert found(full).compute == pytest.approx(4 / 3 * found().compute)


def test_the_slowest_part_is_the_bottleneck():
    inside = Traffic("all-gather", 1, 400e9, False)
    between = Traffic("all-reduce", 1, 400e9, True)
    assert found().bottleneck == "compute"
    assert found(moved=819e9).memory == 1.0
    assert found(moved=819e9).bottleneck == "memory"
    assert found(traffic=[inside]).links == 2.0
    both = found(moved=819e9, traffic=[inside, between])
    assert (both.bottleneck, both.seconds) == ("network", 128.0)
