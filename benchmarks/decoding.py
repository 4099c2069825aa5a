"""One new token against a long cache: every logic through ours, and the seed's way.

    python -m benchmarks.decoding --output benchmarks/results       # about ten minutes

8 heads, head dim 64, float32, one sequence. Ours keeps keys as their bands see them
and turns none again. The seed's code keeps them raw and turns every one at every token:
with trigonometry, or with tables of cosines and sines. All of them write the new key
and value into the cache, whose memory is given away and reused.

Below, a token of a small model: what `rope_lab.generate` does at each step.
"""

import argparse
import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks import decoder_step, peers, timing
from benchmarks.programs import carrying
from benchmarks.targets import Target, table
from rope_lab import position_logic, rotary
from rope_lab.attention.cache import Cache, extend, init_cache

HEADS, HEAD_DIM, WINDOW = 8, 64, 1024
LENGTHS = (4096, 32768, 131072)
ROPE, REROPE = "RoPE, ours", "ReRoPE, ours"
SEED_TRIGONOMETRY = "ReRoPE, the seed's way, trigonometry"
SEED_TABLE = "ReRoPE, the seed's way, tables"


def logics(window: int, head_dim: int = HEAD_DIM) -> dict[str, Any]:
    """Row -> logic."""
    chunk = {"chunk_length": window, "local_window": max(1, window // 4)}
    options = {
        ROPE: ("rope", {}),
        REROPE: ("rerope", {"window": window}),
        "Leaky ReRoPE, ours": ("leaky_rerope", {"window": window, "step": 16}),
        "Self-Extend, ours": ("self_extend", {"window": window, "group": 8}),
        "dual chunk, ours": ("dual_chunk", chunk),
    }
    return {
        label: position_logic(name, head_dim=head_dim, **own)
        for label, (name, own) in options.items()
    }


def make_arrays(length: int, heads: int = HEADS, head_dim: int = HEAD_DIM):
    """q of the last token [1, 1, H, D]; k and v of all tokens [1, S, H, D]."""
    keys = jax.random.split(jax.random.key(0), 3)
    shapes = [(1, 1, heads, head_dim), *[(1, length, heads, head_dim)] * 2]
    return [jax.random.normal(k, shape) for k, shape in zip(keys, shapes, strict=True)]


def ours(logic, q, k, v) -> tuple[Callable, int]:
    """The call for the last token, and the bytes of its cache."""
    length, heads, head_dim = k.shape[1:]

    @jax.jit
    def prefill(k, v):
        cache = init_cache(logic, 1, length, heads, head_dim)
        queries = jnp.zeros_like(k)  # what they attend to is not looked at, nor made
        return extend(cache, logic, queries, k, v, fresh=True)[1]

    def step(cache: Cache, q, k, v):
        out, longer = extend(cache, logic, q, k, v)
        # The next call is for the same token again.
        return out, dataclasses.replace(longer, lengths_R=cache.lengths_R)

    cache = prefill(k[:, :-1], v[:, :-1])
    return carrying(step, cache, q, k[:, -1:], v[:, -1:]), cache.nbytes


def seeds_way(table: bool, window: int, q, k, v) -> tuple[Callable, int]:
    """Raw keys, all of them turned at every token, in two score rows."""
    length, head_dim = k.shape[1], k.shape[-1]
    raw_k, raw_v = (x.transpose(0, 2, 1, 3) for x in (k, v))
    cos, sin = map(jnp.asarray, peers.tables(length, head_dim))
    frequencies = jnp.concatenate([rotary.rope(head_dim).angular] * 2)

    def turned(x_BHSD, cos, sin):
        first, second = jnp.split(x_BHSD, 2, axis=-1)
        other = jnp.concatenate([-second, first], axis=-1)
        return x_BHSD * cos[None, None] + other * sin[None, None]

    def step(cache, q, new_k, new_v, positions, tables):
        keys, values = cache
        place = (0, 0, positions[-1], 0)
        keys = jax.lax.dynamic_update_slice(keys, new_k.swapaxes(1, 2), place)
        values = jax.lax.dynamic_update_slice(values, new_v.swapaxes(1, 2), place)
        cos, sin = tables if table else _trigonometry(positions, frequencies)
        q = q.swapaxes(1, 2)
        near = _scores(turned(q, cos[-1:], sin[-1:]), turned(keys, cos, sin))
        far = _scores(turned(q, cos[window][None], sin[window][None]), keys)
        distance = (positions[-1] - positions)[None, None, None]
        scores = jnp.where(distance < window, near, far) / head_dim**0.5
        out = jnp.einsum("bhts,bhsd->bthd", jax.nn.softmax(scores), values)
        return out, (keys, values)

    cache = raw_k, raw_v
    rest = q, k[:, -1:], v[:, -1:], jnp.arange(length), (cos, sin)
    return carrying(step, cache, *rest), raw_k.nbytes + raw_v.nbytes


def _trigonometry(positions, frequencies):
    angles = positions[:, None].astype(jnp.float32) * frequencies[None]
    return jnp.cos(angles), jnp.sin(angles)


_scores = functools.partial(jnp.einsum, "bhtd,bhsd->bhts")


def measure(length: int, rounds: int, window: int = WINDOW) -> dict[str, Any]:
    """{"length", "rows": {label: {"ms", "cache_bytes"}}} of one cache length."""
    arrays = make_arrays(length)
    made = {label: ours(x, *arrays) for label, x in logics(window).items()}
    made[SEED_TABLE] = seeds_way(True, window, *arrays)
    made[SEED_TRIGONOMETRY] = seeds_way(False, window, *arrays)
    taken = timing.interleaved(
        {label: call for label, (call, _) in made.items()}, rounds
    )
    found = {
        label: timing.summary(taken[label]) | {"cache_bytes": made[label][1]}
        for label in made
    }
    return {"length": length, "rows": found}


def _ratio(label: str, other: str, key: str) -> Callable[[dict], float | None]:
    """Of two rows at 32768 keys."""

    def measured(record: dict) -> float | None:
        for case in record["cases"]:
            if case["length"] == 32768:
                return case["rows"][label][key] / case["rows"][other][key]
        return None

    return measured


TARGETS = (
    Target(
        "one token, 32768 keys: ReRoPE / RoPE",
        _ratio(REROPE, ROPE, "ms"),
        at_most=1.05,
    ),
    Target(
        "cache bytes, 32768 keys: ReRoPE / RoPE; at most 1 + w/(2S)",
        _ratio(REROPE, ROPE, "cache_bytes"),
        at_most=1 + WINDOW / (2 * 32768),
    ),
    Target(
        "one token, 32768 keys: the seed's way with tables / ReRoPE",
        _ratio(SEED_TABLE, REROPE, "ms"),
        at_least=3,
    ),
)


def text(record: dict[str, Any]) -> str:
    """Markdown: targets, milliseconds a token, bytes of the cache."""
    cases = record["cases"]
    heads = [f"S={case['length']}" for case in cases]

    def grid(key: str, unit: float) -> str:
        lines = []
        for label in cases[0]["rows"]:
            cells = [label]
            for case in cases:
                value, base = (case["rows"][x][key] for x in (label, ROPE))
                cells.append(f"{value / unit:.2f} ({value / base:.3f})")
            lines.append(cells)
        return timing.markdown(["", *heads], lines)

    return "\n\n".join(
        [
            "# Decoding one token, measured",
            timing.describe(record),
            f"One sequence, {HEADS} heads, head dim {HEAD_DIM}, float32, windows and "
            f"chunks of {WINDOW} tokens; in brackets the ratio to RoPE.",
            table(TARGETS, record),
            "## Milliseconds a token against S keys",
            grid("ms", 1.0),
            "## Cache of one layer, MiB",
            grid("cache_bytes", 2**20),
            decoder_step.text(record["model"]) + "\n",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--lengths", type=int, nargs="+", default=LENGTHS)
    parser.add_argument("--rounds", type=int, default=31)
    parser.add_argument("--threads", type=int, default=1, help="cores to be bound to")
    parser.add_argument("--output", type=Path, default=Path("runs/bench"))
    options = parser.parse_args()
    timing.pin(options.threads)
    record = timing.heading(options.threads) | {"rounds": options.rounds, "cases": []}
    for length in options.lengths:
        record["cases"].append(measure(length, options.rounds))
        print(f"S={length}: done", flush=True)
    record["model"] = [
        decoder_step.measure(length, options.rounds)
        for length in options.lengths
        if length <= decoder_step.LONGEST
    ]
    timing.write(options.output / "decoding.json", record)
    (options.output / "decoding.md").write_text(text(record))
    print(text(record) + f"written to {options.output}")


if __name__ == "__main__":
    main()
