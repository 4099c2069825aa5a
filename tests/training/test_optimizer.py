import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import tiny_run

from rope_lab.model import init_model
from rope_lab.model.trees import named_leaves
from rope_lab.training import TrainingConfig, make_optimizer, make_schedule
from rope_lab.training.optimizer import is_decayed


@pytest.mark.parametrize("shape", ["cosine", "linear", "constant"])
def test_the_rate_rises_to_the_peak_and_ends_at_its_fraction(shape):
    config = TrainingConfig(
        num_steps=21,
        learning_rate=0.5,
        warmup_steps=4,
        schedule=shape,
        final_learning_rate_fraction=0.2,
    )
    rates = [float(make_schedule(config)(n)) for n in range(21)]
    np.testing.assert_allclose(rates[:5], [0.125, 0.25, 0.375, 0.5, 0.5], rtol=1e-6)
    middle, last = {
        "cosine": (0.1 + 0.4 * (1 + math.cos(math.pi / 2)) / 2, 0.1),
        "linear": (0.3, 0.1),
        "constant": (0.5, 0.5),
    }[shape]
    np.testing.assert_allclose([rates[12], rates[20]], [middle, last], rtol=1e-5)
    assert all(a >= b for a, b in zip(rates[4:], rates[5:], strict=False))


def test_only_matrices_shrink_when_there_is_no_gradient():
    config = dataclasses.replace(tiny_run.CONFIG, warmup_steps=0, weight_decay=0.5)
    params = tiny_run.stand_in_parameters()
    optimizer = make_optimizer(config)
    zeros = jax.tree.map(jnp.zeros_like, params)
    updates, _ = jax.jit(optimizer.update)(zeros, optimizer.init(params), params)
    after = optax.apply_updates(params, updates)
    for names, leaf in named_leaves(after).items():
        before = named_leaves(params)[names]
        keep = 1 - 0.05 * 0.5 if names[-1] in ("kernel", "embedding") else 1.0
        np.testing.assert_allclose(leaf, keep * before, rtol=1e-6)


def test_every_parameter_of_the_decoder_is_known():
    model = dataclasses.replace(
        tiny_run.MODEL, biases=True, qk_norm="rms", tied_embeddings=False
    )
    params = jax.eval_shape(lambda: init_model(model, 0)[1])
    paths = [path for path, _ in jax.tree_util.tree_flatten_with_path(params)[0]]
    decayed = sum(is_decayed(path) for path in paths)
    # embed, unembed; query, key, value, out; gate, up, down
    assert decayed == 9 and len(paths) > 9


def test_a_parameter_of_unknown_name_is_refused():
    optimizer = make_optimizer(tiny_run.CONFIG)
    params = {"layer": {"slope": jnp.ones(3)}}
    with pytest.raises(ValueError, match="layer.slope"):
        jax.eval_shape(optimizer.update, params, optimizer.init(params), params)


def test_a_large_gradient_is_scaled_to_the_largest_norm():
    params = {"kernel": jnp.zeros((2, 2))}
    gradient = {"kernel": jnp.asarray([[300.0, 0.0], [0.0, 400.0]])}
    optimizer = make_optimizer(tiny_run.CONFIG)
    _, state = jax.jit(optimizer.update)(gradient, optimizer.init(params), params)
    mean = optax.tree.get(state, "mu")["kernel"] / (1 - tiny_run.CONFIG.b1)
    np.testing.assert_allclose(mean, [[0.6, 0.0], [0.0, 0.8]], rtol=1e-5)


# Tiger, kexue.fm 9512.


def one_tiger_step(parameter, momentum, gradient, kind, rate):
    """The published step on one matrix, row of an embedding, or vector, float64."""
    momentum = 0.965 * momentum + 0.035 * gradient
    if kind == "vector":
        return parameter - 0.5 * rate * np.sign(momentum), momentum
    size = np.sqrt(np.mean(parameter**2))
    moved = np.sign(momentum) + 0.01 * parameter
    return parameter - rate * size * moved, momentum


def test_tiger_moves_every_matrix_row_and_vector_as_published():
    config = TrainingConfig(
        num_steps=4,
        learning_rate=0.1,
        optimizer="tiger",
        schedule="constant",
        clip_norm=None,
    )
    params = tiny_run.stand_in_parameters(width=5)
    optimizer = make_optimizer(config)
    state, update = optimizer.init(params), jax.jit(optimizer.update)
    rng = np.random.default_rng(1)
    kinds = {"kernel": "matrix", "embedding": "row", "scale": "vector"}
    expected = {k: np.asarray(v, float) for k, v in named_leaves(params).items()}
    momentum = {k: np.zeros_like(v) for k, v in expected.items()}
    for _ in range(3):
        gradients = jax.tree.map(lambda x: rng.normal(size=x.shape), params)
        updates, state = update(gradients, state, params)
        params = optax.apply_updates(params, updates)
        for name, gradient in named_leaves(gradients).items():
            kind = kinds.get(name[-1], "vector")
            for one in range(len(expected[name])):  # a layer, or a row
                expected[name][one], momentum[name][one] = one_tiger_step(
                    expected[name][one], momentum[name][one], gradient[one], kind, 0.1
                )
    for name, leaf in named_leaves(params).items():
        np.testing.assert_allclose(leaf, expected[name], rtol=2e-5, atol=1e-6)


def test_the_state_of_tiger_is_one_momentum_and_that_of_adam_two():
    params = tiny_run.stand_in_parameters()
    count = sum(leaf.size for leaf in jax.tree.leaves(params))
    for optimizer, copies in [("tiger", 1), ("adamw", 2)]:
        config = TrainingConfig(num_steps=2, learning_rate=0.1, optimizer=optimizer)
        leaves = jax.tree.leaves(make_optimizer(config).init(params))
        held = sum(leaf.size for leaf in leaves if leaf.dtype == jnp.float32)
        assert held == copies * count


def test_tiger_knows_every_parameter_of_the_gated_attention_unit():
    model = dataclasses.replace(
        tiny_run.MODEL, block="gau", num_heads=1, qk_norm="rms", tied_embeddings=False
    )
    params = jax.eval_shape(lambda: init_model(model, 0)[1])
    paths = [path for path, _ in jax.tree_util.tree_flatten_with_path(params)[0]]
    # embed, unembed; inputs, out; two gains and two norms of queries and keys
    assert sum(is_decayed(path) for path in paths) == 4 and len(paths) == 8
