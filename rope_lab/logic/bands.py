"""Bands and the position logic: the one value that every reader of an encoding reads.

    logit(i, j) = temperature(i) * rotary(q_i, k_j, angle(i, j)) + bias(i, j)

The angle is that of the band which holds key j for query i, and under xPos a plane has
an amplitude beside it. A picture asks a logic for
its relative positions, dense attention for its logits, tiled attention for its bands;
none of them knows the encoding's name.

Legend: B batch, T queries, S keys, H query heads, K key heads, G = H / K, D head dim.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rope_lab import rotary
from rope_lab.logic.amplitude import (
    Amplitude,
    amplified_products,
    grouped_products,
)
from rope_lab.logic.biases import Bias
from rope_lab.logic.draws import PositionDraw
from rope_lab.logic.maps import IDENTITY, Latest, Map
from rope_lab.logic.temperature import Temperature
from rope_lab.rotary.relative import piecewise_relative_at
from rope_lab.rotary.rotate import Layout


@dataclasses.dataclass(frozen=True)
class Unkeyed:
    """A static value that `jax.jit` does not compare: it never reaches a program.

    Name, arguments and the picture's unit are carried by a logic, but two logics that
    compute the same share one compiled program. A logic *returned* by a jitted function
    therefore may carry the record of the one it was traced with.
    """

    value: Any

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Unkeyed)

    def __hash__(self) -> int:
        return 0


def _static(**options: Any) -> Any:
    return dataclasses.field(metadata={"static": True}, **options)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Band:
    """Keys first_key(i) .. last_key(i) of a query i, and the angle they are seen at.

    Attributes:
      frequencies: of P planes; leaves, so they may be traced.
      alpha, beta: query and key position maps; the angle is
        (alpha(i) - beta(j) + offset) * angular, radians.
      first_key, last_key: interval bounds in positions, never decreasing in i; None is
        no bound. A key after the query is hidden whatever they say.
      offset: tokens in [0, 1), a constant rotation of the query.
      unit: `Unkeyed` position_unit, what one step of alpha - beta is in tokens.
    """

    frequencies: rotary.Frequencies
    alpha: Map = _static(default=IDENTITY)
    beta: Map = _static(default=IDENTITY)
    first_key: Map | None = _static(default=None)
    last_key: Map | None = _static(default=None)
    offset: float = _static(default=0.0)
    unit: Unkeyed = _static(default=Unkeyed(1.0))

    @property
    def position_unit(self) -> float:
        """Tokens per step of alpha - beta: 1/scale for PI, 1/step for Leaky."""
        return self.unit.value

    def holds(self, query_positions: jax.Array, key_positions: jax.Array) -> jax.Array:
        """bool: whether the band shows the key to the query; arguments broadcast."""
        inside = key_positions <= query_positions
        if self.first_key is not None:
            inside &= key_positions >= self.first_key(query_positions)
        if self.last_key is not None:
            inside &= key_positions <= self.last_key(query_positions)
        return inside

    def query_angles(self, query_positions: jax.Array) -> jax.Array:
        """int32[...] to radians float32[..., P], the offset included."""
        angles = rotary.angles(self.alpha(query_positions), self.frequencies)
        if self.offset:
            extra = jnp.asarray(self.offset * self.frequencies.angular, jnp.float32)
            angles = angles + extra.reshape(*(1,) * (angles.ndim - 1), -1)
        return angles

    def key_angles(self, key_positions: jax.Array) -> jax.Array:
        """int32[...] to radians float32[..., P]."""
        return rotary.angles(self.beta(key_positions), self.frequencies)

    def visible_after(self, first_key: Map) -> Band:
        """The same band without the keys before first_key(i)."""
        if self.first_key is not None:
            first_key = Latest(self.first_key, first_key)
        return dataclasses.replace(self, first_key=first_key)


@dataclasses.dataclass(frozen=True)
class Parts:
    """What an encoding consists of: what a function of the catalogue may return."""

    bands: tuple[Band, ...]
    bias: Bias | None = None
    amplitude: Amplitude | None = None
    draw: PositionDraw | None = None


@dataclasses.dataclass(frozen=True)
class Record:
    """What a logic was built from; serialised with checkpoints."""

    name: str
    head_dim: int
    base: float
    options: dict[str, Any]  # those that differ from their defaults
    traced: bool = False  # some option was a tracer, which must not outlive its trace


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class PositionLogic:
    """A position encoding as a value: bands, bias, temperature, layout.

    A pytree whose leaves are the frequencies and what the bias learns. Build one with
    `position_logic`.

    Attributes:
      bands: disjoint in the keys they hold for any query.
      temperature: multiplies the rotary products, not the bias.
      layout: "half" or "interleaved", see `rotary.rotate`.
      bias: added to the logits, or None.
      key_sets: per band the number of its key rotation, counted from 0: bands of one
        number turn each key by the same angle, so a cache stores it once. None: every
        band has its own.
      amplitude: what multiplies each plane of a pair, by its distance; None is 1.
      draw: how a sequence's positions are drawn, for who runs a model under it; None:
        they are counted.
    """

    bands: tuple[Band, ...]
    temperature: Temperature = _static()
    layout: Layout = _static(default="half")
    bias: Bias | None = None
    key_sets: tuple[int, ...] | None = _static(default=None)
    amplitude: Amplitude | None = _static(default=None)
    draw: PositionDraw | None = _static(default=None)
    record: Unkeyed = _static(default=Unkeyed(None))

    @property
    def name(self) -> str:
        """The name it was built under, "custom" for bands put together by hand."""
        return self.record.value.name if self.record.value else "custom"

    @property
    def key_set_of_band(self) -> tuple[int, ...]:
        """`key_sets`, spelt out."""
        if self.key_sets is None:
            return tuple(range(len(self.bands)))
        return self.key_sets

    @property
    def logit_scale(self) -> jax.Array | np.ndarray:
        """float32[], the factor that the frequencies' method asks for."""
        return self.bands[0].frequencies.logit_scale

    def query_temperature(self, head_dim: int, query_positions: jax.Array) -> jax.Array:
        """float32[...], what multiplies the rotary products of each query."""
        return self.temperature(head_dim, query_positions) * self.logit_scale

    def __call__(
        self,
        q_BTHD: jax.Array,
        k_BSKD: jax.Array,
        query_positions: jax.Array,
        key_positions: jax.Array,
    ) -> jax.Array:
        """Logits float32[B, H, T, S]; -inf where the logic hides a key.

        Positions are int32 [T] or [B, T], and [S] or [B, S]. Keys after the query are
        hidden too. O(T * S) memory per band: the definition, not the fast path.
        """
        self.check_heads(*q_BTHD.shape[2:])
        query_positions = _batched(query_positions)
        key_positions = _batched(key_positions)
        queries, keys = query_positions[:, :, None], key_positions[:, None, :]
        temperature = self.query_temperature(q_BTHD.shape[-1], query_positions)
        logits = jnp.float32(-jnp.inf)
        for band in self.bands:
            turned = (
                self.rotated(q_BTHD, band.query_angles(query_positions)),
                self.rotated(k_BSKD, band.key_angles(key_positions)),
            )
            if self.amplitude is None:
                products = grouped_products(*turned)
            else:
                distance = jnp.maximum(queries - keys, 0)
                products = amplified_products(
                    self.amplitude, *turned, distance, self.layout
                )
            inside = band.holds(queries, keys)[:, None]
            products = products * temperature[:, None, :, None]
            if self.bias is not None:
                products = products + self.bias(queries, keys)
            logits = jnp.where(inside, products, logits)
        return logits

    def check_heads(self, heads: int, head_dim: int) -> None:
        """Raise ValueError where queries of this shape are not what it was built for"""
        self._check_head_dim(head_dim)
        if self.bias is not None and self.bias.num_heads != heads:
            raise ValueError(
                f"this {self.name} logic was built for num_heads "
                f"{self.bias.num_heads}, but queries have {heads} heads"
            )

    def _check_head_dim(self, head_dim: int) -> None:
        if self.record.value and self.record.value.head_dim != head_dim:
            raise ValueError(
                f"this {self.name} logic was built for head_dim "
                f"{self.record.value.head_dim}, but queries have {head_dim} dims"
            )

    def rotated(self, x_BTHD: jax.Array, angles_BTP: jax.Array) -> jax.Array:
        """float32[B, T, H, D]: x turned by a band's angles [B or 1, T, P]."""
        x_BTHD = x_BTHD.astype(jnp.float32)
        return rotary.rotate(x_BTHD, angles_BTP[:, :, None], self.layout)

    def to_dict(self) -> dict[str, Any]:
        """A plain dict (JSON) that `logic_from_dict` reads back."""
        from rope_lab.logic.serialise import to_dict

        return to_dict(self)


