"""Exchanges and loops of recorded programs, against what the model's shapes say.

v5e.hlo and v5p.hlo are what libtpu 0.0.42.1 made of training steps of a model of width
4096, hidden width 11008 and 32,000 tokens in bfloat16, fully sharded, without what is
not read: 2 layers on 4 v5e chips, and 32 layers on 16 v5p chips.
"""

from pathlib import Path

import pytest

from rope_lab.planning.collectives import collectives
from rope_lab.planning.hlo import arrays_of, parse
from rope_lab.planning.memory_traffic import memory_traffic

HERE = Path(__file__).parent
SQUARE, HIDDEN, VOCABULARY = 4096 * 4096, 4096 * 11008, 4096 * 32000  # numbers


def read(name):
    return parse((HERE / f"{name}.hlo").read_text())


def sent(name, slices):
    return {one.kind: one for one in collectives(read(name), slices)}


def test_loops_over_layers_run_once_for_each_layer():
    program = read("v5p")
    trips = [
        program.trips(visit.instruction, visit.where)
        for visit in program.walk()
        if visit.instruction.opcode == "while" and visit.where == program.entry
    ]
    assert sorted(trips) == [4, 32, 32]  # the 4 is a product in parts
    assert program.unknown_loops() == 0


def test_what_is_gathered_are_the_matrices_of_each_layer_once_a_pass():
    found = sent("v5e", [0] * 4)["all-gather"]
    # Forward and backward four square matrices and three of the feed-forward; two of
    # the square ones are gathered once more for the backward pass.
    layer = 2 * (4 * SQUARE + 3 * HIDDEN) + 2 * SQUARE
    assert found.count == 2 * (2 * 7 + 2) + 2
    assert found.sent_bytes == 3 / 4 * 2 * (2 * layer + 2 * VOCABULARY)


def test_an_exchange_during_several_fusions_counts_once_and_gradients_are_scattered():
    found = sent("v5e", [0] * 4)
    assert found["reduce-scatter"].count == 2 * 7 + 2
    least = 2 * 2 * (4 * SQUARE + 3 * HIDDEN) + (2 + 4) * VOCABULARY
    assert least <= found["reduce-scatter"].sent_bytes / (3 / 4) < 1.02 * least


def test_products_in_parts_pass_each_part_around():
    found = sent("v5p", [0] * 16)["collective-permute"]
    # 15 matrices a layer and the last one, in 16 parts and the turn before the loop.
    assert found.count == 17 * (15 * 32 + 1)
    parts = 32 * (8 * SQUARE + 7 * HIDDEN) * 2 + VOCABULARY * 4
    assert found.sent_bytes == pytest.approx(17 / 16 * parts, rel=0.01)


def test_exchanges_between_slices_are_told_from_those_within():
    within = collectives(read("v5e"), [0] * 4)
    across = collectives(read("v5e"), [0, 0, 1, 1])
    assert not any(one.between_slices for one in within)
    assert {one.kind for one in across if one.between_slices} >= {"all-gather"}
    assert sum(one.sent_bytes for one in within) == pytest.approx(
        sum(one.sent_bytes for one in across)
    )


