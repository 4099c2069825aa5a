"""Training tokens per second: our decoder beside Hugging Face's Llama in PyTorch.

    python -m benchmarks.training --output benchmarks/results       # about ten minutes

The same model (Llama, tied embeddings, float32), the same batch, AdamW with clipping on
both sides; every part is timed interleaved with every other. Three nested programs say
where the time goes: forward (the loss), forward+backward (its gradients), and the whole
step. Attention is timed alone besides, one layer times the layers. PyTorch is not
compiled (`torch.compile` needs a C++ compiler). Its rows need the extra `hf`.
"""

import argparse
import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import timing
from benchmarks.peers_training import hugging_face, make_llama
from benchmarks.programs import compiled, with_gradients
from benchmarks.targets import Target, table
from rope_lab import attend
from rope_lab.model import ModelConfig, apply_model, build_logic, init_model
from rope_lab.training.config import TrainingConfig
from rope_lab.training.losses import cross_entropy
from rope_lab.training.optimizer import make_optimizer
from rope_lab.training.state import init_state
from rope_lab.training.step import make_train_step

MODEL = ModelConfig(
    vocab_size=1024,
    num_layers=4,
    width=256,
    ff_width=688,
    num_heads=8,
    num_kv_heads=8,
    head_dim=32,
)
TRAINING = TrainingConfig(num_steps=1000, learning_rate=1e-3, schedule="constant")
BATCH, LENGTHS = 4, (512, 1024)
PARTS = ("forward", "forward+backward", "step", "attention")
OURS = "ours, RoPE"
PEERS = {"Hugging Face, eager": "eager", "Hugging Face, sdpa": "sdpa"}


def make_batch(length: int, config: ModelConfig = MODEL) -> dict[str, np.ndarray]:
    """Random tokens, every one of them with a target."""
    tokens = np.random.default_rng(0).integers(
        config.vocab_size, size=(BATCH, length + 1), dtype=np.int32
    )
    return {
        "inputs": tokens[:, :-1],
        "targets": tokens[:, 1:],
        "positions": np.tile(np.arange(length, dtype=np.int32), (BATCH, 1)),
        "segment_ids": np.ones((BATCH, length), np.int32),
        "weights": np.ones((BATCH, length), np.float32),
    }


def ours(spec: dict[str, Any], batch: dict, config: ModelConfig = MODEL) -> dict:
    """Calls by part: as the training loop runs them, positions and segments given."""
    graphdef, params = init_model(config, seed=0)
    logic = build_logic(spec, config)
    batch = jax.tree.map(jnp.asarray, batch)
    placed = {name: batch[name] for name in ("positions", "segment_ids")}

    def loss(params):
        logits = apply_model(graphdef, params, batch["inputs"], logic, **placed)
        return cross_entropy(logits, batch["targets"], batch["weights"])[0]

    optimizer = make_optimizer(TRAINING)
    step = make_train_step(graphdef, optimizer, TRAINING)
    states = [init_state(params, optimizer, TRAINING)]

    def update():
        state, metrics = step(states.pop(), batch, logic)
        states.append(state)
        return jax.block_until_ready(metrics["loss"])

    return {
        "forward": compiled(loss, params).call,
        "forward+backward": compiled(jax.value_and_grad(loss), params).call,
        "step": update,
    }


def attention_alone(spec: dict, batch: dict, config: ModelConfig = MODEL) -> Callable:
    """Forward and backward of one layer's attention, as `ours` runs it."""
    logic = build_logic(spec, config)
    placed = {name: jnp.asarray(batch[name]) for name in ("positions", "segment_ids")}
    keys = jax.random.split(jax.random.key(0), 4)
    shape = (*placed["positions"].shape, config.num_heads, config.head_dim)
    arrays = [jax.random.normal(key, shape) for key in keys]

    def attention(q, k, v):
        return attend(
            q,
            k,
            v,
            logic,
            query_positions=placed["positions"],
            key_positions=placed["positions"],
            segment_ids=placed["segment_ids"],
        )

    return compiled(with_gradients(attention), *arrays).call


