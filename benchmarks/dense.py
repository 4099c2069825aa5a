"""Dense attention under a position logic against jax.nn.dot_product_attention.

    python -m benchmarks.dense            # or: make bench

The dense path is the definition the fast paths are tested against; this says what it
costs. The other side rotates queries and keys with the angles of plain RoPE, then calls
`jax.nn.dot_product_attention(..., is_causal=True)`. One row per program: encodings that
differ only in their frequencies (interpolation, NTK, YaRN, Llama 3, LongRoPE, Resonance
of any) run the program of the row "rope".

Every round times each program once, in an order that rotates from round to round, so
that a slow moment of the machine does not fall on one row; medians over the rounds.
float32, batch 1, causal, positions 0..T-1.
"""

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp

from rope_lab import attend, position_logic, rotary

HEADS, HEAD_DIM = 4, 64
SCHEMA_VERSION = 1
BASELINE = "jax.nn.dot_product_attention"


def logics(length: int) -> dict[str, Callable]:
    """One logic per program; windows are a quarter of the length."""
    window = length // 4
    options = {
        "rope": {},
        "rope, sliding window": {"sliding_window": window},
        "partial": {"fraction": 0.5},
        "nope": {},
        "rerope": {"window": window},
        "leaky_rerope": {"window": window, "step": 16},
        "self_extend": {"window": window, "group": 8},
    }
    return {
        label: position_logic(label.split(",")[0], head_dim=HEAD_DIM, **own)
        for label, own in options.items()
    }


def baseline(q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
    """What a user of JAX has without this project: plain RoPE, causal."""
    frequencies = rotary.rope(HEAD_DIM)
    angles = rotary.angles(jnp.arange(q.shape[1]), frequencies)[None, :, None]
    q, k = rotary.rotate(q, angles), rotary.rotate(k, angles)
    return jax.nn.dot_product_attention(q, k, v, is_causal=True)


def with_gradients(attention: Callable) -> Callable:
    """Gradients of sum(output * values) by queries, keys and values."""

    def total(q, k, v):
        return (attention(q, k, v) * v).sum()

    return jax.grad(total, argnums=(0, 1, 2))


def programs(length: int) -> dict[str, Callable]:
    """Attention functions of (q, k, v) by the name of their row."""
    rows: dict[str, Callable] = {BASELINE: baseline}
    for label, logic in logics(length).items():
        rows[label] = lambda q, k, v, logic=logic: attend(
            q, k, v, logic, implementation="dense"
        )
    return rows


def medians(rows: dict[str, Callable], arrays: tuple, rounds: int) -> dict[str, float]:
    """Median milliseconds of each row, rounds interleaved and rotated."""
    compiled = {label: jax.jit(function) for label, function in rows.items()}
    for function in compiled.values():
        jax.block_until_ready(function(*arrays))
    seconds = {label: [] for label in compiled}
    labels = list(compiled)
    for turn in range(rounds):
        shift = turn % len(labels)
        for label in labels[shift:] + labels[:shift]:
            start = time.perf_counter()
            jax.block_until_ready(compiled[label](*arrays))
            seconds[label].append(time.perf_counter() - start)
    return {label: 1e3 * statistics.median(taken) for label, taken in seconds.items()}


def measure(length: int, rounds: int) -> dict[str, dict[str, float]]:
    """{"forward" | "forward+backward": {row: median milliseconds}}."""
    keys = jax.random.split(jax.random.key(0), 3)
    shape = (1, length, HEADS, HEAD_DIM)
    arrays = tuple(jax.random.normal(key, shape, jnp.float32) for key in keys)
    rows = programs(length)
    backward = {label: with_gradients(function) for label, function in rows.items()}
    return {
        "forward": medians(rows, arrays, rounds),
        "forward+backward": medians(backward, arrays, rounds),
    }


def table(results: dict[int, dict]) -> str:
    """Markdown: milliseconds, and in brackets the ratio to the baseline."""
    columns = [(length, mode) for length, modes in results.items() for mode in modes]
    labels = list(results[columns[0][0]][columns[0][1]])
    heads = [f"T={length} {mode}" for length, mode in columns]
    lines = ["| | " + " | ".join(heads) + " |", "|---" * (len(heads) + 1) + "|"]
    for label in labels:
        cells = []
        for length, mode in columns:
            row = results[length][mode]
            cells.append(f"{row[label]:.1f} ({row[label] / row[BASELINE]:.2f})")
        lines.append(f"| {label} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def machine() -> dict[str, str | int]:
    """Where the numbers come from."""
    return {
        "jax": jax.__version__,
        "python": platform.python_version(),
        "device": jax.devices()[0].device_kind,
        "cpu_cores": os.cpu_count() or 0,
        "architecture": platform.machine(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--lengths", type=int, nargs="+", default=[512, 1024])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--output", type=Path, default=Path("runs/bench/dense.json"))
    options = parser.parse_args()
    results = {}
    for length in options.lengths:
        print(f"T={length}: {options.rounds} rounds", flush=True)
        results[length] = measure(length, options.rounds)
    print("median milliseconds (ratio to the first row)\n" + table(results))
    options.output.parent.mkdir(parents=True, exist_ok=True)
    record = {
        "schema_version": SCHEMA_VERSION,
        "unit": "ms",
        "heads": HEADS,
        "head_dim": HEAD_DIM,
        "rounds": options.rounds,
        "machine": machine(),
        "medians": results,
    }
    options.output.write_text(json.dumps(record, indent=2) + "\n")
    print(f"written to {options.output}")


if __name__ == "__main__":
    main()
