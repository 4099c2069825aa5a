import itertools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_run

from rope_lab.model import init_model
from rope_lab.model.trees import to_nested
from rope_lab.training import from_nested


def test_a_tree_of_the_decoder_comes_back_from_plain_dicts():
    shapes = jax.eval_shape(lambda: init_model(tiny_run.MODEL, 0)[1])
    count = itertools.count()
    params = jax.tree.map(lambda leaf: np.full(leaf.shape, next(count)), shapes)
    nested = to_nested(params)
    assert type(nested) is dict
    assert nested["embed"]["embedding"].shape == (11, 8)
    chex.assert_trees_all_equal(from_nested(params, nested), params)


def test_missing_and_misshapen_leaves_are_named():
    like = {"a": {"kernel": jnp.zeros((2, 3)), "bias": jnp.zeros(3)}}
    nested = {"a": {"kernel": jnp.zeros((2, 4)), "scale": jnp.zeros(1)}}
    with pytest.raises(ValueError) as error:
        from_nested(like, nested)
    message = str(error.value)
    assert "a.kernel: checkpoint has (2, 4), this run asks for (2, 3)" in message
    assert "a.bias: checkpoint has nothing, this run asks for (3,)" in message
    assert "a.scale: checkpoint has (1,), this run asks for nothing" in message
