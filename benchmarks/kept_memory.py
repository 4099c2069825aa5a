"""A training step where glibc keeps the memory that it is given back, and where not.

    python -m benchmarks.kept_memory --output benchmarks/results    # two minutes

A step takes the same large blocks each time. As glibc comes, it gives them back to the
kernel and gets them again page by page; with the variables of the Makefile it keeps
them. They are read when a process starts, so each measurement is a process of its own.
The model and the batch are those of configs/rerope_small.py.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import jax

from benchmarks import timing
from rope_lab import position_logic
from rope_lab.model import ModelConfig, init_model
from rope_lab.planning import made_up
from rope_lab.training import TrainingConfig, init_state, make_optimizer
from rope_lab.training.step import make_train_step

KEEPING = {
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": "2147483647",
    "MALLOC_ARENA_MAX": "1",
}
MODEL = ModelConfig(vocab_size=1024, num_layers=4, width=128, ff_width=320)
BATCH, LENGTH = 16, 128  # sequences, tokens
STEPS = 30
HEADER = ["", "ms a step", "processor, ms", "of it in the kernel", "pages", "peak MiB"]


def measure(steps: int) -> dict[str, float]:
    """Of a step in this process, once it is compiled: medians and means."""
    logic = position_logic("rope", head_dim=MODEL.head_dim)
    training = TrainingConfig(num_steps=steps, learning_rate=1e-3)
    graphdef, params = init_model(MODEL, 0, logic)
    optimizer = make_optimizer(training)
    state = init_state(params, optimizer, training)
    step = make_train_step(graphdef, optimizer, training)
    batch = made_up(BATCH, LENGTH, MODEL.vocab_size)
    seconds = []
    for number in range(steps + 2):
        if number == 2:  # compiled, and all memory seen once
            before = resource.getrusage(resource.RUSAGE_SELF)
        start = time.perf_counter()
        state, metrics = step(state, batch, logic)
        jax.block_until_ready(metrics)
        seconds.append(time.perf_counter() - start)
    after = resource.getrusage(resource.RUSAGE_SELF)
    kernel = (after.ru_stime - before.ru_stime) / steps
    return {
        "ms": 1e3 * statistics.median(seconds[2:]),
        "processor_ms": 1e3 * ((after.ru_utime - before.ru_utime) / steps + kernel),
        "kernel_ms": 1e3 * kernel,
        "pages": (after.ru_minflt - before.ru_minflt) / steps,
        "peak_mib": after.ru_maxrss / 1024,
    }


def measured(keeping: bool, steps: int = STEPS) -> dict[str, float]:
    """The same in a process of its own."""
    rest = {name: x for name, x in os.environ.items() if name not in KEEPING}
    command = [sys.executable, "-m", "benchmarks.kept_memory", f"--child={steps}"]
    environment = rest | KEEPING if keeping else rest
    done = subprocess.run(
        command, env=environment, check=True, capture_output=True, text=True
    )
    return json.loads(done.stdout.splitlines()[-1])


def text(record: dict[str, Any]) -> str:
    """Markdown: medians over the rounds."""
    lines = []
    for label, rounds in record["rows"].items():
        found = {key: statistics.median(r[key] for r in rounds) for key in rounds[0]}
        lines.append([label, *(f"{value:,.0f}" for value in found.values())])
    ms, processor = (_ratio(record, key) for key in ("ms", "processor_ms"))
    return "\n\n".join(
        [
            "# A training step and the memory it is given",
            timing.describe(record),
            f"{MODEL.num_layers} layers of width {MODEL.width}, {BATCH} sequences of "
            f"{LENGTH} tokens, {STEPS} steps in each process, one process after the "
            "other; medians over the rounds.",
            timing.markdown(HEADER, lines),
            f"Kept, a step takes {ms:.2f} of the time and {processor:.2f} of the "
            f"processor's: `{' '.join(f'{k}={v}' for k, v in KEEPING.items())}`, "
            "which the Makefile sets.\n",
        ]
    )


def _ratio(record: dict[str, Any], key: str) -> float:
    """Median over the rounds of kept over given back, side by side."""
    given, kept = record["rows"].values()
    return statistics.median(b[key] / a[key] for a, b in zip(given, kept, strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1, help="cores to be bound to")
    parser.add_argument("--output", type=Path, default=Path("runs/bench"))
    parser.add_argument("--child", type=int, help=argparse.SUPPRESS)  # steps
    options = parser.parse_args()
    if options.child:
        print(json.dumps(measure(options.child)))
        return
    timing.pin(options.threads)
    rows: dict[str, list] = {"as glibc comes": [], "kept": []}
    for _ in range(options.rounds):
        for keeping, found in enumerate(rows.values()):
            found.append(measured(bool(keeping)))
    record = timing.heading(options.threads) | {"rounds": options.rounds, "rows": rows}
    timing.write(options.output / "kept_memory.json", record)
    (options.output / "kept_memory.md").write_text(text(record))
    print(text(record) + f"written to {options.output}")


if __name__ == "__main__":
    main()
