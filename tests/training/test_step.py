import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_run

from rope_lab.logic import position_logic
from rope_lab.logic.draws import training_positions
from rope_lab.model import init_model
from rope_lab.training import init_state, make_optimizer, make_train_step


def one_update(config, state=None, logic=None, n=0):
    state = state or tiny_run.fresh_state(config)
    step = tiny_run.step_function(config)
    return step(state, tiny_run.batch(n), logic or tiny_run.logic())


def test_microbatches_give_the_update_of_the_whole_batch():
    config = tiny_run.CONFIG
    assert config.z_loss > 0
    parts = dataclasses.replace(config, accumulation_steps=2)
    halves = tiny_run.batch(0)["weights"].reshape(2, -1).sum(axis=1)
    assert halves[0] != halves[1]  # equal ones would hide a wrong normaliser
    whole, whole_metrics = one_update(config)
    split, split_metrics = one_update(parts)
    chex.assert_trees_all_close(split_metrics, whole_metrics, rtol=1e-5)
    chex.assert_trees_all_close(split.params, whole.params, rtol=1e-4, atol=1e-6)


def test_a_batch_that_does_not_divide_into_microbatches_is_refused():
    config = dataclasses.replace(tiny_run.CONFIG, accumulation_steps=3)
    with pytest.raises(ValueError, match="4 sequences .* accumulation_steps = 3"):
        one_update(config)


def test_an_update_counts_and_averages_the_parameters():
    before = tiny_run.fresh_state()
    old = jax.tree.map(np.array, before.params)
    after, _ = one_update(tiny_run.CONFIG, before)
    assert int(after.step) == 1
    expected = jax.tree.map(lambda a, b: 0.9 * a + 0.1 * b, old, after.params)
    chex.assert_trees_all_close(after.ema, expected, rtol=1e-5)


def test_the_state_handed_in_is_given_away_but_not_the_parameters_it_came_from():
    params = tiny_run.stand_in_parameters()
    optimizer = make_optimizer(tiny_run.CONFIG)
    state = init_state(params, optimizer, tiny_run.CONFIG)
    one_update(tiny_run.CONFIG, state)
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(state.params))
    assert not any(leaf.is_deleted() for leaf in jax.tree.leaves(params))


def test_encodings_that_differ_in_frequencies_share_one_program():
    traces = []

    def apply(*args, **options):
        traces.append(1)
        return tiny_run.apply_stand_in(*args, **options)

    config = tiny_run.CONFIG
    step = make_train_step(None, make_optimizer(config), config, apply)
    losses = []
    for base in (10.0, 10_000.0):
        logic = position_logic("rope", head_dim=4, base=base)
        _, metrics = step(tiny_run.fresh_state(), tiny_run.batch(0), logic)
        losses.append(float(metrics["loss"]))
    assert len(traces) == 1
    assert losses[0] != losses[1]


def apply_attention(graphdef, params, tokens_BT, logic, positions, segment_ids):
    """One head that attends with the embedding itself as query, key and value."""
    x_BTE = params["embedding"][tokens_BT]
    x_BTHD = x_BTE[:, :, None]
    probabilities_BHTS = jax.nn.softmax(logic(x_BTHD, x_BTHD, positions, positions))
    y_BTE = jnp.einsum("BHTS,BSE->BTE", probabilities_BHTS, x_BTE)
    return jnp.einsum("BTE,VE->BTV", y_BTE, params["embedding"])


def test_a_plain_callable_trains_as_the_logic_it_copies():
    rope = tiny_run.logic()

    def mine(q_BTHD, k_BSKD, query_positions, key_positions):
        return rope(q_BTHD, k_BSKD, query_positions, key_positions)

    config = tiny_run.CONFIG
    optimizer = make_optimizer(config)
    step = make_train_step(None, optimizer, config, apply_attention)
    params = {"embedding": tiny_run.stand_in_parameters()["embed"]["embedding"][:, :4]}
    results = [
        step(init_state(params, optimizer, config), tiny_run.batch(0), logic)
        for logic in (rope, mine)
    ]
    chex.assert_trees_all_close(results[0][1], results[1][1], rtol=1e-5)
    chex.assert_trees_all_close(results[0][0].params, results[1][0].params, rtol=1e-4)


