"""How a GPU kernel walks the steps of a plan: its grid, loops and blocks.

The grid is (tile, head, batch row), with the tile and head that a program writes: of
queries, or of keys. Its own blocks come by index map; all others it reads in its loops.

Legend: as in `kernels`; t and s tokens of a tile of queries and of keys.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl

from rope_lab.attention import kernels
from rope_lab.attention.kernels import Operands, Plan
from rope_lab.attention.steps import Steps

try:
    from jax.experimental.pallas import triton as plgpu
except ImportError:  # JAX 0.12 announces its removal; without it, `gpu` refuses
    plgpu = None


@dataclasses.dataclass(frozen=True)
class Blocks:
    """Tokens of a tile of queries and of keys, warps, and stages of a pipeline."""

    query_tile: int
    key_tile: int
    warps: int
    stages: int


class Loops:
    """The steps of one anchor tile, as loops over the tiles on its way."""

    def __init__(self, plan: Plan, start, others, anchor):
        self.bands = plan.queries_RPxT.shape[1]
        self.start, self.others, self.anchor = start, others, anchor

    def run(self, band: int, visit, carry):
        """visit(tile, masked, carry) for each step of one band."""
        for cut in (0, 1):
            at = (self.anchor * self.bands + band) * 2 + cut
            carry = jax.lax.fori_loop(
                self.start[at],
                self.start[at + 1],
                lambda i, carry, cut=cut: visit(self.others[i], cut == 1, carry),
                carry,
            )
        return carry


def scores(plan: Plan, product, queries, keys, slope, masked: bool):
    """Logits of a tile, -inf where masked, and distances, where there is a bias.

    queries, keys: functions that read what belongs to each, in the tile's orientation.
    """
    apart = None
    if masked or plan.biased:
        queries, keys = queries(), keys()
    if plan.biased:
        apart = kernels.distance(queries, keys)
        product = product - slope * apart
    if masked:
        product = jnp.where(kernels.visible(plan, queries, keys), product, -jnp.inf)
    return product, apart


def rows(ref, index: tuple, tokens, axis: int):
    """Reads each row of ref[(*index, :, tokens)] with a new axis."""
    return lambda: [
        jnp.expand_dims(ref[(*index, x, tokens)], axis)
        for x in range(ref.shape[len(index)])
    ]


def slope_of(slopes, head):
    """The linear bias's slope of this head; None where there is no bias."""
    return slopes[0][head] if slopes else None


def anchor_of_queries():
    """This program's tile; the last first, which have most work under causality."""
    return pl.num_programs(0) - 1 - pl.program_id(0)


@dataclasses.dataclass(frozen=True)
class Walk:
    """Programs (anchor tile, head, batch row) of a kernel and the blocks they see.

    by_key: whether they belong to tiles of keys and key heads, not of queries.
    """

    plan: Plan
    steps: Steps
    group: int
    by_key: bool
    blocks: Blocks

    def spec(self, axes: str, shape: tuple[int, ...]) -> pl.BlockSpec:
        """Blocks of an array whose axes are, by letter: R B H K M N as in the legend,
        0 not cut. What is not the program's own tile or head it gets whole.
        """
        rows = self.steps.query_RL.shape[0]
        sizes: dict[str, int | None] = {"R": None, "B": None, "K": None}
        if self.by_key:
            sizes |= {"H": self.group, "N": self.plan.key_tile}
        else:
            sizes |= {"H": None, "M": self.plan.query_tile}
        block = [sizes.get(x, size) for x, size in zip(axes, shape, strict=True)]

        def index(tile, head, batch):
            if not self.by_key:
                tile = self._tiles() - 1 - tile
            key_head = head if self.by_key else head // self.group
            at = {"R": batch if rows > 1 else 0, "B": batch, "H": head, "K": key_head}
            at["N" if self.by_key else "M"] = tile
            return tuple(at.get(x, 0) for x in axes)

        return pl.BlockSpec(tuple(block), index)

    def _tiles(self) -> int:
        if self.by_key:
            return self.plan.keys_RyS.shape[2] // self.plan.key_tile
        return self.plan.queries_RPxT.shape[3] // self.plan.query_tile

    def call(self, kernel, operands: Operands, inputs, outputs, interpret: bool):
        """Its outputs. inputs: (array, axes); outputs: (shape, dtype, axes)."""
        batch, _, heads = operands.q.shape[1:4]
        inputs = [
            *inputs,
            (self.plan.queries_RPxT, "R00M"),
            (self.plan.keys_RyS, "R0N"),
            (self.steps.start_RE, "R0"),
            (self.steps.key_RL if not self.by_key else self.steps.query_RL, "R0"),
        ]
        if self.plan.biased:
            inputs.append((operands.slopes, "0"))
        grid = (self._tiles(), heads // (self.group if self.by_key else 1), batch)
        return pl.pallas_call(
            lambda *refs: kernel(self.plan, refs),
            grid=grid,
            in_specs=[self.spec(axes, x.shape) for x, axes in inputs],
            out_specs=[self.spec(axes, shape) for shape, _, axes in outputs],
            out_shape=[
                jax.ShapeDtypeStruct(shape, dtype) for shape, dtype, _ in outputs
            ],
            compiler_params=plgpu.CompilerParams(
                num_warps=self.blocks.warps, num_stages=self.blocks.stages
            ),
            interpret=interpret,
            name=kernel.__name__.strip("_"),
        )(*(x for x, _ in inputs))
