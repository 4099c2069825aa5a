"""Per-token losses against a plain computation, and how often they compile."""

import jax
import numpy as np
import pytest
import tiny_model

from rope_lab import position_logic
from rope_lab.evaluation import per_token, positions
from rope_lab.logic.draws import evaluation_positions
from rope_lab.model import ModelConfig, apply_model, init_model
from rope_lab.model.scoring import target_scores

CONFIG = ModelConfig(
    vocab_size=13, num_layers=2, width=16, ff_width=24, num_heads=2, num_kv_heads=1,
    head_dim=8,
)  # fmt: skip
GRAPHDEF, PARAMS = init_model(CONFIG, seed=3)
ONE_BAND = {
    "rope": {},
    "interpolated": {"scale": 4.0},
    "ntk_aware": {"scale": 4.0},
    "ntk_mixed": {"scale": 4.0},
    "yarn": {"scale": 4.0, "train_length": 16},
}


def windows(count, length, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 13, (count, length + 1)).astype(np.int32)


def naive(tokens, logic):
    """One window at a time, the logic a constant, softmax in float64."""
    forward = jax.jit(lambda window: apply_model(GRAPHDEF, PARAMS, window, logic))
    loss, hit = [], []
    for window in tokens:
        logits = np.asarray(forward(window[None, :-1])[0]).astype(np.float64)
        total = np.log(np.exp(logits).sum(-1))
        loss.append(total - logits[np.arange(len(logits)), window[1:]])
        hit.append(logits.argmax(-1) == window[1:])
    return np.array(loss), np.array(hit)


@pytest.fixture(scope="module")
def rerope():
    tokens = windows(5, 9)
    logic = position_logic("rerope", head_dim=8, window=4)
    return tokens, logic, naive(tokens, logic)


@pytest.mark.parametrize("batch_size", [2, None])
def test_losses_and_hits_equal_a_naive_computation(rerope, batch_size):
    tokens, logic, (expected_loss, expected_hit) = rerope
    loss, hit = per_token(GRAPHDEF, PARAMS, tokens, logic, batch_size)
    np.testing.assert_allclose(loss, expected_loss, atol=2e-5)
    np.testing.assert_array_equal(hit, expected_hit)
    assert loss.shape == hit.shape == (5, 9)


def count_traces(monkeypatch):
    traces = []

    def counted(graphdef, params, inputs, targets, logic, positions):
        traces.append(inputs.shape)
        return target_scores(graphdef, params, inputs, targets, logic, positions)

    monkeypatch.setattr(positions, "target_scores", counted)
    return traces


def test_encodings_of_one_structure_compile_once_per_length(monkeypatch):
    traces = count_traces(monkeypatch)
    losses = {}
    for name, options in ONE_BAND.items():
        logic = position_logic(name, head_dim=8, **options)
        for length in (13, 21):
            losses[name, length], _ = per_token(
                GRAPHDEF, PARAMS, windows(3, length), logic
            )
    sizes = {length: positions.batch_size_for(length) for length in (13, 21)}
    assert traces == [(sizes[13], 13), (sizes[21], 21)]
    assert not np.allclose(losses["rope", 21], losses["interpolated", 21], atol=1e-4)
    last = position_logic(name, head_dim=8, **options)  # its own frequencies were used
    expected, _ = naive(windows(3, 13), last)
    np.testing.assert_allclose(losses[name, 13], expected, atol=2e-5)


def test_encodings_of_another_structure_compile_anew(monkeypatch):
    traces = []
    monkeypatch.setattr(
        positions,
        "target_scores",
        lambda *a, **b: traces.append(1) or tiny_model.target_scores(*a, **b),
    )
    for window in (4, 6, 4):
        logic = position_logic("rerope", head_dim=8, window=window)
        per_token(tiny_model.GRAPHDEF, tiny_model.init(0), windows(1, 15), logic)
    assert len(traces) == 2


def test_a_plain_callable_and_a_logic_per_layer_are_measured_too():
    rope = position_logic("rope", head_dim=8)
    nope = position_logic("nope", head_dim=8)

    def mine(q, k, query_positions, key_positions):
        return rope(q, k, query_positions, key_positions)

    tokens = windows(2, 7)
    expected, _ = naive(tokens, rope)
    found, _ = per_token(GRAPHDEF, PARAMS, tokens, mine)
    np.testing.assert_allclose(found, expected, atol=2e-5)
    mixed, _ = per_token(GRAPHDEF, PARAMS, tokens, [rope, nope])
    np.testing.assert_allclose(mixed, naive(tokens, [rope, nope])[0], atol=2e-5)


def test_progress_counts_windows_up_to_all_of_them(monkeypatch):
    monkeypatch.setattr(positions, "target_scores", tiny_model.target_scores)
    rope, params = position_logic("rope", head_dim=8), tiny_model.init(0)
    seen = []
    per_token(
        tiny_model.GRAPHDEF, params, windows(5, 7), rope, 2, lambda *s: seen.append(s)
    )
    assert seen == [(2, 5), (4, 5), (5, 5)]


@pytest.mark.parametrize("length", [4, 256, 1024, 4096])
def test_batches_shrink_so_that_scores_stay_small(length):
    size = positions.batch_size_for(length)
    assert size >= 1
    assert size == 1 or size * length * max(length, 256) <= positions.SCORE_ENTRIES


def test_the_checksum_is_of_tokens_and_their_order():
    tokens = windows(3, 8)
    same = positions.targets_checksum(tokens.astype(np.int64))
    assert positions.targets_checksum(tokens) == same
    assert positions.targets_checksum(tokens[::-1]) != same
    assert positions.targets_checksum(tokens.reshape(1, -1)) != same


@pytest.mark.parametrize("shape", [(0, 5), (3, 1), (7,)])
def test_windows_that_hold_no_target_are_refused(shape):
    with pytest.raises(ValueError, match="at least one window of two tokens"):
        per_token(GRAPHDEF, PARAMS, np.zeros(shape, np.int32), None)


def test_randomized_windows_are_measured_where_their_numbers_are_drawn():
    tokens = windows(3, 9)
    logic = position_logic("randomized", head_dim=8, draw_from=40)
    loss, _ = per_token(GRAPHDEF, PARAMS, tokens, logic, 2)
    where = evaluation_positions(logic, np.arange(3), 9)
    logits = apply_model(GRAPHDEF, PARAMS, tokens[:, :-1], logic, where)
    chosen = np.take_along_axis(logits, tokens[:, 1:, None], axis=-1)[..., 0]
    expected = jax.nn.logsumexp(logits, axis=-1) - chosen
    np.testing.assert_allclose(loss, expected, atol=2e-5)
    plain, _ = per_token(GRAPHDEF, PARAMS, tokens, position_logic("rope", head_dim=8))
    assert np.abs(plain - loss).max() > 1e-3
