"""What the devices of a compiled program send one another, by kind.

Bytes are what one device sends when the exchange goes around a ring of g devices:

    all-gather           (g - 1) / g      of the whole
    reduce-scatter       (g - 1) / g      of the whole
    all-reduce           2 (g - 1) / g    of the array
    all-to-all           (g - 1) / g      of the array
    collective-permute   1                of the array
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Sequence

import numpy as np

from rope_lab.planning.hlo import Instruction, Program, Visit

KINDS = (
    "all-gather",
    "reduce-scatter",
    "all-reduce",
    "all-to-all",
    "collective-permute",
)
# Between TPU slices the compiler hands arrays to a runtime, by a send that says what is
# to be done with them, and among how many slices.
_BETWEEN = re.compile(
    r'_xla_megascale_target="\{([\d,]+)\}.*_xla_megascale_transfer_type="(\w+)"'
)
# XLA's TPU compiler writes a reduce-scatter as an all-reduce in a fusion of this name.
_SCATTERED = "all-reduce-scatter"


@dataclasses.dataclass(frozen=True)
class Traffic:
    """Of one kind of exchange, on one device, in one run of the program."""

    kind: str
    count: int  # exchanges
    sent_bytes: float  # by each device
    between_slices: bool  # over the data centre's network


def collectives(program: Program, slices: Sequence[int]) -> list[Traffic]:
    """Kind by kind, those within slices before those between them.

    slices: the slice that each device is of, in the order of the mesh.
    """
    sums: dict[tuple[bool, str], list[float]] = {}
    seen: set[str] = set()
    for visit in program.walk():
        if handed := _handed_over(visit.instruction):
            between, (kind, sent) = True, handed
        else:
            kind = _kind(visit)
            if kind is None or _repeated(visit, seen):
                continue
            groups = _groups(visit.instruction.rest, len(slices))
            between = any(len({slices[x] for x in group}) > 1 for group in groups)
            sent = _sent(kind, visit.instruction, max(map(len, groups)))
        found = sums.setdefault((between, kind), [0, 0.0])
        found[0] += visit.times
        found[1] += visit.times * sent
    return [
        Traffic(kind, int(count), sent, between)
        for (between, kind), (count, sent) in sorted(sums.items())
    ]


def _kind(visit: Visit) -> str | None:
    name = visit.instruction.opcode.removesuffix("-start")
    if name == "all-reduce" and visit.where.startswith(_SCATTERED):
        return "reduce-scatter"
    return name if name in KINDS else None


def _handed_over(one: Instruction) -> tuple[str, float] | None:
    """Kind and bytes of what a device sends to other slices by this instruction."""
    found = _BETWEEN.search(one.rest) if one.opcode == "send" else None
    if found is None:
        return None
    size, kind = len(found[1].split(",")), found[2].lower().replace("_", "-")
    own = float(one.arrays[0].bytes)
    times = {"all-reduce": 2 / size, "reduce-scatter": 1 / size, "all-to-all": 1 / size}
    if kind == "all-gather" or kind in times:
        return kind, own * times.get(kind, 1) * (size - 1)
    return "collective-permute", own


def _repeated(visit: Visit, seen: set) -> bool:
    """An exchange that goes on during several fusions is written into each of them."""
    channel = visit.instruction.number("channel_id")
    if not visit.fused or channel is None:
        return False
    known = channel in seen
    seen.add(channel)
    return known


def _sent(kind: str, one: Instruction, size: int) -> float:
    """Bytes of one exchange among `size` devices."""
    parts = [array.bytes for array in one.arrays]
    starts = one.opcode.endswith("-start")
    if kind == "collective-permute":  # its start gives (operand, result, signals)
        return float(parts[0])
    whole = float(max(parts) if starts and kind == "all-gather" else sum(parts))
    if one.opcode.removesuffix("-start") == "reduce-scatter":
        whole *= size  # the result is a part
    return whole * (2 if kind == "all-reduce" else 1) * (size - 1) / size


def _groups(rest: str, devices: int) -> list[list[int]]:
    """Devices that exchange with each other, by their place in the mesh."""
    pairs = re.search(r"source_target_pairs=\{(\{.*?\})\}", rest)
    listed = re.search(r"replica_groups=\{(\{.*?\})\}", rest)
    if pairs or listed:
        text = (pairs or listed)[1]
        return [
            [int(x) for x in group.split(",")]
            for group in re.findall(r"\{([\d,]+)\}", text)
        ]
    counted = re.search(
        r"replica_groups=\[([\d,]+)\]<=\[([\d,]+)\](?:T\(([\d,]+)\))?", rest
    )
    if counted:
        shape, sizes, order = (_numbers(text) for text in counted.groups())
        ids = np.arange(math.prod(sizes)).reshape(sizes)
        ids = ids.transpose(order) if order else ids
        return ids.reshape(shape).tolist()
    axes = re.search(r"replica_groups=mesh\[([^\]]*)\]\s*\{([^}]*)\}", rest)
    if axes and "(" not in axes[2]:
        sizes = {name: int(n) for name, n in re.findall(r"'(\w+)'=(\d+)", axes[1])}
        inside = re.findall(r"'(\w+)'", axes[2])
        ids = np.arange(math.prod(sizes.values())).reshape(*sizes.values())
        names = list(sizes)
        outside = [name for name in names if name not in inside]
        ids = ids.transpose([names.index(name) for name in [*outside, *inside]])
        return ids.reshape(-1, math.prod(sizes[name] for name in inside)).tolist()
    return [list(range(devices))]  # no groups: all devices


def _numbers(text: str | None) -> tuple[int, ...]:
    return tuple(int(x) for x in text.split(",")) if text else ()
