"""A token of a small decoder against long caches, as `rope_lab.generate` steps.

The next token is the likeliest one. What stands in the caches is noise: the time of a
step does not depend on it, and reading a prompt of that length would take minutes.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from benchmarks import timing
from benchmarks.programs import carrying
from rope_lab.model import ModelConfig, build_logic, init_model
from rope_lab.model.decoder import init_caches, unstacked

MODEL = ModelConfig(
    vocab_size=1024,
    num_layers=4,
    width=256,
    ff_width=688,
    num_heads=8,
    num_kv_heads=8,
    head_dim=32,
)
LONGEST = 32768  # keys
SPECS = {
    "RoPE": {"name": "rope"},
    "ReRoPE": {"name": "rerope", "window": 1024},
    "Leaky ReRoPE": {"name": "leaky_rerope", "window": 1024, "step": 16},
}


def token_step(
    spec: dict[str, Any], length: int, config: ModelConfig = MODEL
) -> Callable[[], jax.Array]:
    """The call that makes the token behind length - 1 others, again and again."""
    graphdef, params = init_model(config, seed=0)
    logic = build_logic(spec, config)

    def noise(cache):
        key = jax.random.key(0)
        return dataclasses.replace(
            cache,
            keys=tuple(jax.random.normal(key, x.shape, x.dtype) for x in cache.keys),
            values=jax.random.normal(key, cache.values.shape, cache.values.dtype),
            lengths_R=jnp.full_like(cache.lengths_R, length - 1),
        )

    def step(caches, params, layers, token_B1):
        model = nnx.merge(graphdef, params)
        logits_BV, longer = model.extend(token_B1, logic, caches, layers=layers)
        again = [
            dataclasses.replace(new, lengths_R=old.lengths_R)
            for new, old in zip(longer, caches, strict=True)
        ]
        return logits_BV.argmax(-1), tuple(again)

    caches = tuple(map(noise, init_caches(config, logic, 1, length)))
    layers = unstacked(params["layers"])
    return carrying(step, caches, params, layers, jnp.zeros((1, 1), jnp.int32))


def measure(length: int, rounds: int) -> dict[str, Any]:
    """{"length", "rows": {label: {"ms"}}} of one cache length."""
    calls = {label: token_step(spec, length) for label, spec in SPECS.items()}
    taken = timing.interleaved(calls, rounds)
    rows = {label: timing.summary(each) for label, each in taken.items()}
    return {"length": length, "rows": rows}


def text(cases: list[dict[str, Any]]) -> str:
    """Markdown: milliseconds of a token, and in brackets the ratio to RoPE."""
    lines = []
    for label in SPECS:
        cells = [label]
        for case in cases:
            value, base = (case["rows"][x]["ms"] for x in (label, "RoPE"))
            cells.append(f"{value:.2f} ({value / base:.3f})")
        lines.append(cells)
    return "\n\n".join(
        [
            "## Milliseconds a token of a small model",
            f"{MODEL.num_layers} layers, width {MODEL.width}, {MODEL.num_heads} heads "
            f"of {MODEL.head_dim}, vocabulary {MODEL.vocab_size}, greedy.",
            timing.markdown(["", *(f"S={case['length']}" for case in cases)], lines),
        ]
    )
