"""From how many pairs of a query and a key on tiles are faster than a whole matrix.

    python -m benchmarks.crossover --output benchmarks/results    # ten minutes

`attend(implementation="auto")` picks dense below TILED_FROM pairs and tiled from there
on. The recommended number is, of those tried, the one that loses least time over all
cases: the sum of log(time of the picked / time of the faster).
"""

import argparse
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax

from benchmarks import timing
from benchmarks.programs import compiled, with_gradients
from rope_lab import attend, position_logic
from rope_lab.attention import TILED_FROM

LENGTHS = (64, 128, 256, 384, 512, 768, 1024, 2048)
BATCHES = (1, 8)
HEADS, HEAD_DIM = 4, 64
MODES = ("forward", "forward+backward")
IMPLEMENTATIONS = ("dense", "tiled")
NAMES = ("rope", "rerope")


def program(name: str, length: int, batch: int, mode: str, implementation: str):
    """attend under a logic whose window is a quarter of the length."""
    options = {"window": length // 4} if name == "rerope" else {}
    logic = position_logic(name, head_dim=HEAD_DIM, **options)
    keys = jax.random.split(jax.random.key(0), 4)
    shape = (batch, length, HEADS, HEAD_DIM)
    arrays = [jax.random.normal(key, shape) for key in keys]

    def attention(q, k, v):
        return attend(q, k, v, logic, implementation=implementation)

    if mode == "forward":
        return compiled(attention, *arrays[:3])
    return compiled(with_gradients(attention), *arrays)


def measure(length: int, batch: int, mode: str, rounds: int) -> list[dict[str, Any]]:
    """One case for each encoding: {"dense_ms", "tiled_ms"} of the same inputs."""
    calls = {
        (name, implementation): program(name, length, batch, mode, implementation).call
        for name in NAMES
        for implementation in IMPLEMENTATIONS
    }
    taken = timing.interleaved(calls, rounds)
    ms = {key: timing.summary(each)["ms"] for key, each in taken.items()}
    sizes = {"length": length, "batch": batch, "mode": mode}
    return [
        {"name": name, **sizes, **{f"{i}_ms": ms[name, i] for i in IMPLEMENTATIONS}}
        for name in NAMES
    ]


def lost(cases: Sequence[dict], threshold: int) -> float:
    """Sum of log(picked / faster) if tiled is picked from `threshold` pairs on."""
    total = 0.0
    for case in cases:
        pick = "tiled" if case["length"] ** 2 >= threshold else "dense"
        faster = min(case["dense_ms"], case["tiled_ms"])
        total += math.log(case[f"{pick}_ms"] / faster)
    return total


def recommended(cases: Sequence[dict]) -> int:
    """The threshold that loses least; of equals the largest, dense being simpler."""
    squares = sorted({case["length"] ** 2 for case in cases}, reverse=True)
    return min([2 * squares[0], *squares], key=lambda pairs: lost(cases, pairs))


def text(record: dict[str, Any]) -> str:
    """Markdown: time of tiled over that of dense."""
    cases = record["cases"]
    columns = list(dict.fromkeys((c["batch"], c["mode"], c["name"]) for c in cases))
    heads = [f"B={batch} {mode} {name}" for batch, mode, name in columns]
    lines = []
    for length in dict.fromkeys(case["length"] for case in cases):
        found = {
            (c["batch"], c["mode"], c["name"]): c["tiled_ms"] / c["dense_ms"]
            for c in cases
            if c["length"] == length
        }
        lines.append([str(length), *(f"{found[key]:.2f}" for key in columns)])
    best, now = record["recommended"], record["tiled_from"]
    return "\n\n".join(
        [
            "# Tiled over dense",
            timing.describe(record),
            f"Time of tiled over time of dense; {HEADS} heads, head dim {HEAD_DIM}, "
            "float32, T queries and T keys, windows T/4.",
            timing.markdown(["T", *heads], lines),
            f"Tiled from {best} pairs ({math.isqrt(best)} squared) on loses least: "
            f"{100 * math.expm1(lost(cases, best) / len(cases)):.1f} % on average "
            f"against always the faster; TILED_FROM = {now} loses "
            f"{100 * math.expm1(lost(cases, now) / len(cases)):.1f} %.\n",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--lengths", type=int, nargs="+", default=LENGTHS)
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--threads", type=int, default=1, help="cores to be bound to")
    parser.add_argument("--output", type=Path, default=Path("runs/bench"))
    options = parser.parse_args()
    timing.pin(options.threads)
    record = timing.heading(options.threads) | {"rounds": options.rounds, "cases": []}
    for length in options.lengths:
        for batch in BATCHES:
            for mode in MODES:
                record["cases"] += measure(length, batch, mode, options.rounds)
        print(f"T={length}: done", flush=True)
    record |= {"recommended": recommended(record["cases"]), "tiled_from": TILED_FROM}
    timing.write(options.output / "crossover.json", record)
    (options.output / "crossover.md").write_text(text(record))
    print(text(record) + f"written to {options.output}")


if __name__ == "__main__":
    main()
