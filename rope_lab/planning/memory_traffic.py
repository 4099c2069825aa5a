"""Bytes that a compiled program moves between a device and its main memory.

Every instruction reads its operands and writes its result, once each time it runs; a
fusion that only slices an operand reads the slice, one that updates a part of an array
writes the part. What lies in the chip's own memory is not counted, nor are kernels that
read an operand more than once: so the figure is an estimate from below.
"""

from __future__ import annotations

from rope_lab.planning.hlo import Instruction, Program, arrays_of

_FREE = {
    "parameter", "constant", "tuple", "get-tuple-element", "bitcast", "while", "call",
    "conditional", "after-all", "partition-id", "replica-id", "iota", "copy-done",
    "all-gather-done", "all-reduce-done", "collective-permute-done", "async-done",
}  # fmt: skip
_SLICES = {"dynamic-slice", "slice", "gather"}


def memory_traffic(program: Program) -> float:
    """Bytes read and written in one run."""
    total = 0.0
    for visit in program.walk(into_fusions=False):
        if visit.instruction.opcode not in _FREE:
            around = program.computations[visit.where]
            total += visit.times * _moved(program, visit.instruction, around)
    return total


def _moved(program: Program, one: Instruction, around: dict[str, Instruction]) -> float:
    if one.opcode == "fusion":
        return _by_fusion(program.computations[one.called[0]], one, around)
    if one.opcode in _SLICES:
        return 2.0 * _bytes(one.result)
    if one.opcode == "dynamic-update-slice":
        return 2.0 * _bytes_of(one.operands[1], around)
    if one.opcode.endswith("-start"):  # its result repeats the operand
        return 2.0 * sum(_bytes_of(name, around) for name in one.operands)
    return _bytes(one.result) + sum(_bytes_of(name, around) for name in one.operands)


def _by_fusion(body: dict[str, Instruction], one: Instruction, around) -> float:
    last = list(body.values())[-1]
    results = [body[x] for x in last.operands] if last.opcode == "tuple" else [last]
    moved = sum(_written(x, body) for x in results)
    inside = {x.operands[0]: x.name for x in body.values() if x.opcode == "parameter"}
    for place, name in enumerate(one.operands):
        users = [
            x
            for x in body.values()
            if inside[str(place)] in x.operands and x.opcode != "tuple"
        ]
        if not _updates(users, inside[str(place)]):
            moved += _read(_bytes_of(name, around), users)
    return moved


def _written(one: Instruction, body: dict[str, Instruction]) -> float:
    """Of one result; what a fusion only hands on is not written."""
    if one.opcode == "parameter":
        return 0.0
    if one.opcode == "dynamic-update-slice":
        return _bytes_of(one.operands[1], body)
    return _bytes(one.result)


def _read(whole: float, users: list[Instruction]) -> float:
    """Of an operand with these users; a tuple hands it on without reading it."""
    if all(x.opcode in _SLICES for x in users):
        return min(whole, sum(_bytes(x.result) for x in users))
    return whole


def _updates(users: list[Instruction], inside: str) -> bool:
    """Whether an operand is only the array that a part of is replaced."""
    return bool(users) and all(
        x.opcode == "dynamic-update-slice" and x.operands[0] == inside for x in users
    )


def _bytes(result: str) -> float:
    return float(sum(x.bytes for x in arrays_of(result) if x.in_main_memory))


def _bytes_of(name: str, around: dict[str, Instruction]) -> float:
    one = around.get(name)
    return _bytes(one.result) if one is not None else 0.0
