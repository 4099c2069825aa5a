import chex
import jax.numpy as jnp
import numpy as np
import pytest

from rope_lab.training import cross_entropy

B, T, V = 3, 5, 7


def example(seed=0):
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(B, T, V)) * 3
    targets = rng.integers(V, size=(B, T))
    weights = rng.integers(0, 2, size=(B, T)).astype(np.float64)
    weights[0, 0] = 1
    return logits, targets, weights


def reference(logits, targets, weights, z_loss):
    """Token by token in float64."""
    loss = penalty = hits = 0.0
    for b in range(B):
        for t in range(T):
            z = sum(np.exp(x) for x in logits[b, t])
            loss -= weights[b, t] * np.log(np.exp(logits[b, t, targets[b, t]]) / z)
            penalty += weights[b, t] * np.log(z) ** 2
            best = max(range(V), key=lambda v: logits[b, t, v])
            hits += weights[b, t] * (best == targets[b, t])
    total = weights.sum()
    return (loss + z_loss * penalty) / total, loss / total, hits / total


class CrossEntropyTest(chex.TestCase):
    @chex.variants(with_jit=True, without_jit=True)
    def test_it_equals_the_sum_over_tokens_in_float64(self):
        logits, targets, weights = example()
        objective, metrics = self.variant(cross_entropy)(
            jnp.float32(logits), jnp.int32(targets), jnp.float32(weights), 0.1
        )
        expected = reference(logits, targets, weights, 0.1)
        found = (objective, metrics["loss"], metrics["accuracy"])
        np.testing.assert_allclose(found, expected, rtol=1e-5)
        assert metrics["tokens"] == weights.sum()


def test_padding_changes_nothing():
    logits, targets, weights = example()
    other = np.where(weights[..., None] == 0, 100.0, logits)
    one, _ = cross_entropy(
        jnp.float32(logits), jnp.int32(targets), jnp.float32(weights)
    )
    two, _ = cross_entropy(jnp.float32(other), jnp.int32(targets), jnp.float32(weights))
    assert one == two


def test_bfloat16_logits_are_summed_in_float32():
    logits = jnp.zeros((1, 1, 4096), jnp.bfloat16)  # a bfloat16 sum stops at 256
    zero, one = jnp.zeros((1, 1), jnp.int32), jnp.ones((1, 1))
    loss, _ = cross_entropy(logits, zero, one)
    assert loss.dtype == jnp.float32
    assert float(loss) == pytest.approx(np.log(4096), rel=1e-6)


def test_a_batch_without_targets_has_loss_zero():
    logits, targets, _ = example()
    loss, metrics = cross_entropy(
        jnp.float32(logits), jnp.int32(targets), jnp.zeros((B, T)), 0.1
    )
    assert loss == 0 and metrics["loss"] == 0
