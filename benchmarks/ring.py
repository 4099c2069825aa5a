"""Matrix products of each shard where a sequence is shared out to several devices.

    python -m benchmarks.ring --output benchmarks/results    # a minute

Counted in the plan of the tiles, not timed: a tile that one band holds is one product,
one that an edge cuts is one for each band in it. `zigzag` is the order of the tokens
that gives every shard the same; `in order` is what it is worth against.
"""

import argparse
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import timing
from rope_lab import position_logic
from rope_lab.attention import zigzag
from rope_lab.attention.operands import make_layout
from rope_lab.attention.tiles import make_tiles

TILE = 256  # tokens
TILES = 32  # of a shard
SHARDS = (2, 4, 8, 16)
HEADER = ["shards", "tokens", "encoding", "order", "products of a shard, mean"]
HEADER += ["max / mean", "max / mean, step by step", "all, over RoPE's"]


def logics(length: int) -> dict[str, Any]:
    """Windows and chunks are a quarter of the length."""
    quarter = length // 4
    return {
        "RoPE": position_logic("rope", head_dim=64),
        "ReRoPE": position_logic("rerope", head_dim=64, window=quarter),
        "Leaky ReRoPE": position_logic(
            "leaky_rerope", head_dim=64, window=quarter, step=16
        ),
        "Self-Extend": position_logic(
            "self_extend", head_dim=64, window=quarter, group=8
        ),
        "dual chunk": position_logic(
            "dual_chunk", head_dim=64, chunk_length=quarter, local_window=quarter // 4
        ),
        "sliding window": position_logic("rope", head_dim=64, sliding_window=quarter),
    }


def products(logic: Any, order: np.ndarray, shards: int) -> np.ndarray:
    """int[shards, steps]: what each shard computes in each step of the ring."""
    parts = jnp.asarray(order).reshape(shards, -1)

    @jax.jit
    def met(mine, theirs):
        layout = make_layout(logic, mine[None], theirs[None], None)
        return make_tiles(layout, TILE, TILE).bands_RMN.sum()

    return np.array(
        [
            [int(met(parts[d], parts[(d - step) % shards])) for step in range(shards)]
            for d in range(shards)
        ]
    )


def measure(shards: int) -> list[dict[str, Any]]:
    """One case for each encoding and order."""
    length = shards * TILES * TILE
    orders = {"in order": np.arange(length, dtype=np.int32)}
    orders["zigzag"] = zigzag(length, shards, TILE)
    cases, base = [], {}
    for name, logic in logics(length).items():
        for order, tokens in orders.items():
            counts = products(logic, tokens, shards)
            base.setdefault(order, counts.sum())
            cases.append(
                {
                    "shards": shards,
                    "tokens": length,
                    "encoding": name,
                    "order": order,
                    "mean": float(counts.sum(1).mean()),
                    "uneven": float(counts.sum(1).max() / counts.sum(1).mean()),
                    "uneven_by_step": float(counts.max(0).sum() / counts.sum(1).mean()),
                    "over_rope": float(counts.sum() / base[order]),
                }
            )
    return cases


def text(record: dict[str, Any]) -> str:
    """Markdown: one line for each case."""
    lines = [
        [
            str(case["shards"]),
            f"{case['tokens']:,}",
            case["encoding"],
            case["order"],
            f"{case['mean']:,.0f}",
            f"{case['uneven']:.3f}",
            f"{case['uneven_by_step']:.3f}",
            f"{case['over_rope']:.3f}",
        ]
        for case in record["cases"]
    ]
    return "\n\n".join(
        [
            "# Matrix products of each shard",
            timing.describe(record),
            f"{TILES} tiles of {TILE} tokens in a shard; windows and chunks are a "
            "quarter of the sequence. *Step by step* adds the most that any shard does "
            "in each step of the ring, since the next block is waited for.",
            timing.markdown(HEADER, lines),
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shards", type=int, nargs="+", default=SHARDS)
    parser.add_argument("--output", type=Path, default=Path("runs/bench"))
    options = parser.parse_args()
    record = timing.heading(1) | {"cases": []}
    for shards in options.shards:
        record["cases"] += measure(shards)
    timing.write(options.output / "ring.json", record)
    (options.output / "ring.md").write_text(text(record) + "\n")
    print(text(record) + f"\n\nwritten to {options.output}")


if __name__ == "__main__":
    main()
