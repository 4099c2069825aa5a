"""The text of a compiled program: its instructions, and how often each one runs.

Only what the plan needs is read. A loop body stands in the text once and runs as often
as its condition says: here a counter that is compared with a constant.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Iterator
from typing import NamedTuple

_WIDTHS = {"pred": 1, "bf16": 2, "f16": 2}  # others: the bits in their name
_ARRAY = re.compile(r"\b(pred|bf16|[a-z]+(\d+)\w*)\[([\d,]*)\](\{[^}]*\})?")
_INSTRUCTION = re.compile(r"\s+(ROOT )?%?([\w.-]+) = (.*?) ([a-z][\w-]*)\((.*)$")
_HEADER = re.compile(r"(ENTRY )?%?([\w.-]+) \(.*\{\s*$")
_CALLED = re.compile(r"\b(?:calls|to_apply|body|called_computations)=\{?%?([\w.-]+)")
_BRANCHES = re.compile(r"\bbranch_computations=\{([^}]*)\}")

# They call a computation for two numbers at a time.
_INLINE = ("reduce", "reduce-window", "scatter", "sort", "map", "all-reduce",
           "all-reduce-start", "reduce-scatter")  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Array:
    """One array of a result: its bytes, and whether it lies in the main memory."""

    bytes: int
    in_main_memory: bool  # HBM; else in a space of its own, as the chip's VMEM


@dataclasses.dataclass(frozen=True)
class Instruction:
    """A line of a computation; `rest` is what stands behind the operands."""

    name: str
    result: str
    opcode: str
    operands: tuple[str, ...]
    rest: str

    @property
    def arrays(self) -> list[Array]:
        """Those of the result; a tuple has several."""
        return arrays_of(self.result)

    @property
    def called(self) -> list[str]:
        """Names of the computations that it runs; of a loop, its body."""
        branches = [
            name.strip().lstrip("%")
            for found in _BRANCHES.findall(self.rest)
            for name in found.split(",")
        ]
        return _CALLED.findall(self.rest) + branches

    def number(self, key: str) -> int | None:
        """An attribute key=number, such as index."""
        found = re.search(rf"\b{key}=(\d+)", self.rest)
        return int(found[1]) if found else None


class Visit(NamedTuple):
    """An instruction that runs so many times, in the computation `where`."""

    instruction: Instruction
    where: str
    times: int
    fused: bool  # whether that computation is, or is in, the body of a fusion


@dataclasses.dataclass(frozen=True)
class Program:
    """Computations by name, each instructions by name in their order."""

    computations: dict[str, dict[str, Instruction]]
    entry: str

    def walk(self, into_fusions: bool = True) -> Iterator[Visit]:
        """All instructions that run, each with how often.

        A fusion is one instruction to the device; its parts follow if asked for. Loops
        whose trips are not known count once: see `unknown_loops`.
        """
        pending = [(self.entry, 1, False)]
        while pending:
            name, times, fused = pending.pop()
            for one in self.computations[name].values():
                yield Visit(one, name, times, fused)
                if one.opcode in _INLINE or (
                    one.opcode == "fusion" and not into_fusions
                ):
                    continue
                loop = one.opcode == "while"
                inner = times * (self.trips(one, name) or 1) if loop else times
                within = fused or one.opcode == "fusion"
                pending += [(called, inner, within) for called in one.called]

    def unknown_loops(self) -> int:
        """Loops whose number of trips the text does not say."""
        return sum(
            one.opcode == "while" and self.trips(one, where) is None
            for one, where, _, _ in self.walk()
        )

    def trips(self, loop: Instruction, where: str) -> int | None:
        """Of a while instruction in the computation `where`."""
        known = re.search(r'known_trip_count["=:{ ]+n["=: ]+(\d+)', loop.rest)
        if known:
            return int(known[1])
        condition = self.computations[_named(loop, "condition")]
        body = self.computations[_named(loop, "body")]
        test = list(condition.values())[-1]
        if test.opcode != "compare" or "direction=LT" not in test.rest:
            return None
        counter, limit = (condition[name] for name in test.operands)
        index, end = counter.number("index"), _constant(condition, limit.name)
        if counter.opcode != "get-tuple-element" or index is None or end is None:
            return None
        step = _step(body, index)
        start = self._start(loop, where, index)
        return None if not step else max(0, math.ceil((end - start) / step))

    def _start(self, loop: Instruction, where: str, index: int) -> int:
        """The counter's first value, which is 0 wherever the text does not say."""
        around = self.computations[where]
        first = around.get(loop.operands[0])
        if first is None or first.opcode != "tuple":
            return 0
        return _constant(around, first.operands[index]) or 0


def parse(text: str) -> Program:
    """The program in the text that `jax.stages.Compiled.as_text` gives.

    Raises:
      ValueError: there is no entry in it.
    """
    computations: dict[str, dict[str, Instruction]] = {}
    entry, inside = None, None
    for line in text.splitlines():
        if not line.startswith(" "):
            header = _HEADER.match(line)
            inside = None
            if header:
                inside = computations.setdefault(header[2], {})
                entry = header[2] if header[1] else entry
        elif inside is not None and (found := _INSTRUCTION.match(line)):
            operands, rest = _split(found[5])
            found_names = re.findall(r"%([\w.-]+)", operands) or [operands.strip()]
            names = tuple(name for name in found_names if name)
            one = Instruction(found[2], found[3], found[4], names, rest)
            inside[one.name] = one
    if entry is None:
        raise ValueError("this is no text of a compiled program: it has no ENTRY")
    return Program(computations, entry)


def arrays_of(result: str) -> list[Array]:
    """The arrays of a type, such as (bf16[4,8]{1,0}, u32[]{:S(2)}).

    >>> arrays_of("(bf16[4,8]{1,0:T(8,128)}, u32[]{:S(2)})")
    [Array(bytes=64, in_main_memory=True), Array(bytes=4, in_main_memory=False)]
    """
    found = []
    for dtype, bits, dims, layout in _ARRAY.findall(result):
        width = _WIDTHS.get(dtype) or max(1, int(bits) // 8)
        numbers = math.prod(int(size) for size in dims.split(",") if size)
        found.append(Array(width * numbers, not re.search(r"S\(\d+\)", layout)))
    return found


def _split(text: str) -> tuple[str, str]:
    """Operands, up to the parenthesis that closes them, and the rest."""
    depth = 1
    for place, letter in enumerate(text):
        depth += (letter == "(") - (letter == ")")
        if depth == 0:
            return text[:place], text[place + 1 :]
    return text, ""


def _named(loop: Instruction, part: str) -> str:
    return re.search(rf"\b{part}=%?([\w.-]+)", loop.rest)[1]


def _constant(computation: dict[str, Instruction], name: str) -> int | None:
    one = computation.get(name)
    while one is not None and one.opcode in ("copy", "bitcast"):
        one = computation.get(one.operands[0])
    if one is None or one.opcode != "constant":
        return None
    return int(one.operands[0]) if re.fullmatch(r"-?\d+", one.operands[0]) else None


def _step(body: dict[str, Instruction], index: int) -> int | None:
    """What a loop's body adds to the number at this place of its tuple."""
    last = list(body.values())[-1]
    if last.opcode != "tuple":
        return None
    new = body.get(last.operands[index])
    while new is not None and new.opcode == "copy":
        new = body.get(new.operands[0])
    if new is None or new.opcode != "add":
        return None
    steps = [_constant(body, name) for name in new.operands]
    return next((step for step in steps if step is not None), None)
