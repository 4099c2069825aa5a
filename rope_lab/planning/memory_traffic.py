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
        return _by_fusion(program, one, around)
    if one.opcode in _SLICES:
        return 2.0 * _bytes(one.result)
    if one.opcode == "dynamic-update-slice":
        return 2.0 * _bytes_of(one.operands[1], around)
    if one.opcode.endswith("-start"):  # its result repeats the operand
        return 2.0 * sum(_bytes_of(name, around) for name in one.operands)
    return _bytes(one.result) + sum(_bytes_of(name, around) for name in one.operands)


def _by_fusion(program: Program, one: Instruction, around) -> float:
    body = program.computations[one.called[0]]
    last = list(body.values())[-1]
    results = [body[x] for x in last.operands] if last.opcode == "tuple" else [last]
    moved = sum(_written(x, body) for x in results)
    for place, name in enumerate(one.operands):
        whole = _bytes_of(name, around)
        moved += _read(program, body, _parameter(body, place), whole)
    return moved


def _written(one: Instruction, body: dict[str, Instruction]) -> float:
    """Of one result; what a fusion only hands on is not written."""
    if one.opcode == "parameter":
        return 0.0
    if one.opcode == "dynamic-update-slice":
        return _bytes_of(one.operands[1], body)
    return _bytes(one.result)


def _read(program: Program, body: dict[str, Instruction], name: str, whole: float):
    """Bytes read of an array of `whole` bytes, called `name` in the body of a fusion.

    A slice is all that is read of it, also in a fusion within the fusion. A tuple hands
    it on, and an update of a part replaces it, without reading.
    """
    if not whole:
        return 0.0
    read = 0.0
    for user in body.values():
        places = [n for n, operand in enumerate(user.operands) if operand == name]
        if not places or user.opcode == "tuple":
            continue
        if user.opcode in _SLICES:
            read += _all_bytes(user.result)
        elif user.opcode == "bitcast":
            read += _read(program, body, user.name, whole)
        elif user.opcode == "fusion":
            inner = program.computations[user.called[0]]
            for place in places:
                read += _read(program, inner, _parameter(inner, place), whole)
        elif user.opcode != "dynamic-update-slice" or places != [0]:
            read += whole
    return min(whole, read)


def _parameter(body: dict[str, Instruction], place: int) -> str:
    return next(
        x.name
        for x in body.values()
        if x.opcode == "parameter" and x.operands[0] == str(place)
    )


def _all_bytes(result: str) -> float:
    """Wherever it lies: what is read into the chip's own memory comes from the main."""
    return float(sum(x.bytes for x in arrays_of(result)))


def _bytes(result: str) -> float:
    return float(sum(x.bytes for x in arrays_of(result) if x.in_main_memory))


def _bytes_of(name: str, around: dict[str, Instruction]) -> float:
    one = around.get(name)
    return _bytes(one.result) if one is not None else 0.0