def candidates(length: int, config: ModelConfig = MODEL) -> dict[str, dict]:
    """Row -> part -> call, over one batch."""
    batch = make_batch(length, config)
    specs = {
        OURS: {"name": "rope"},
        "ours, ReRoPE": {"name": "rerope", "window": length // 4},
    }
    found = {
        label: ours(spec, batch, config)
        | {"attention": attention_alone(spec, batch, config)}
        for label, spec in specs.items()
    }
    if timing.has_torch():
        for label, attention in PEERS.items():
            model = make_llama(config, length, attention)
            found[label] = hugging_face(model, TRAINING, batch)
    return found


def measure(length: int, rounds: int, config: ModelConfig = MODEL) -> dict[str, Any]:
    """{"length", "rows": {label: milliseconds by part, "tokens_per_second"}}."""
    calls = {
        (label, part): call
        for label, parts in candidates(length, config).items()
        for part, call in parts.items()
    }
    taken = timing.interleaved(calls, rounds)
    found: dict[str, dict] = {}
    for (label, part), each in taken.items():
        found.setdefault(label, {})[part] = timing.summary(each)["ms"]
    for row in found.values():
        row["tokens_per_second"] = 1e3 * BATCH * length / row["step"]
    return {"length": length, "rows": found}


def text(record: dict[str, Any]) -> str:
    """Markdown: the target, tokens per second, and where the time of a step goes."""
    parts = [
        "# Training, measured",
        timing.describe(record),
        f"{MODEL.num_layers} layers, width {MODEL.width}, {MODEL.num_heads} heads, "
        f"feed-forward {MODEL.ff_width}, vocabulary {MODEL.vocab_size}, float32, batch "
        f"{BATCH}, AdamW, gradients clipped. Milliseconds; attention is that of all "
        "layers, timed alone, forward and backward; the rest is what forward+backward "
        "leaves beside it (projections, norms, loss).",
        table(TARGETS, record),
    ]
    heads = ["", "tokens/s", "ours over it", *PARTS[:3]]
    heads += ["of which attention", "the rest", "optimizer"]
    for case in record["cases"]:
        lines = [_line(label, case) for label in case["rows"]]
        parts += [f"## T={case['length']}", timing.markdown(heads, lines)]
    return "\n\n".join(parts) + "\n"


def _line(label: str, case: dict[str, Any]) -> list[str]:
    row = case["rows"][label]
    attention = MODEL.num_layers * row["attention"]
    numbers = [row[part] for part in PARTS[:3]] + [
        attention,
        row["forward+backward"] - attention,
        row["step"] - row["forward+backward"],
    ]
    over = case["rows"][OURS]["tokens_per_second"] / row["tokens_per_second"]
    shown = [f"{value:.1f}" for value in numbers]
    return [label, f"{row['tokens_per_second']:.0f}", f"{over:.2f}", *shown]


def _speedup(peer: str) -> Callable[[dict], float | None]:
    """Our tokens per second over theirs, at the length where we are worst."""

    def measured(record: dict) -> float | None:
        found = [
            case["rows"][peer]["step"] / case["rows"][OURS]["step"]
            for case in record["cases"]
            if peer in case["rows"]
        ]
        return min(found) if found else None

    return measured


TARGETS = tuple(
    Target(f"tokens/s, ours / {peer}", _speedup(peer), at_least=1.5) for peer in PEERS
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--lengths", type=int, nargs="+", default=LENGTHS)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1, help="cores to be bound to")
    parser.add_argument("--output", type=Path, default=Path("runs/bench"))
    options = parser.parse_args()
    timing.pin(options.threads)
    record = timing.heading(options.threads) | {"rounds": options.rounds}
    record |= {"model": dataclasses.asdict(MODEL), "cases": []}
    for length in options.lengths:
        record["cases"].append(measure(length, options.rounds))
        print(f"T={length}: done", flush=True)
    timing.write(options.output / "training.json", record)
    (options.output / "training.md").write_text(text(record))
    print(text(record) + f"written to {options.output}")


if __name__ == "__main__":
    main()
