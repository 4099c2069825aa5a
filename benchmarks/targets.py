"""What the project promises of its speed, and whether a record of a run keeps it."""

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from benchmarks import rows
from benchmarks.timing import markdown

Record = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Target:
    """what; at_most or at_least a bound; measured(record), None where nothing was."""

    what: str
    measured: Callable[[Record], float | None]
    at_most: float | None = None
    at_least: float | None = None

    def met(self, value: float) -> bool:
        """Whether a measured value keeps it."""
        if self.at_most is not None and value > self.at_most:
            return False
        return self.at_least is None or value >= self.at_least

    @property
    def bound(self) -> str:
        """The promise in signs."""
        if self.at_most is not None:
            return f"<= {self.at_most:g}"
        return f">= {self.at_least:g}"


def table(targets: Iterable[Target], record: Record) -> str:
    """Markdown: target, bound, measured, met."""
    lines = []
    for target in targets:
        value = target.measured(record)
        shown, met = "not measured", "-"
        if value is not None:
            shown, met = f"{value:.4g}", "yes" if target.met(value) else "no"
        lines.append([target.what, target.bound, shown, met])
    return markdown(["target", "bound", "measured", "met"], lines)


def measured_row(case: Record, label: str) -> Record | None:
    """A row of a case if it was measured."""
    row = case["rows"].get(label)
    return row if row is not None and "ms" in row else None


def ratio(
    label: str, other: str, mode: str, exactly: int | None = None, worst=max
) -> Callable[[Record], float | None]:
    """The time of one row over that of another; the worst from 4096 tokens on."""

    def measured(record: Record) -> float | None:
        found = []
        for case in record["cases"]:
            fits = case["length"] == exactly if exactly else case["length"] >= 4096
            first, second = measured_row(case, label), measured_row(case, other)
            if fits and case["mode"] == mode and first and second:
                found.append(first["ms"] / second["ms"])
        return worst(found) if found else None

    return measured


def share(label: str, mode: str) -> Callable[[Record], float | None]:
    """Of the rate of the tile products, percent; the lowest from 4096 tokens on."""

    def measured(record: Record) -> float | None:
        found = [
            100 * row["share_of_products"]
            for case in record["cases"]
            if case["length"] >= 4096 and case["mode"] == mode
            if (row := measured_row(case, label)) and "share_of_products" in row
        ]
        return min(found) if found else None

    return measured


def memory_growth(label: str) -> Callable[[Record], float | None]:
    """Temporary memory of forward+backward per token: at the longest length over that
    at the shortest of 4096 tokens or more with as many heads."""

    def measured(record: Record) -> float | None:
        found = {}
        for case in record["cases"]:
            row = measured_row(case, label)
            if row and case["mode"] == "forward+backward" and case["length"] >= 4096:
                per_token = row["temporary_bytes"] / case["length"]
                found.setdefault(case["heads"], {})[case["length"]] = per_token
        several = [per for per in found.values() if len(per) > 1]
        growths = [per[max(per)] / per[min(per)] for per in several]
        return max(growths) if growths else None

    return measured


def longest(label: str, least: int) -> Callable[[Record], float | None]:
    """The most tokens over which forward+backward ran; None if none of `least`."""

    def measured(record: Record) -> float | None:
        found = [
            case["length"]
            for case in record["cases"]
            if case["mode"] == "forward+backward" and measured_row(case, label)
            if case["length"] >= least
        ]
        return max(found) if found else None

    return measured


FORWARD, BOTH = rows.MODES
ON_CPU = (
    Target(
        "ReRoPE / RoPE, both tiled, forward, T >= 4096",
        ratio(rows.REROPE, rows.ROPE, FORWARD),
        at_most=1.05,
    ),
    Target(
        "ReRoPE / RoPE, both tiled, forward+backward, T >= 4096",
        ratio(rows.REROPE, rows.ROPE, BOTH),
        at_most=1.10,
    ),
    Target(
        "ReRoPE tiled / PyTorch SDPA with plain RoPE, forward, T = 4096",
        ratio(rows.REROPE, rows.SDPA, FORWARD, exactly=4096),
        at_most=0.8,
    ),
    Target(
        "ReRoPE tiled / PyTorch SDPA with plain RoPE, forward+backward, T = 4096",
        ratio(rows.REROPE, rows.SDPA, BOTH, exactly=4096),
        at_most=0.95,
    ),
    Target(
        "the seed's two matrices in PyTorch / ReRoPE tiled, forward, T = 4096",
        ratio(rows.SEED_TORCH, rows.REROPE, FORWARD, exactly=4096, worst=min),
        at_least=15,
    ),
    Target(
        "the seed's two matrices in PyTorch / ReRoPE tiled, forward+backward, T = 4096",
        ratio(rows.SEED_TORCH, rows.REROPE, BOTH, exactly=4096, worst=min),
        at_least=9,
    ),
    Target(
        "ReRoPE tiled, share of the rate of the tile products, forward, %",
        share(rows.REROPE, FORWARD),
        at_least=70,
    ),
    Target(
        "ReRoPE tiled, share of the rate of the tile products, forward+backward, %",
        share(rows.REROPE, BOTH),
        at_least=60,
    ),
    Target(
        "ReRoPE tiled, temporary memory per token, longest T / shortest >= 4096",
        memory_growth(rows.REROPE),
        at_most=1.1,
    ),
    Target(
        "ReRoPE tiled, most tokens whose forward+backward ran",
        longest(rows.REROPE, least=131072),
        at_least=131072,
    ),
)
CUDNN, GPU_REROPE = "RoPE, cuDNN", "ReRoPE, ours, gpu"
ON_GPU = (
    Target(
        "ReRoPE / cuDNN plain causal, forward, T = 8192",
        ratio(GPU_REROPE, CUDNN, FORWARD, exactly=8192),
        at_most=1.15,
    ),
    Target(
        "ReRoPE / cuDNN plain causal, forward+backward, T = 8192",
        ratio(GPU_REROPE, CUDNN, BOTH, exactly=8192),
        at_most=1.20,
    ),
    Target(
        "ReRoPE, share of the matrix peak, forward, T = 8192, %",
        lambda record: _share_of_peak(record, FORWARD),
        at_least=50,
    ),
    Target(
        "ReRoPE, share of the matrix peak, forward+backward, T = 8192, %",
        lambda record: _share_of_peak(record, BOTH),
        at_least=50,
    ),
)


def _share_of_peak(record: Record, mode: str) -> float | None:
    for case in record["cases"]:
        row = measured_row(case, GPU_REROPE)
        if row and case["length"] == 8192 and case["mode"] == mode:
            return 100 * row["share_of_peak"]
    return None