POSITION_OPTIONS = {
    "kerple_log": {"num_heads": 2},
    "t5": {"num_heads": 2, "num_buckets": 6, "max_distance": 9},
    "fire": {"num_heads": 2, "hidden": 4, "threshold": 4},
    "xpos": {"scale_base": 16},
    "randomized": {"draw_from": 32},
    "leaky_rerope": {"window": 3, "step": 1 / 16},  # inverse Leaky ReRoPE
    "p_rope": {"train_length": 30},  # HoPE
}


@pytest.mark.parametrize("name", POSITION_OPTIONS)
def test_models_train_from_the_start_under_encodings_that_need_it(name):
    logic = position_logic(name, head_dim=4, **POSITION_OPTIONS[name])
    config = dataclasses.replace(tiny_run.CONFIG, num_steps=12, warmup_steps=0)
    graphdef, params = init_model(tiny_run.MODEL, 0, logic)
    optimizer = make_optimizer(config)
    step, state = make_train_step(graphdef, optimizer, config), None
    state = init_state(params, optimizer, config)
    losses = []
    for _ in range(config.num_steps):
        state, metrics = step(state, tiny_run.batch(0), logic)
        losses.append(float(metrics["loss"]))
    assert losses[-1] < 0.7 * losses[0]
    for before, after in zip(
        *(jax.tree.leaves(x.get("position", {})) for x in (params, state.params)),
        strict=True,
    ):
        assert np.any(before != after)


def test_weights_do_not_decay_among_what_logics_learn():
    """Weight decay alone moves no leaf: gradients are zero where nothing is learnt."""
    logic = position_logic("fire", head_dim=4, num_heads=2)
    config = dataclasses.replace(tiny_run.CONFIG, weight_decay=10.0, warmup_steps=0)
    params = init_model(tiny_run.MODEL, 0, logic)[1]
    optimizer = make_optimizer(config)
    nothing = jax.tree.map(jnp.zeros_like, params)
    updates, _ = optimizer.update(nothing, optimizer.init(params), params)
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(updates["position"]))
    assert np.any(updates["embed"]["embedding"][...])


def loss_of_drawn_positions(n, accumulation_steps=1, step_number=0):
    """After one update at batch n by attention that sees positions."""
    config = dataclasses.replace(tiny_run.CONFIG, accumulation_steps=accumulation_steps)
    optimizer = make_optimizer(config)
    step = make_train_step(None, optimizer, config, apply_attention)
    params = {"embedding": tiny_run.stand_in_parameters()["embed"]["embedding"][:, :4]}
    state = init_state(params, optimizer, config)
    state = dataclasses.replace(state, step=jnp.int32(step_number))
    logic = position_logic("randomized", head_dim=4, draw_from=64)
    return float(step(state, tiny_run.batch(n), logic)[1]["loss"])


def test_positions_are_drawn_by_update_and_sequence_whatever_the_microbatches():
    first = loss_of_drawn_positions(0)
    assert loss_of_drawn_positions(0) == first
    assert loss_of_drawn_positions(0, step_number=1) != first
    halves = loss_of_drawn_positions(0, accumulation_steps=2)
    np.testing.assert_allclose(halves, first, rtol=1e-6)


def test_a_randomized_model_sees_the_positions_that_are_drawn_for_it():
    logic = position_logic("randomized", head_dim=4, draw_from=64)
    seen, config = [], tiny_run.CONFIG

    def apply(graphdef, params, tokens_BT, logic, positions, segment_ids):
        jax.debug.callback(lambda x: seen.append(np.asarray(x)), positions)
        return tiny_run.apply_stand_in(
            graphdef, params, tokens_BT, logic, positions, segment_ids
        )

    step = make_train_step(None, make_optimizer(config), config, apply)
    state = tiny_run.fresh_state()
    key = jax.random.fold_in(jax.random.key(0), 0)
    jax.block_until_ready(step(state, tiny_run.batch(0), logic))
    jax.effects_barrier()
    shape = tiny_run.batch(0)["inputs"].shape
    np.testing.assert_array_equal(seen[0], training_positions(logic, key, None, shape))
