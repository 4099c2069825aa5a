"""Attention under every banded logic beside its peers: time, memory, share of the rate.

    python -m benchmarks.attention            # or: make bench
    python -m benchmarks.attention --full     # to 131072 tokens; about half an hour
    python -m benchmarks.attention --full --output benchmarks/results    # as committed

Rows are the seed's two-matrix method (PyTorch and JAX), PyTorch's and JAX's own
attention with plain RoPE, and ours; PyTorch's need the extra `hf`. On a GPU the same
command times `implementation="gpu"` beside cuDNN in bfloat16 (--threads 8 compiles
faster there).

Every finished case is written at once; --resume goes on after the last one.
"""

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax

from benchmarks import ceiling, report, rows, timing
from benchmarks.rows import Case, Row

QUICK = (512, 1024, 2048, 4096)
FULL = (*QUICK, 8192, 16384, 32768, 65536, 131072)
GPU_LENGTHS = (2048, 8192)
PEAK_TFLOPS = 989.0  # bfloat16 products of an H100 SXM, dense
ABSENT = "PyTorch is not installed"
COMPILING = 2.0  # seconds a program, for the estimate


def make_cases(lengths: Sequence[int], platform: str) -> list[Case]:
    """Both modes of every length; beyond 16384 tokens with one head instead of four."""
    if platform == "gpu":
        sizes = {"heads": 16, "head_dim": 128, "dtype": "bfloat16"}
        return [Case(n, mode, **sizes) for n in lengths for mode in rows.MODES]
    return [
        Case(length, mode, heads=4 if length <= 16384 else 1)
        for length in lengths
        for mode in rows.MODES
    ]


def rounds_of(case: Case) -> int:
    """More where a call is short, and its noise large."""
    for length, rounds in ((1024, 15), (4096, 7), (16384, 3), (32768, 2)):
        if case.length <= length:
            return rounds
    return 1


def seconds_of(case: Case, table: Sequence[Row], gflops: float) -> float:
    """Expected seconds of a case where products run at this rate."""
    shown = [row for row in table if case.length <= row.longest]
    work = sum(row.cost * case.operations(row.pairs(case)) for row in shown)
    return (rounds_of(case) + 1) * work / (1e9 * gflops) + COMPILING * len(shown)


def measure(case: Case, table: Sequence[Row], rounds: int) -> dict[str, Any]:
    """{"length", "mode", "heads", "rounds", "rows": {label: numbers}} of one case."""
    found: dict[str, dict] = {}
    programs = {}
    shown = [row for row in table if case.length <= row.longest]
    for row in shown:
        if row.framework == "torch" and not timing.has_torch():
            found[row.label] = {"absent": ABSENT}
        else:
            programs[row.label] = row.program(case)
    calls = {label: program.call for label, program in programs.items()}
    taken = timing.interleaved(calls, rounds)
    for row in shown:
        if row.label in programs:
            operations = case.operations(row.pairs(case))
            numbers = timing.summary(taken[row.label])
            numbers["temporary_bytes"] = programs[row.label].temporary
            numbers["gflops"] = operations / numbers["ms"] / 1e6
            found[row.label] = numbers
    _add_shares(found)
    ordered = {row.label: found[row.label] for row in shown}
    sizes = {"length": case.length, "mode": case.mode, "heads": case.heads}
    return {**sizes, "rounds": rounds, "rows": ordered}


def _add_shares(found: dict[str, dict]) -> None:
    """Every rate over the one that bounds it."""
    products = found.get(rows.PRODUCTS)
    for numbers in found.values():
        if products is None:
            numbers["share_of_peak"] = numbers["gflops"] / (1e3 * PEAK_TFLOPS)
        elif "gflops" in numbers:
            numbers["share_of_products"] = numbers["gflops"] / products["gflops"]


def matrix_rates(rounds: int = 15) -> dict[str, float]:
    """GFLOP/s of one large float32 product through JAX, and through torch if there."""
    operations, programs = ceiling.matrix_products()
    calls = {name: program.call for name, program in programs.items()}
    taken = timing.interleaved(calls, rounds)
    return {
        name: operations / timing.summary(each)["ms"] / 1e6
        for name, each in taken.items()
    }


def finished(path: Path, heading: dict[str, Any]) -> list[dict]:
    """Cases of an earlier run to go on from; they must be of this code and machine."""
    if not path.exists():
        return []
    earlier = json.loads(path.read_text())
    for key in ("schema_version", "commit", "threads", "machine", "platform"):
        if earlier.get(key) != heading[key]:
            raise SystemExit(
                f"--resume: {path} has {key} {earlier.get(key)!r}, this run "
                f"{heading[key]!r}; ratios of two kinds of run mean nothing, so leave "
                "--resume out or choose another --output"
            )
    return earlier["cases"]


def run(
    cases: Sequence[Case],
    table: Sequence[Row],
    record: dict[str, Any],
    folder: Path,
    rounds: int | None = None,
) -> dict[str, Any]:
    """Measures the cases that record lacks; writes it after each one."""
    known = {(c["length"], c["mode"], c["heads"]) for c in record["cases"]}
    todo = [c for c in cases if (c.length, c.mode, c.heads) not in known]
    rate = record["matrix_product_gflops"]["jax"]
    expected = {case: seconds_of(case, table, rate) for case in todo}
    print(f"{len(todo)} cases, about {timing.minutes(sum(expected.values()))}")
    start = time.perf_counter()
    for number, case in enumerate(todo):
        record["cases"].append(measure(case, table, rounds or rounds_of(case)))
        timing.write(folder / "attention.json", record)
        spent = time.perf_counter() - start
        done = sum(expected[each] for each in todo[: number + 1])
        left = spent * (sum(expected.values()) / done - 1)
        print(
            f"T={case.length} H={case.heads} {case.mode}: done after "
            f"{timing.minutes(spent)}, about {timing.minutes(left)} left",
            flush=True,
        )
    return record


def publish(record: dict[str, Any], folder: Path) -> None:
    """The Markdown and the pictures beside attention.json."""
    (folder / "attention.md").write_text(report.text(record))
    if record["platform"] != "gpu":
        report.draw_time(record, folder / "time.png")
        report.draw_memory(record, folder / "memory.png")


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--full", action="store_true", help="to 131072 tokens")
    parser.add_argument("--lengths", type=int, nargs="+", help="tokens, instead")
    parser.add_argument("--rounds", type=int, help="of every case; default by length")
    parser.add_argument("--threads", type=int, default=1, help="cores to be bound to")
    parser.add_argument("--resume", action="store_true", help="keep finished cases")
    parser.add_argument("--output", type=Path, default=Path("runs/bench"))
    return parser.parse_args()


def main() -> None:
    options = parse()
    timing.pin(options.threads)
    platform = jax.default_backend()
    gpu = platform == "gpu"
    record = timing.heading(options.threads) | {"platform": platform}
    path = options.output / "attention.json"
    cases = finished(path, record) if options.resume else []
    usual = GPU_LENGTHS if gpu else FULL if options.full else QUICK
    todo = make_cases(options.lengths or usual, platform)
    record |= {"head_dim": todo[0].head_dim, "dtype": todo[0].dtype}
    record |= {"peak_tflops": PEAK_TFLOPS} if gpu else {}
    record |= {"matrix_product_gflops": matrix_rates(), "cases": cases}
    table = rows.gpu_rows() if gpu else rows.cpu_rows()
    run(todo, table, record, options.output, options.rounds)
    publish(record, options.output)
    print((options.output / "attention.md").read_text())
    print(f"written to {options.output}")


if __name__ == "__main__":
    main()
