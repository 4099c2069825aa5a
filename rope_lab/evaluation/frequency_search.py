"""Frequencies that lower the loss beyond the training length, of models that stay.

The frequencies of a rotary encoding are leaves of its logic: the loss beyond the
training length is differentiable in them, and a population of them is one mapped
program. Both searches move x = log(angular frequency), from RoPE's, so that no
frequency changes sign and a step is a relative change of the wavelength.

    gradient    Adam on the mean loss of all models, R starts side by side
    evolution   (mu/mu, lambda) strategy with self-adapted step sizes

A search is a pure function of its settings and a step's number, so one that was killed
goes on from its last state and ends the same.

Letters: X candidates (R starts, or lambda), P planes, M models, N sequences, T tokens.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float

from rope_lab.logic import PositionLogic, position_logic
from rope_lab.model import apply_model
from rope_lab.rotary import Frequencies

Rows = dict[str, Any]


@dataclasses.dataclass(frozen=True, kw_only=True)
class GradientSearch:
    """Settings of the search by gradient."""

    steps: int = 150
    learning_rate: float = 2e-3  # of x; falls to 0 along a cosine
    starts: int = 4  # R: RoPE itself, the others with every wavelength changed
    jitter: float = 0.02  # standard deviation of that change, relative
    sequences: int = 4  # of each task, in a step
    check_every: int = 25  # steps between scores on all validation sequences
    seed: int = 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvolutionSearch:
    """Settings of the search by evolution."""

    steps: int = 100  # generations
    population: int = 16  # lambda
    parents: int = 4  # mu, whose mean begets the next generation
    sigma: float = 0.02  # first step size, relative change of a wavelength
    sequences: int = 8  # of each task, in a generation, the same for all
    check_every: int = 20  # generations between scores on all validation sequences
    seed: int = 0

    def __post_init__(self):
        if not 1 <= self.parents < self.population:
            raise ValueError(
                f"evolution has parents {self.parents} and population "
                f"{self.population}; expected 1 <= parents < population"
            )


class SearchTask(NamedTuple):
    """Trained models of one task and the sequences that candidates are scored on."""

    graphdef: Any
    params: Any  # M models, stacked
    tokens: Any  # int32[N, T + 1], the start token first
    beyond: int  # the first position beyond the training length


class State(NamedTuple):
    """Of a search; arrays alone. `best` is by the score on all validation sequences."""

    x: Float[Array, "R P"]  # where each start is; the mean of the population
    inner: Any  # Adam's moments; the step size
    best: Float[Array, " P"]
    best_score: Float[Array, ""]
    history: Float[Array, "steps 2"]  # loss of each step, score where checked, or NaN


def logic_of(x_P: Float[Array, " P"], head_dim: int) -> PositionLogic:
    """RoPE with angular frequencies exp(x); traced, float32 is the definition."""
    frequencies = Frequencies(jnp.exp(x_P), jnp.zeros_like(x_P), jnp.ones(()))
    return position_logic("rope", head_dim=head_dim, frequencies=frequencies)


def start_at(frequencies: Frequencies) -> np.ndarray:
    """x of frequencies that turn in every plane.

    Raises:
      ValueError: a plane rests, whose logarithm is not finite.
    """
    angular = np.asarray(frequencies.angular, np.float64)
    if not np.all(angular > 0):
        raise ValueError("a search needs frequencies that turn in every plane")
    return np.log(angular).astype(np.float32)


def loss_beyond(task: SearchTask, x_P, tokens_BS, head_dim: int) -> jax.Array:
    """Mean loss, nats per token, beyond the training length, over all models."""
    logic = logic_of(x_P, head_dim)

    def model(params):
        logits_BTV = apply_model(task.graphdef, params, tokens_BS[:, :-1], logic)
        log_p_BTV = jax.nn.log_softmax(logits_BTV[:, task.beyond :])
        targets_BT = tokens_BS[:, 1 + task.beyond :]
        return -jnp.take_along_axis(log_p_BTV, targets_BT[..., None], -1).mean()

    return jax.vmap(model)(task.params).mean()


class Scorer:
    """Losses of candidates: the mean over tasks, each over its models and sequences."""

    def __init__(self, tasks: Sequence[SearchTask], head_dim: int):
        self._tasks, self._dim = tasks, head_dim

    def sample(self, key: jax.Array, count: int) -> list[np.ndarray]:
        """`count` validation sequences of each task, none twice."""
        found = []
        for number, task in enumerate(self._tasks):
            own = jax.random.fold_in(key, number)
            total = len(task.tokens)
            rows = jax.random.permutation(own, total)[: min(count, total)]
            found.append(np.asarray(task.tokens)[np.asarray(rows)])
        return found

    def losses(self, x_XP: jax.Array, samples: Sequence[np.ndarray]) -> jax.Array:
        """float32[X]."""
        found = [
            _losses(task.graphdef, self._dim, task.beyond, task.params, tokens, x_XP)
            for task, tokens in zip(self._tasks, samples, strict=True)
        ]
        return sum(found) / len(found)

    def gradients(self, x_XP, samples) -> tuple[jax.Array, jax.Array]:
        """float32[X] losses and float32[X, P] gradients."""
        found = [
            _gradients(task.graphdef, self._dim, task.beyond, task.params, tokens, x_XP)
            for task, tokens in zip(self._tasks, samples, strict=True)
        ]
        return jax.tree.map(lambda *parts: sum(parts) / len(parts), *found)

    def score(self, x_XP: jax.Array, size: int) -> np.ndarray:
        """float64[X]: losses on all validation sequences, `size` of each at a time."""
        count = min(len(task.tokens) for task in self._tasks)
        blocks = [slice(start, start + size) for start in range(0, count, size)]
        total: Any = 0.0
        for block in blocks:
            samples = [np.asarray(task.tokens)[:count][block] for task in self._tasks]
            losses = np.asarray(self.losses(x_XP, samples), np.float64)
            total = total + losses * len(samples[0])
        return total / count


def _one(graphdef, dim, beyond, params, tokens, x_P):
    return loss_beyond(SearchTask(graphdef, params, tokens, beyond), x_P, tokens, dim)


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _losses(graphdef, dim, beyond, params, tokens, x_XP):
    return jax.vmap(lambda x: _one(graphdef, dim, beyond, params, tokens, x))(x_XP)


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _gradients(graphdef, dim, beyond, params, tokens, x_XP):
    slope = jax.value_and_grad(_one, argnums=5)
    return jax.vmap(lambda x: slope(graphdef, dim, beyond, params, tokens, x))(x_XP)


class Search(NamedTuple):
    """`begin()` and `advance(state, n) -> state`, for n = 0 .. steps - 1."""

    steps: int
    begin: Callable[[], State]
    advance: Callable[[State, int], State]


def gradient_search(config: GradientSearch, scorer: Scorer, start_P) -> Search:
    """Adam from several starts; gradients are clipped to norm 1, start by start."""
    schedule = optax.cosine_decay_schedule(config.learning_rate, config.steps)
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(schedule))

    def begin() -> State:
        noise = jax.random.normal(
            jax.random.key(config.seed), (config.starts, len(start_P))
        )
        x_RP = start_P[None] + config.jitter * noise.at[0].set(0.0)
        return _state(x_RP, jax.vmap(optimizer.init)(x_RP), start_P, config, scorer)

    def advance(state: State, n: int) -> State:
        samples = scorer.sample(_key(config, n), config.sequences)
        loss_R, slope_RP = scorer.gradients(state.x, samples)
        updates, inner = jax.vmap(optimizer.update)(slope_RP, state.inner, state.x)
        x_RP = optax.apply_updates(state.x, updates)
        return _record(state, x_RP, inner, float(loss_R.min()), n, config, scorer)

    return Search(config.steps, begin, advance)


def evolution_search(config: EvolutionSearch, scorer: Scorer, start_P) -> Search:
    """Each child draws a step size about the population's, then a step in every plane;
    the mean of the best children and of their step sizes make the next population."""
    planes = len(start_P)
    learning_rate = 1.0 / np.sqrt(2.0 * planes)  # of the step size, as is customary

    def begin() -> State:
        sigma = jnp.float32(config.sigma)
        return _state(jnp.asarray(start_P)[None], sigma, start_P, config, scorer)

    def advance(state: State, n: int) -> State:
        size_key, step_key, data_key = jax.random.split(_key(config, n), 3)
        drawn_X = jax.random.normal(size_key, (config.population,))
        sigma_X = state.inner * jnp.exp(learning_rate * drawn_X)
        step_XP = jax.random.normal(step_key, (config.population, planes))
        x_XP = state.x + sigma_X[:, None] * step_XP
        samples = scorer.sample(data_key, config.sequences)
        loss_X = scorer.losses(x_XP, samples)
        kept = jnp.argsort(loss_X)[: config.parents]
        x_1P = x_XP[kept].mean(axis=0, keepdims=True)
        sigma = jnp.exp(jnp.log(sigma_X[kept]).mean())
        return _record(state, x_1P, sigma, float(loss_X.min()), n, config, scorer)

    return Search(config.steps, begin, advance)


def _key(config, n: int) -> jax.Array:
    return jax.random.fold_in(jax.random.key(config.seed), n + 1)


def _state(x_RP, inner, start_P, config, scorer: Scorer) -> State:
    """The first state; where it starts is the best so far."""
    start_P = jnp.asarray(start_P)
    score = scorer.score(start_P[None], config.sequences)[0]
    history = jnp.full((config.steps, 2), jnp.nan, jnp.float32)
    return State(jnp.asarray(x_RP), inner, start_P, jnp.float32(score), history)


def _record(state, x_RP, inner, loss: float, n: int, config, scorer) -> State:
    """The next state; scores on all validation sequences from time to time."""
    best, best_score, score = state.best, state.best_score, np.nan
    if (n + 1) % config.check_every == 0 or n + 1 == config.steps:
        scores_R = scorer.score(x_RP, config.sequences)
        r = int(np.nanargmin(scores_R)) if np.isfinite(scores_R).any() else 0
        score = scores_R[r]
        if score < float(best_score):
            best, best_score = x_RP[r], jnp.float32(score)
    history = state.history.at[n].set(jnp.array([loss, score], jnp.float32))
    return State(x_RP, inner, best, best_score, history)
