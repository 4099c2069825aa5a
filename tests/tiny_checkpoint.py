"""A random model of seconds, and the folder of another program that holds it."""

import jax
import jax.numpy as jnp
import numpy as np

from rope_lab import position_logic
from rope_lab.data.tokenizers import ByteTokenizer
from rope_lab.interop import export_pretrained
from rope_lab.model import ModelConfig, apply_model, model_structure
from rope_lab.model.trees import names_of

HEAD_DIM = 16


def tiny_model(seed=0, **changes):
    """(config, graphdef, params) with gains and biases away from 1 and 0."""
    fields = {"vocab_size": 257, "num_layers": 2, "width": 32, "ff_width": 48}
    fields |= {"num_heads": 4, "num_kv_heads": 2, "head_dim": HEAD_DIM}
    config = ModelConfig(**(fields | changes))
    graphdef, shapes = model_structure(config)
    draw = np.random.default_rng(seed).standard_normal

    def drawn(path, leaf):
        values = draw(leaf.shape, np.float32)
        if names_of(path)[-1] == "kernel":
            return jnp.asarray(values / leaf.shape[-2] ** 0.5)
        return jnp.asarray(values * 0.2 + (names_of(path)[-1] == "scale"))

    return config, graphdef, jax.tree_util.tree_map_with_path(drawn, shapes)


def tokens(length=40, batch=2, seed=0, vocab_size=257):
    """int32[batch, length]."""
    drawn = np.random.default_rng(seed).integers(0, vocab_size, (batch, length))
    return jnp.asarray(drawn, jnp.int32)


def logits(graphdef, params, logic, length=40, **options):
    """Of `tokens`, float32."""
    given = tokens(length, **options)
    if jax.tree_util.treedef_is_leaf(jax.tree.structure(logic)):  # a plain function
        return np.asarray(
            jax.jit(lambda p: apply_model(graphdef, p, given, logic))(params)
        )
    return np.asarray(_apply(graphdef, params, given, logic))


_apply = jax.jit(apply_model, static_argnums=0)


def write_folder(folder, logic=None, length=64, **changes):
    """A Hugging Face folder of a tiny model; returns (config, graphdef, params)."""
    options = {k: changes.pop(k) for k in ("shard_bytes", "dtype") if k in changes}
    config, graphdef, params = tiny_model(**changes)
    logic = logic or position_logic("rope", head_dim=config.head_dim)
    export_pretrained(
        folder, config, params, logic, ByteTokenizer(), length=length, **options
    )
    return config, graphdef, params
