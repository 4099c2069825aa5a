"""Maps of positions: what a band does to a query's or a key's place."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp

Map = Callable[[jax.Array], jax.Array]


@dataclasses.dataclass(frozen=True)
class PositionMap:
    """min(((i mod modulus) // divide) * multiply + shift, limit), int32 to int32.

    One hashable form for the maps of every banded encoding, so that two logics of equal
    structure are equal to `jax.jit`. Any hashable callable of int32 arrays serves as a
    map as well, as long as interval bounds never decrease.
    """

    modulus: int | None = None
    divide: int = 1
    multiply: int = 1
    shift: int = 0
    limit: int | None = None

    def __call__(self, positions: jax.Array) -> jax.Array:
        """int32[...] positions to int32[...] positions."""
        if self.modulus is not None:
            positions = positions % self.modulus
        positions = positions // self.divide * self.multiply + self.shift
        return positions if self.limit is None else jnp.minimum(positions, self.limit)


IDENTITY = PositionMap()


def constant(position: int) -> PositionMap:
    """The map that sends every position to one."""
    return PositionMap(multiply=0, shift=position)


@dataclasses.dataclass(frozen=True)
class Latest:
    """The larger of two maps: where two lower bounds of an interval meet."""

    first: Map
    second: Map

    def __call__(self, positions: jax.Array) -> jax.Array:
        """int32[...] positions to int32[...] positions."""
        return jnp.maximum(self.first(positions), self.second(positions))