def body(line: str) -> str:
    return f"HloModule m\n\nENTRY %main () -> () {{\n  {line}\n}}\n"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("%a = f32[8]{0} all-reduce(%x), replica_groups={{0,1},{2,3}}", 2 * 32 / 2),
        ("%a = f32[8]{0} all-gather(%x), replica_groups=[1,4]<=[4]", 32 * 3 / 4),
        ("%a = f32[8]{0} reduce-scatter(%x), replica_groups={{0,1,2,3}}", 32 * 3),
        ("%a = bf16[4,4]{1,0} all-to-all(%x), replica_groups=[2,2]<=[2,2]T(1,0)", 16),
        ("%a = (f32[2]{0}, f32[8]{0}) all-gather-start(%x)", 32 * 3 / 4),
        (
            "%a = (f32[8]{0}, f32[8]{0}, u32[]{:S(2)}) collective-permute-start(%x), "
            "source_target_pairs={{0,1},{1,0}}",
            32,
        ),
        (
            "%a = f32[8]{0} all-reduce(%x), "
            "replica_groups=mesh['axis_0'=2,'axis_1'=2] {'axis_1'}",
            2 * 32 / 2,
        ),
    ],
)
def test_bytes_sent_are_those_of_a_ring(line, expected):
    (found,) = collectives(parse(body(line)), [0] * 4)
    assert found.sent_bytes == expected


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("ALL_REDUCE", 2 * 3 / 4 * 4096),
        ("REDUCE_SCATTER", 3 / 4 * 4096),
        ("ALL_GATHER", 3 * 4096),
        ("ONE_TO_ONE", 4096),
    ],
)
def test_what_is_handed_to_the_runtime_goes_to_other_slices(kind, expected):
    line = (
        "%s = (f32[8,128]{1,0:T(8,128)}, u32[], token[]) send(%x, %t), channel_id=2, "
        'is_host_transfer=true, frontend_attributes={_xla_megascale_target="{1,2,3,4}x'
        f'{{0:15}}",_xla_megascale_transfer_type="{kind}"}}'
    )
    text = f"ENTRY %main (x: f32[8,128]) -> f32[8,128] {{\n  {line}\n}}"
    (found,) = collectives(parse(text), [0] * 64)
    assert found.between_slices and found.sent_bytes == expected


def test_groups_along_an_outer_axis_reach_from_slice_to_slice():
    outer = "%a = f32[8]{0} all-reduce(%x), replica_groups=[2,2]<=[2,2]T(1,0)"
    inner = "%a = f32[8]{0} all-reduce(%x), replica_groups=[2,2]<=[4]"
    for line, between in ((outer, True), (inner, False)):
        (found,) = collectives(parse(body(line)), [0, 0, 1, 1])
        assert found.between_slices == between


def test_sizes_of_types_are_read_with_their_place():
    sizes = [one.bytes for one in arrays_of("(pred[3], s4[8]{0}, f8e4m3fn[2,2])")]
    assert sizes == [3, 8, 4]
    (inside,) = arrays_of("bf16[8,128]{1,0:T(8,128)(2,1)S(1)}")
    assert not inside.in_main_memory


SLICING = """HloModule m

%sliced (p: f32[32,1024]) -> f32[1024] {
  %p = f32[32,1024]{1,0} parameter(0)
  %i = s32[] parameter(1)
  ROOT %d = f32[1,1024]{1,0} dynamic-slice(%p, %i), dynamic_slice_sizes={1,1024}
}

%updated (p: f32[32,1024], u: f32[1,1024]) -> f32[32,1024] {
  %p.1 = f32[32,1024]{1,0} parameter(0)
  %u.1 = f32[1,1024]{1,0} parameter(1)
  ROOT %r = f32[32,1024]{1,0} dynamic-update-slice(%p.1, %u.1)
}

ENTRY %main (x: f32[32,1024], i: s32[]) -> f32[32,1024] {
  %x = f32[32,1024]{1,0} parameter(0)
  %i.1 = s32[] parameter(1)
  %one = f32[1,1024]{1,0} fusion(%x, %i.1), kind=kLoop, calls=%sliced
  ROOT %new = f32[32,1024]{1,0} fusion(%x, %one), kind=kLoop, calls=%updated
}
"""


def test_a_slice_is_read_and_an_update_written_without_the_whole():
    row = 4 * 1024
    assert memory_traffic(parse(SLICING)) == (row + row + 4) + (row + row)


def test_of_what_a_fusion_within_a_fusion_slices_a_slice_is_read():
    nested = SLICING.replace(
        "ENTRY",
        """%outer (q: f32[32,1024], j: s32[]) -> f32[1024] {
  %q = f32[32,1024]{1,0} parameter(0)
  %j = s32[] parameter(1)
  %b = f32[32,1024]{1,0} bitcast(%q)
  ROOT %f = f32[1,1024]{1,0} fusion(%b, %j), kind=kLoop, calls=%sliced
}

ENTRY""",
    ).replace("kind=kLoop, calls=%sliced\n  ROOT", "kind=kLoop, calls=%outer\n  ROOT")
    assert "%i.1), kind=kLoop, calls=%outer" in nested
    assert memory_traffic(parse(nested)) == memory_traffic(parse(SLICING))


def test_text_without_an_entry_is_refused():
    with pytest.raises(ValueError, match="no text of a compiled program"):
        parse("HloModule m\n")
