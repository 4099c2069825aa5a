"""Searches of frequencies: the slope they follow, what they find, how they resume."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rope_lab import position_logic, rotary
from rope_lab.cli.wavelengths_search import run_search
from rope_lab.evaluation.frequency_rows import row_of, score_sequences
from rope_lab.evaluation.frequency_search import (
    EvolutionSearch,
    GradientSearch,
    Scorer,
    SearchTask,
    evolution_search,
    gradient_search,
    start_at,
)
from rope_lab.evaluation.members import score_members
from rope_lab.model import ModelConfig, init_model

MODEL = ModelConfig(
    vocab_size=9, num_layers=1, width=16, ff_width=16, num_heads=1, num_kv_heads=1,
    head_dim=8,
)  # fmt: skip
LENGTH, BEYOND = 12, 5
TOKENS = np.random.default_rng(0).integers(0, 9, (7, LENGTH + 1)).astype(np.int32)


@pytest.fixture(scope="module")
def models():
    """(graphdef, parameters of two models), larger than fresh: positions matter."""
    both = [init_model(MODEL, seed)[1] for seed in (0, 1)]
    stacked = jax.tree.map(lambda a, b: 2 * jnp.stack([a, b]), *both)
    return init_model(MODEL, 0)[0], stacked


def scorer_of(models):
    return Scorer([SearchTask(*models, TOKENS, BEYOND)], MODEL.head_dim)


def test_a_loss_is_the_mean_of_what_the_models_lose_beyond_the_training_length(models):
    frequencies = rotary.ntk_aware(8, 10_000.0, 4.0)
    logic = position_logic("rope", head_dim=8, frequencies=frequencies)
    stacked = jax.tree.map(lambda leaf: np.stack([leaf, leaf]), logic)
    expected = score_members(*models, TOKENS, stacked).loss[:, BEYOND:].mean()
    scorer, x_P = scorer_of(models), start_at(frequencies)
    assert scorer.score(x_P[None], 3)[0] == pytest.approx(expected, rel=1e-5)


def test_the_slope_in_the_logarithm_is_that_of_finite_differences(models):
    scorer, x_P = scorer_of(models), start_at(rotary.rope(8, 100.0))
    loss, slope_XP = scorer.gradients(jnp.asarray(x_P)[None], [TOKENS])
    step, planes = 2e-3, np.eye(4, dtype=np.float32)
    sides = [scorer.losses(x_P + sign * step * planes, [TOKENS]) for sign in (1, -1)]
    expected = (np.asarray(sides[0]) - np.asarray(sides[1])) / (2 * step)
    assert np.abs(expected).max() > 1e-3
    np.testing.assert_allclose(slope_XP[0], expected, atol=0.03 * abs(expected).max())
    assert loss[0] == pytest.approx(float(scorer.losses(x_P[None], [TOKENS])[0]))


def test_sequences_are_scored_one_by_one_as_their_means_say(models):
    logic = position_logic("yarn", head_dim=8, scale=2, train_length=BEYOND)
    stacked = jax.tree.map(lambda leaf: np.stack([leaf, leaf]), logic)
    scores = score_sequences(*models, TOKENS, stacked, 2, BEYOND)
    means = score_members(*models, TOKENS, stacked)
    assert scores.loss.shape == (2, 7)
    for found, expected in (
        (scores.loss, means.loss[:, BEYOND:]),
        (scores.beyond, means.accuracy[:, BEYOND:]),
        (scores.within, means.accuracy[:, 2:BEYOND]),
    ):
        np.testing.assert_allclose(found.mean(1), expected.mean(1), rtol=1e-5)
    other = scores._replace(loss=scores.loss + np.array([[0.5], [0.25]]))
    difference = row_of("other", other, scores)["minus_reference"]
    assert difference["models"] == pytest.approx([0.5, 0.25])
    assert difference["interval"] == pytest.approx([0.375, 0.375])


class Bowl:
    """A loss of known minimum in place of models: the squared distance to a point."""

    def __init__(self, lowest_P):
        self.lowest_P = jnp.asarray(lowest_P)[None]

    def sample(self, key, count):
        return [np.asarray(0.01 * jax.random.normal(key, (3,)))]

    def losses(self, x_XP, samples):
        return jnp.sum((x_XP - self.lowest_P - samples[0][None]) ** 2, axis=1)

    def gradients(self, x_XP, samples):
        return self.losses(x_XP, samples), 2 * (x_XP - self.lowest_P - samples[0][None])

    def score(self, x_XP, size):
        return np.asarray(self.losses(x_XP, [np.zeros(3)]))


START = np.array([0.0, -1.0, -2.0], np.float32)
SEARCHES = {
    "gradient": (gradient_search, GradientSearch(steps=60, learning_rate=0.05)),
    "evolution": (evolution_search, EvolutionSearch(steps=60, sigma=0.1)),
}
each = pytest.mark.parametrize("name", SEARCHES)


def search(name, lowest=(0.3, -1.2, -2.1)):
    make, config = SEARCHES[name]
    return make(config, Bowl(np.array(lowest, np.float32)), START)


@each
def test_a_search_finds_a_minimum_that_is_there(name, tmp_path):
    state, first = run_search(search(name), tmp_path / "state.npz", name)
    assert first == pytest.approx(0.3**2 + 0.2**2 + 0.1**2)
    np.testing.assert_allclose(state.best, [0.3, -1.2, -2.1], atol=0.03)
    assert state.best_score == pytest.approx(
        float(((state.best - np.array([0.3, -1.2, -2.1])) ** 2).sum()), abs=1e-6
    )


@each
def test_a_search_that_starts_at_the_minimum_returns_it(name, tmp_path):
    state, first = run_search(search(name, START), tmp_path / "state.npz", name)
    assert first == 0.0 and float(state.best_score) == 0.0
    np.testing.assert_array_equal(state.best, START)


@each
def test_a_search_killed_in_the_middle_ends_the_same(name, tmp_path, capsys):
    whole, _ = run_search(search(name), tmp_path / "whole.npz", name)
    killed = search(name)

    def advance(state, n):
        if n == 25:
            raise KeyboardInterrupt
        return killed.advance(state, n)

    with pytest.raises(KeyboardInterrupt):
        run_search(killed._replace(advance=advance), tmp_path / "killed.npz", name)
    resumed, _ = run_search(search(name), tmp_path / "killed.npz", name)
    assert "step 20\n" in capsys.readouterr().err
    for found, expected in zip(
        jax.tree.leaves(resumed), jax.tree.leaves(whole), strict=True
    ):
        np.testing.assert_array_equal(found, expected)


def test_a_plane_that_rests_cannot_be_searched():
    with pytest.raises(ValueError, match="turn in every plane"):
        start_at(rotary.p_rope(8, 10_000.0, fraction=0.5))


def test_a_population_without_children_to_drop_is_refused():
    with pytest.raises(ValueError, match="parents 4 and population 4"):
        EvolutionSearch(parents=4, population=4)
