"""The linear layer's product equals JAX's own, and so do its gradients."""

import chex
import jax
import jax.numpy as jnp
import pytest
from flax import nnx

from rope_lab.model.products import linear_product

DIMENSIONS = (((2,), (0,)), ((), ()))


def _arrays(dtype):
    keys = jax.random.split(jax.random.key(0), 3)
    shapes = (2, 5, 8), (8, 6), (2, 5, 6)
    return [
        jax.random.normal(key, shape, dtype)
        for key, shape in zip(keys, shapes, strict=True)
    ]


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("transform", [lambda f: f, jax.jit, jax.vmap])
def test_the_product_and_its_gradients_are_those_of_dot_general(dtype, transform):
    x, kernel, slope = _arrays(dtype)
    if transform is jax.vmap:
        x, kernel, slope = (jnp.stack([a, 2 * a]) for a in (x, kernel, slope))

    def both(product):
        def run(x, kernel, slope):
            out, pull = jax.vjp(lambda x, k: product(x, k, DIMENSIONS), x, kernel)
            return out, *pull(slope)

        return transform(run)(x, kernel, slope)

    ours, theirs = both(linear_product), both(jax.lax.dot_general)
    chex.assert_trees_all_equal_shapes_and_dtypes(ours, theirs)
    tolerance = 1e-6 if dtype == jnp.float32 else 2e-2
    chex.assert_trees_all_close(ours, theirs, rtol=tolerance, atol=tolerance)


def test_it_serves_a_linear_layer_with_biases():
    plain = nnx.Linear(8, 6, rngs=nnx.Rngs(0))
    ours = nnx.Linear(8, 6, dot_general=linear_product, rngs=nnx.Rngs(0))
    x = _arrays(jnp.float32)[0]
    chex.assert_trees_all_close(ours(x), plain(x), rtol=1e-6)


def test_another_contraction_is_refused():
    x, kernel, _ = _arrays(jnp.float32)
    with pytest.raises(ValueError, match="contracts the last axis"):
        linear_product(x, kernel.T, (((2,), (1,)), ((), ())))
