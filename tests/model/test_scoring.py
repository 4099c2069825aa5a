"""Chunked losses are those of the whole logits, and the logits never exist whole."""

import jax
import numpy as np
import pytest

from rope_lab import position_logic
from rope_lab.model import ModelConfig, apply_model, init_model
from rope_lab.model.scoring import target_scores

CONFIG = ModelConfig(
    vocab_size=29, num_layers=1, width=16, ff_width=24, num_heads=2, num_kv_heads=1,
    head_dim=8,
)  # fmt: skip
GRAPHDEF, PARAMS = init_model(CONFIG, seed=5)
ROPE = position_logic("rope", head_dim=8)
TOKENS = np.random.default_rng(0).integers(0, 29, (2, 18)).astype(np.int32)
INPUTS, TARGETS = TOKENS[:, :-1], TOKENS[:, 1:]


def scored(entries, wanted=None):
    run = jax.jit(
        lambda params, wanted: target_scores(
            GRAPHDEF, params, INPUTS, TARGETS, ROPE, None, wanted, entries
        )
    )
    return [np.asarray(x) for x in run(PARAMS, wanted)]


def naive():
    logits = np.asarray(apply_model(GRAPHDEF, PARAMS, INPUTS, ROPE), np.float64)
    totals = np.log(np.exp(logits).sum(-1))
    of_targets = np.take_along_axis(logits, TARGETS[..., None], -1)[..., 0]
    return totals - of_targets, logits.argmax(-1) == TARGETS


@pytest.mark.parametrize("positions_at_once", [1, 4, 17, 100])
def test_chunks_of_any_size_give_the_losses_of_the_whole(positions_at_once):
    loss, hit = scored(2 * 29 * positions_at_once)
    expected_loss, expected_hit = naive()
    np.testing.assert_allclose(loss, expected_loss, atol=2e-5)
    np.testing.assert_array_equal(hit, expected_hit)


@pytest.mark.parametrize("positions_at_once", [3, 100])
def test_targets_that_are_not_wanted_are_zero(positions_at_once):
    wanted = np.zeros((2, 17), bool)
    wanted[0, 9:], wanted[1, 2] = True, True
    loss, hit = scored(2 * 29 * positions_at_once, wanted)
    expected_loss, expected_hit = naive()
    np.testing.assert_allclose(loss, np.where(wanted, expected_loss, 0), atol=2e-5)
    np.testing.assert_array_equal(hit, wanted & expected_hit)


def test_memory_does_not_grow_with_length_times_vocabulary():
    config = ModelConfig(
        vocab_size=4096, num_layers=1, width=8, ff_width=8, num_heads=1,
        num_kv_heads=1, head_dim=8,
    )  # fmt: skip
    graphdef, params = init_model(config)
    tokens = np.zeros((1, 2048), np.int32)

    def temporary(entries):
        def run(params, tokens):
            return target_scores(
                graphdef, params, tokens, tokens, ROPE, logit_entries=entries
            )

        compiled = jax.jit(run).lower(params, tokens).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    whole = 4 * 2048 * 4096
    assert temporary(2**30) > whole
    assert temporary(64 * 4096) < whole / 4
