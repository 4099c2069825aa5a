"""How long a checkpoint takes, and how large a model is saved within 30 seconds.

    python -m benchmarks.checkpoints --workdir=/where/runs/lie

Saves states of AdamW (12 bytes a parameter) of several sizes through
`rope_lab.training.Checkpoints`, checksums included, and reads each back whole. Writes
benchmarks/checkpoints.md (--out). A job that is told to end has about 30 seconds left
on a preempted TPU VM: that is what the last column asks.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

import jax
import jax.numpy as jnp

from rope_lab.cli.record import commit, describe_machine, describe_versions
from rope_lab.logic import position_logic
from rope_lab.training import (
    Checkpoints,
    TrainingConfig,
    init_state,
    make_optimizer,
    run_meta,
)

OUT = Path(__file__).with_name("checkpoints.md")
SECONDS = 30.0
BYTES = 12  # of a parameter: itself and AdamW's two means, float32
ROWS = 2**12


def measure(megabytes: int, folder: Path) -> dict[str, float]:
    """Seconds that training waits, that saving takes in all, and that reading takes."""
    columns = max(1, megabytes * 10**6 // BYTES // ROWS // 8)
    keys = jax.random.split(jax.random.key(0), 8)
    matrices = {
        str(n): {"kernel": jax.random.normal(key, (ROWS, columns))}
        for n, key in enumerate(keys)
    }
    config = TrainingConfig(num_steps=1, learning_rate=1e-3)
    state = init_state(matrices, make_optimizer(config), config)
    # As after some updates: zeros would be compressed to nothing.
    noise = jax.random.normal(jax.random.key(1), (ROWS, columns))
    filled = jax.tree.map(lambda x: x + noise if x.ndim == 2 else x, state.opt_state)
    state = jax.block_until_ready(dataclasses.replace(state, opt_state=filled))
    logic = position_logic("rope", head_dim=8)
    meta = run_meta({}, {}, logic, "c" * 64, "t" * 64)
    with Checkpoints(folder) as checkpoints:
        start = time.perf_counter()
        checkpoints.save(1, state, meta)
        waited = time.perf_counter() - start
        checkpoints.wait()
        saved = time.perf_counter() - start
        size = sum(f.stat().st_size for f in checkpoints.path(1).rglob("*"))
        start = time.perf_counter()
        assert checkpoints.newest_whole() == 1
        found = checkpoints.restore(1, state)
        jax.block_until_ready(found)
        read = time.perf_counter() - start
        assert bool(jnp.all(found.params["7"]["kernel"] == state.params["7"]["kernel"]))
    numbers = 8 * ROWS * columns
    return {
        "parameters": numbers,
        "bytes": size,
        "waited": waited,
        "saved": saved,
        "read": read,
        "within": numbers * SECONDS / saved,
    }


def page(rows: list[dict[str, float]], command: str) -> str:
    """The Markdown of benchmarks/checkpoints.md."""
    versions = ", ".join(f"{k} {v}" for k, v in describe_versions().items())
    load = os.getloadavg()[0]
    lines = [
        "# Checkpoints",
        "",
        f"`{command}`, commit {commit()}, {describe_machine()['cores']} cores with a "
        f"load of {load:.1f}, one process, {versions}. A state of AdamW, "
        f"{BYTES} bytes a parameter; reading includes comparing all checksums.",
        "",
        "| parameters | MB on disk | training waits, s | saved after, s | MB/s "
        f"| read, s | parameters saved in {SECONDS:.0f} s |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        cells = [
            f"{row['parameters'] / 1e6:.1f} M",
            f"{row['bytes'] / 1e6:.0f}",
            f"{row['waited']:.2f}",
            f"{row['saved']:.2f}",
            f"{row['bytes'] / row['saved'] / 1e6:.0f}",
            f"{row['read']:.2f}",
            f"{row['within'] / 1e6:.0f} M",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main(argv: list[str] | None = None) -> None:
    """Measures, and writes the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", default="50,200,800")
    parser.add_argument("--workdir", help="a folder on the disk that is asked about")
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args(argv)
    rows = []
    for megabytes in map(int, options.megabytes.split(",")):
        folder = Path(tempfile.mkdtemp(prefix="checkpoints-", dir=options.workdir))
        try:
            rows.append(measure(megabytes, folder))
        finally:
            shutil.rmtree(folder)
        print(rows[-1], file=sys.stderr, flush=True)
    arguments = " ".join(sys.argv[1:] if argv is None else argv)
    options.out.write_text(page(rows, f"python -m benchmarks.checkpoints {arguments}"))


if __name__ == "__main__":
    main()
