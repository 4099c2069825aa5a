"""Positions drawn at random: RoPE that meets far positions in short texts.

A sequence of T tokens is trained at T of the positions 0 .. M-1, drawn without
replacement and put in order (arXiv 2305.16843). A draw is a pure function of a key. Who
runs a model makes it, once for each sequence and for all layers alike: the training
step and evaluation do. To attention the encoding is RoPE at the positions it is given.

Legend: B sequences, T tokens, M positions to draw from.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from rope_lab.logic.maps import PositionMap


@dataclasses.dataclass(frozen=True)
class PositionDraw:
    """How positions are drawn; static.

    Attributes:
      draw_from: M, tokens.
      at_test: "drawn", or "even": M // T tokens apart.
    """

    draw_from: int
    at_test: str = "drawn"

    def drawn(self, key: jax.Array, length: int) -> jax.Array:
        """int32[T], ascending, each subset of T equally likely."""
        self._check(length)
        chosen_T = jax.random.choice(key, self.draw_from, (length,), replace=False)
        return jnp.sort(chosen_T).astype(jnp.int32)

    def spacing(self, length: int) -> int:
        """Tokens between neighbours of a sequence of T that is evenly spread."""
        self._check(length)
        return self.draw_from // length

    def _check(self, length: int) -> None:
        if length > self.draw_from:
            raise ValueError(
                f"{length} tokens cannot stand at different positions of 0 .. "
                f"{self.draw_from - 1}: build the logic with draw_from={length} or more"
            )


def draw_of(logic: Any) -> PositionDraw | None:
    """The draw of a logic, or the one that those of all layers share; None without.

    Raises:
      ValueError: layers disagree; a model's tokens stand at one position each.
    """
    logics = logic if isinstance(logic, Sequence) else (logic,)
    draws = [getattr(one, "draw", None) for one in logics]
    if any(draw != draws[0] for draw in draws):
        raise ValueError(
            "some layers draw positions and others do not, or from another range: "
            f"{draws}; give every layer the same randomized logic"
        )
    return draws[0]


def training_positions(
    logic: Any, key: jax.Array, positions: jax.Array | None, shape: tuple[int, int]
) -> jax.Array | None:
    """int32[B, T] drawn for each sequence; those given where the logic draws none.

    Args:
      logic: a position logic, or one per layer.
      key: of this batch; sequence b draws from fold_in(key, b).
      positions: int32[B, T], each token's place, below T; None: 0 .. T-1. Documents
        packed into one sequence, which all begin at place 0, share its draw.
      shape: (B, T).
    """
    draw = draw_of(logic)
    if draw is None:
        return positions
    drawn_BT = _each(draw, key, jnp.arange(shape[0]), shape[1])
    if positions is None:
        return drawn_BT
    places_BT = jnp.broadcast_to(positions, shape)
    return jnp.take_along_axis(drawn_BT, places_BT, axis=1)


def evaluation_positions(
    logic: Any, sequences: jax.Array, length: int, seed: int = 0
) -> jax.Array | None:
    """int32[B, T] for sequences of these numbers; None: counted from 0.

    A sequence's draw depends on its number and the seed, not on who it is measured
    with.
    """
    draw = draw_of(logic)
    if draw is None:
        return None
    if draw.at_test == "even":
        even_T = draw.spacing(length) * jnp.arange(length, dtype=jnp.int32)
        return jnp.broadcast_to(even_T, (len(sequences), length))
    return _each(draw, jax.random.key(seed), sequences, length)


def spread(logic: Any, length: int) -> Any:
    """The logic that shows counted positions 0 .. T-1 as evenly spread ones.

    For who counts positions, as a cache does, in a text that will have T tokens in all.
    """
    apart = PositionMap(multiply=logic.draw.spacing(length))
    bands = (dataclasses.replace(band, alpha=apart, beta=apart) for band in logic.bands)
    return dataclasses.replace(logic, bands=tuple(bands), draw=None)


def _each(draw: PositionDraw, key, sequences: jax.Array, length: int) -> jax.Array:
    return jax.vmap(lambda n: draw.drawn(jax.random.fold_in(key, n), length))(sequences)
