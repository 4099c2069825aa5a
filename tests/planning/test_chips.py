"""Slices that exist are taken, others refused with what exists beside them."""

import math

import pytest

from rope_lab.planning import CHIPS, topology


@pytest.mark.parametrize("chip", CHIPS.values(), ids=lambda chip: chip.name)
def test_every_slice_of_a_chip_is_taken_and_they_grow(chip):
    sizes = [topology(f"{chip.name}:{shape}").chips for shape in chip.slices]
    assert sizes == sorted(sizes)
    for shape, size in zip(chip.slices, sizes, strict=True):
        assert size == math.prod(map(int, shape.split("x")))
        assert topology(f"{chip.name}:{shape}", 3).chips == 3 * size


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("v5e:32x32", "ends at 16x16, 256 chips.*--num_slices=4"),
        ("v5e:16x20", "For 320 chips .*--topology=v5e:16x16 --num_slices=2"),
        ("v6e:4x6", "of 24 chips; the nearest that exist: v6e:4x4 and v6e:4x8"),
        ("v5p:4x4x2", "the nearest that exist: v5p:2x4x4 and v5p:4x4x4"),
        ("v5p:16x16x32", "ends at 16x16x24, 6144 chips"),
        ("v5p:4x4y4", "no shape of a slice"),
        ("v5e", "give a chip of v5e, v5p, v6e and the shape"),
        ("v9:2x2", "give a chip of"),
    ],
)
def test_a_slice_that_does_not_exist_is_refused_with_those_that_do(name, message):
    with pytest.raises(ValueError, match=message):
        topology(name)


def test_there_is_at_least_one_slice():
    with pytest.raises(ValueError, match="num_slices is 0"):
        topology("v5e:2x2", 0)


def test_a_chip_computes_faster_than_it_reads_and_reads_faster_than_it_sends():
    for chip in CHIPS.values():
        assert chip.peak > chip.memory_bandwidth > chip.link_bandwidth
        assert chip.link_bandwidth > chip.network_bandwidth