def relative_positions(logic: PositionLogic, length: int) -> jax.Array:
    """float32[length, length]: the relative position of key j for query i, in tokens.

    `rotary.piecewise_relative` of the logic's bands; (i - j) / scale for interpolation.
    NaN where hidden, future keys included.

    Raises:
      ValueError: the encoding has no single relative position (NoPE, plain callables),
        or the logic is traced: its units are not part of a compiled program.
    """
    return relative_positions_at(logic, jnp.arange(length, dtype=jnp.int32))


def relative_positions_at(logic: PositionLogic, positions: jax.Array) -> jax.Array:
    """The entries of `relative_positions` at some positions, int32[N], alone."""
    if not isinstance(logic, PositionLogic):
        raise ValueError(
            f"relative_positions needs a PositionLogic with bands, got {logic!r}"
        )
    if logic.bias is not None or not any(b.frequencies.planes for b in logic.bands):
        raise ValueError(
            f"{logic.name} has no single relative position: it rotates nothing, or "
            "adds a bias"
        )
    if any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(logic)):
        raise ValueError(
            "relative_positions needs a concrete logic: close over it instead of "
            "passing it through jit, because the picture's units are not traced"
        )
    pieces = [
        (b.alpha, b.beta, b.first_key, b.last_key, b.offset, b.position_unit)
        for b in logic.bands
    ]
    return piecewise_relative_at(positions, pieces)


def _batched(positions: jax.Array) -> jax.Array:
    positions = jnp.asarray(positions)
    if not jnp.issubdtype(positions.dtype, jnp.integer):
        raise ValueError(f"positions must be integers, got {positions.dtype}")
    positions = positions.astype(jnp.int32)
    return positions[None] if positions.ndim == 1 else positions
