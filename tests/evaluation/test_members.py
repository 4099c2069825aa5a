"""Members scored together have the scores that each has alone."""

import jax
import numpy as np
import pytest

from rope_lab import position_logic
from rope_lab.evaluation import members, per_token
from rope_lab.model import ModelConfig, init_model
from rope_lab.training.sweep import stack_logics

MODEL = ModelConfig(
    vocab_size=11, num_layers=1, width=8, ff_width=8, num_heads=1, num_kv_heads=1,
    head_dim=4,
)  # fmt: skip


def test_scores_are_the_means_of_every_members_own_windows(monkeypatch):
    monkeypatch.setattr(members, "batch_size_for", lambda *_: 6)  # 3 windows a call
    logics = [position_logic("rope", head_dim=4, resonance=r) for r in (False, True)]
    graphdef, first = init_model(MODEL, 0)
    params = [first, init_model(MODEL, 1)[1]]
    windows = np.random.default_rng(0).integers(0, 11, size=(7, 13))
    stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *params)
    scores = members.score_members(graphdef, stacked, windows, stack_logics(logics))
    for member in range(2):
        loss, hit = per_token(graphdef, params[member], windows, logics[member])
        np.testing.assert_allclose(scores.loss[member], loss.mean(axis=0), rtol=1e-5)
        np.testing.assert_allclose(scores.accuracy[member], hit.mean(axis=0))
    assert scores.loss.shape == (2, 12)


def test_windows_without_a_target_are_refused():
    with pytest.raises(ValueError, match="two tokens"):
        members.score_members(None, None, np.zeros((3, 1), int), None)
