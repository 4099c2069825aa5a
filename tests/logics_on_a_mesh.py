"""First gradients of every kind of logic, on eight devices and on one.

Run as a script, with the path of a JSON file to write: case -> parameter -> how far the
two are apart, relative to the norm; and "collectives" -> what eight devices exchange
when they share nothing but the batch.
"""

import dataclasses
import json
import re
import sys
from pathlib import Path

import jax
import numpy as np
from jax.sharding import NamedSharding
from many_devices import BATCH, CONFIG, GAU, LLAMA, first_gradients, long_batch

from rope_lab import attention
from rope_lab.model import build_logic, init_model, model_structure
from rope_lab.model.sharding import spec
from rope_lab.training import MeshConfig, init_state, make_mesh, make_optimizer
from rope_lab.training.sharding import shardings_of
from rope_lab.training.step import make_update

LENGTH, HEADS = 24, LLAMA.num_heads
WINDOW = {"name": "rope", "sliding_window": 5}
ALL = {"data": 2, "fsdp": 2, "tensor": 2}
TWO = {"data": 4, "fsdp": 2}
PARTS = {"data": 2, "context": 4}
SHARED = {"data": 2, "tensor": 2, "context": 2}
MICRO = dataclasses.replace(CONFIG, accumulation_steps=2)
UNTIED = dataclasses.replace(
    LLAMA, tied_embeddings=False, biases=True, vocab_size=13, remat="dots"
)
GROUPED = dataclasses.replace(LLAMA, num_kv_heads=2, remat="full")
EXCHANGED = dataclasses.replace(LLAMA, context_exchange="heads")
TILED = (
    "kerple_log",
    "rerope",
)  # all others dense, which compiles sooner


def per_head(name, **options):
    return {"name": name, "num_heads": HEADS, **options}


# case -> model, logic, mesh, training
CASES = {
    "kerple_log": (LLAMA, per_head("kerple_log"), ALL, CONFIG),
    "t5": (LLAMA, per_head("t5"), ALL, CONFIG),
    "fire": (LLAMA, per_head("fire", hidden=8, threshold=8), ALL, CONFIG),
    "alibi": (LLAMA, per_head("alibi"), ALL, CONFIG),
    "xpos": (LLAMA, {"name": "xpos"}, ALL, CONFIG),
    "randomized": (LLAMA, {"name": "randomized", "draw_from": 64}, ALL, CONFIG),
    "rerope": (LLAMA, {"name": "rerope", "window": 7}, ALL, CONFIG),
    "pattern": (GROUPED, [WINDOW, {"name": "nope"}], ALL, CONFIG),
    "gau": (GAU, {"name": "rope"}, TWO, CONFIG),
    "microbatches": (LLAMA, {"name": "rope"}, {"data": 2, "tensor": 4}, MICRO),
    "untied": (UNTIED, {"name": "rope"}, ALL, CONFIG),
    # Where devices share a sequence, always tiled.
    "context": (LLAMA, {"name": "rerope", "window": 7}, PARTS, CONFIG),
    "context kerple_log": (LLAMA, per_head("kerple_log"), SHARED, CONFIG),
    "context randomized": (
        LLAMA,
        {"name": "randomized", "draw_from": 64},
        SHARED,
        MICRO,
    ),
    "context gau": (GAU, [WINDOW, {"name": "nope"}], PARTS, CONFIG),
    "context heads": (EXCHANGED, {"name": "rope"}, SHARED, CONFIG),
}


def main(path: str) -> None:
    found, whole_matrix = {}, attention.TILED_FROM
    for case, (model, logic, axes, config) in CASES.items():
        attention.TILED_FROM = 0 if case in TILED else whole_matrix
        mesh = make_mesh(MeshConfig(**axes))
        one, many = (
            first_gradients(where, model, logic, config, LENGTH)
            for where in (None, mesh)
        )
        one, many = by_tensor(one), by_tensor(many)
        assert one.keys() == many.keys()
        largest = max(float(np.linalg.norm(x)) for x in one.values())
        found[case] = {
            name: apart(many[name], one[name], 1e-6 * largest) for name in one
        }
    found["collectives"] = collectives(make_mesh(MeshConfig(data=8)))
    Path(path).write_text(json.dumps(found))


def by_tensor(gradients: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The parameters of the model as they are, those of one layer's logic as one.

    Each of a logic's few numbers shifts all logits at once, and softmax has it that the
    gradients of a row of logits sum to zero: what is left of a sum over all pairs can
    be a thousandth of its terms or, where a unit of FIRE's first layer is on for every
    key, nothing at all. So rounding is measured beside the logic's whole gradient.
    """
    joined: dict[str, list[np.ndarray]] = {}
    for name, gradient in gradients.items():
        layer = re.match(r"\['position'\]\['\d+'\]", name)
        joined.setdefault(layer.group() if layer else name, []).append(gradient.ravel())
    return {name: np.concatenate(parts) for name, parts in joined.items()}


def apart(found: np.ndarray, expected: np.ndarray, least: float) -> float:
    """Norm of the difference over the norm, or over `least` where that is more."""
    off = float(np.linalg.norm(found - expected))
    return off / max(float(np.linalg.norm(expected)), least)


def collectives(mesh) -> list[str]:
    """Kinds of exchange in the compiled step."""
    logic, optimizer = build_logic({"name": "rope"}, LLAMA), make_optimizer(CONFIG)
    update = make_update(model_structure(LLAMA)[0], optimizer, CONFIG)
    state = jax.eval_shape(lambda: init_state(init_model(LLAMA)[1], optimizer, CONFIG))
    sharding = NamedSharding(mesh, spec("batch", "tokens"))

    def placed(x, where):
        return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=where)

    arguments = (
        jax.tree.map(placed, state, shardings_of(state, mesh)),
        {name: placed(x, sharding) for name, x in long_batch(LENGTH).items()},
    )
    assert arguments[1]["inputs"].shape[0] == BATCH
    with jax.set_mesh(mesh):
        program = jax.jit(lambda s, b: update(s, b, logic)).lower(*arguments).compile()
    kinds = "all-gather|all-reduce|reduce-scatter|all-to-all|collective-permute"
    return sorted(set(re.findall(rf"({kinds})(?:-start)?\(", program.as_text())))


if __name__ == "__main__":
    main(sys.argv[1])
