"""What position logics learn, as parameters of a model.

Letters: B batch, T tokens, V vocabulary, H heads.
"""

import dataclasses

import chex
import jax
import numpy as np
import pytest
from flax import nnx

from rope_lab import generate, position_logic
from rope_lab.model import (
    ModelConfig,
    apply_model,
    build_logic,
    init_model,
    model_structure,
)
from rope_lab.model.trees import from_nested, to_nested

H, D, V = 4, 8, 11
CONFIG = ModelConfig(
    vocab_size=V, num_layers=2, width=12, ff_width=20, num_heads=H, num_kv_heads=2,
    head_dim=D,
)  # fmt: skip
TOKENS_BT = np.random.default_rng(0).integers(0, V, (2, 9)).astype(np.int32)
LOGICS = {
    "kerple_log": {},
    "kerple_power": {},
    "t5": {"num_buckets": 6, "max_distance": 9},
    "fire": {"threshold": 4},
}
every = pytest.mark.parametrize("name", LOGICS)
compiled = jax.jit(apply_model, static_argnums=0)


def logic_of(name, **changes):
    return position_logic(name, head_dim=D, num_heads=H, **(LOGICS[name] | changes))


def learned(name, seed=0):
    """The parameters of the bias alone, place -> name -> array."""
    params = init_model(CONFIG, seed, logic_of(name))[1]
    return {place: dict(leaves) for place, leaves in params["position"].items()}


@every
def test_what_a_logic_learns_stands_beside_parameters_that_stay_as_they_were(name):
    plain = to_nested(init_model(CONFIG, 3)[1])
    both = to_nested(init_model(CONFIG, 3, logic_of(name))[1])
    del both["position"]
    chex.assert_trees_all_equal(both, plain)
    rope = init_model(CONFIG, 3, position_logic("rope", head_dim=D))[1]
    chex.assert_trees_all_equal(to_nested(rope), plain)


@every
def test_the_structure_has_the_shapes_of_the_parameters(name):
    params = init_model(CONFIG, 0, logic_of(name))[1]
    shapes = model_structure(CONFIG, logic_of(name))[1]
    chex.assert_trees_all_equal_shapes_and_dtypes(shapes, params)
    again = from_nested(shapes, to_nested(params))
    chex.assert_trees_all_equal(again, params)


@pytest.mark.parametrize("name", ["kerple_log", "kerple_power"])
def test_kerple_starts_uniform_with_numbers_of_its_own_in_each_layer_and_head(name):
    sets = [learned(name, seed) for seed in range(40)]
    assert all(set(one) == {"0", "1"} for one in sets)
    a, p = (
        np.array([one[layer][leaf] for one in sets for layer in "01"])
        for leaf in ("a_H", "p_H")
    )
    for drawn, most in ((a, 1.0), (p, 2.0)):
        assert drawn.shape == (80, H) and len(np.unique(drawn)) == drawn.size
        assert drawn.min() >= 0 and drawn.max() <= most
        # The mean of 320 uniform draws is within five of its standard errors.
        assert abs(drawn.mean() / most - 0.5) < 5 * (12 * drawn.size) ** -0.5


def test_t5_has_one_normal_table_for_all_layers():
    logic = logic_of("t5", num_buckets=32, max_distance=128)
    params = init_model(CONFIG, 0, logic)[1]
    assert list(params["position"]) == ["shared"]
    table_NH = np.array(params["position"]["shared"]["table_NH"])
    assert table_NH.shape == (32, H)
    # T5's deviation is 1/sqrt(width), and its width heads times head dim.
    assert abs(table_NH.std() * (H * D) ** 0.5 - 1) < 0.3


def test_fire_starts_with_the_numbers_of_its_paper():
    for leaves in learned("fire").values():
        assert (leaves["c"], leaves["multiplier"]) == (np.float32(0.1), 1.0)
        assert np.abs(leaves["out_kernel_UH"]).max() <= 32**-0.5


@every
def test_each_layer_runs_with_the_leaves_of_its_own(name):
    logic = logic_of(name)
    graphdef, params = init_model(CONFIG, 1, logic)
    places = learned(name, 1)
    sets = [places.get(str(n), places.get("shared")) for n in range(2)]
    logics = [
        dataclasses.replace(logic, bias=dataclasses.replace(logic.bias, **leaves))
        for leaves in sets
    ]
    decoder = {k: v for k, v in params.raw_mapping.items() if k != "position"}
    by_hand = nnx.merge(graphdef, nnx.State(decoder))(TOKENS_BT, logics)
    found = compiled(graphdef, params, TOKENS_BT, logic)
    np.testing.assert_allclose(found, by_hand, atol=1e-5)


@every
def test_the_loss_has_a_slope_in_everything_learned_also_when_recomputed(name):
    logic, slopes = logic_of(name), []
    weights_BTV = np.random.default_rng(2).normal(size=(2, 9, V)).astype(np.float32)
    for remat in ("none", "full"):
        config = dataclasses.replace(CONFIG, remat=remat)
        graphdef, params = init_model(config, 1, logic)

        def loss(params, graphdef=graphdef):
            logits_BTV = apply_model(graphdef, params, TOKENS_BT, logic)
            return (logits_BTV * weights_BTV).sum()

        slopes.append(to_nested(jax.jit(jax.grad(loss))(params)["position"]))
    leaves = jax.tree.leaves(slopes[0])
    assert leaves and all(np.abs(leaf).max() > 1e-4 for leaf in leaves)
    chex.assert_trees_all_close(*slopes, rtol=1e-4, atol=1e-5)


def test_layers_that_learn_and_layers_that_do_not_make_a_pattern():
    kerple = {"name": "kerple_log", "num_heads": H}
    logic = build_logic([kerple, {"name": "rope", "sliding_window": 4}], CONFIG)
    graphdef, params = init_model(CONFIG, 0, logic)
    assert list(params["position"]) == ["0"]
    assert np.isfinite(compiled(graphdef, params, TOKENS_BT, logic)).all()


def test_a_logic_and_parameters_of_another_bias_are_refused():
    rope, kerple = position_logic("rope", head_dim=D), logic_of("kerple_log")
    cases = [
        (None, kerple, "learns {'a_H'.* in layer 0, but .* hold nothing"),
        (kerple, rope, "learns nothing in layer 0, but .* hold {'a_H'"),
        (kerple, logic_of("t5"), "table_NH"),
        (logic_of("t5"), logic_of("t5", num_buckets=8), r"\(8, 4\).*\(6, 4\)"),
    ]
    for trained, asked, message in cases:
        graphdef, params = init_model(CONFIG, 0, trained)
        with pytest.raises(ValueError, match=message):
            apply_model(graphdef, params, TOKENS_BT, asked)
        with pytest.raises(ValueError, match=message):
            generate(graphdef, params, TOKENS_BT, asked, 2)


@pytest.mark.parametrize("name", ["kerple_log", "t5"])
def test_generated_text_is_the_argmax_of_full_passes(name):
    logic = logic_of(name)
    graphdef, params = init_model(CONFIG, 5, logic)
    rng = np.random.default_rng(1)
    params = jax.tree.map(
        lambda x: x + 0.5 * np.float32(rng.normal(size=x.shape)), params
    )
    found = generate(graphdef, params, TOKENS_BT, logic, 8).tokens
    text = np.concatenate([TOKENS_BT, found], axis=1)
    logits = compiled(graphdef, params, text, logic)
    np.testing.assert_array_equal(np.argmax(logits, -1)[:, 8:-1], found)
