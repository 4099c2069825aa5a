"""What biases that are learned share.

A class holds float32 leaves, which may be traced, mapped and differentiated. A model
keeps a set of them among its parameters (`rope_lab.model.learned`) and puts it in the
place of those that the logic was built with, which are one draw of their initial law.

Legend: B batch, T queries, S keys, H query heads.
"""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar, cast, dataclass_transform

import jax
import jax.numpy as jnp
import numpy as np

Leaf = jax.Array | np.ndarray


def static(**options: Any) -> Any:
    """A field that is no leaf."""
    return dataclasses.field(metadata={"static": True}, **options)


@dataclass_transform(frozen_default=True, field_specifiers=(static,))
def pytree(cls):
    """Class decorator: a frozen dataclass whose fields are leaves, unless static.

    Not by jax.tree_util.register_dataclass: in JAX 0.10 and 0.12 two such classes with
    as many fields have structures that compare equal, and where their hashes collide a
    compiled function runs the program of the other class.
    """
    cls = dataclasses.dataclass(frozen=True)(cls)
    fields = dataclasses.fields(cls)
    fixed = [field.name for field in fields if field.metadata.get("static")]
    leaves = [field.name for field in fields if field.name not in fixed]

    def flatten(bias):
        children = [getattr(bias, name) for name in leaves]
        return children, (cls, *(getattr(bias, name) for name in fixed))

    def flatten_with_keys(bias):
        children, about = flatten(bias)
        keys = map(jax.tree_util.GetAttrKey, leaves)
        return list(zip(keys, children, strict=True)), about

    def unflatten(about, children):
        values = dict(zip(fixed, about[1:], strict=True))
        return cls(**values, **dict(zip(leaves, children, strict=True)))

    jax.tree_util.register_pytree_with_keys(cls, flatten_with_keys, unflatten, flatten)
    return cls


class LearnedBias:
    """What a model asks of a bias that it holds as parameters.

    Attributes:
      one_for_all_layers: layers share one set of leaves (T5) or each has its own.
    """

    one_for_all_layers: ClassVar[bool] = False

    @property
    def leaves(self) -> dict[str, Leaf]:
        """Name -> float32 array."""
        fields = dataclasses.fields(cast(Any, self))
        return {
            field.name: getattr(self, field.name)
            for field in fields
            if not field.metadata.get("static")
        }

    def fresh(self, key: jax.Array) -> LearnedBias:
        """The same bias with leaves drawn from the law they start from."""
        raise NotImplementedError


def first_draw(bias: LearnedBias) -> LearnedBias:
    """Always the same draw, and concrete, also where a logic is built inside jit."""
    with jax.ensure_compile_time_eval():
        return jax.tree.map(np.asarray, bias.fresh(jax.random.key(0)))


def distance(queries: jax.Array, keys: jax.Array) -> jax.Array:
    """int32[B, T, S], tokens; never negative.

    Subtracted as integers, so exact. A key after its query, which attention hides, must
    still have a finite value and slope.
    """
    return jnp.maximum(queries - keys, 0)


def by_head(x_H: jax.Array) -> jax.Array:
    """[1, H, 1, 1], which broadcasts against [B, H, T, S]."""
    return jnp.asarray(x_H)[None, :, None, None]
