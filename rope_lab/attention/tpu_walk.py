"""How a TPU kernel walks the steps of a plan: its grid, tables and blocks.

The grid is (batch row, key head, head within the group, step), or with the last two
exchanged, and as long as there are steps. A table in scalar memory says which tiles
and which band a step is of; block index maps read it, so that the blocks of the next
step are fetched during this one, and blocks that stay are not fetched again.

Legend: as in `kernels`; t and s tokens of a tile of queries and of keys.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu

from rope_lab.attention import kernels
from rope_lab.attention.kernels import Plan
from rope_lab.attention.steps import Steps


class Code(NamedTuple):
    """Fields of a step packed into one int32: scalar memory is small."""

    band_bits: int
    key_bits: int

    def pack(self, steps: Steps) -> jax.Array:
        """int32[R * L]."""
        anchor = steps.anchor_RL
        index = jnp.arange(anchor.shape[1], dtype=jnp.int32)[None]
        work = index < steps.count_R[:, None]
        new = anchor[:, 1:] != anchor[:, :-1]
        first = jnp.pad(new, ((0, 0), (1, 0)), constant_values=True)
        last = jnp.pad(new, ((0, 0), (0, 1))) | (index == steps.count_R[:, None] - 1)
        code = steps.query_RL
        for field, bits in (
            (steps.key_RL, self.key_bits),
            (steps.band_RL, self.band_bits),
        ):
            code = (code << bits) | field
        for flag in (work, (steps.cut_RL == 1) & work, first & work, last & work):
            code = (code << 1) | flag
        return code.reshape(-1)

    def flags(self, code):
        """work, cut, first, last: bools."""
        return [((code >> shift) & 1) == 1 for shift in (3, 2, 1, 0)]

    def band(self, code):
        return (code >> 4) & ((1 << self.band_bits) - 1)

    def key(self, code):
        return (code >> (4 + self.band_bits)) & ((1 << self.key_bits) - 1)

    def query(self, code):
        return code >> (4 + self.band_bits + self.key_bits)


@dataclasses.dataclass(frozen=True)
class Walk:
    """One kernel's way through a grid of batch rows, heads and steps.

    Attributes:
      steps: what it walks; plan: where these are from.
      group: query heads per key head.
      heads_inside: whether the query heads of a key head are innermost, so that what
        belongs to keys stays in place while they pass.
    """

    steps: Steps
    plan: Plan
    group: int
    heads_inside: bool

    @property
    def code(self) -> Code:
        bands = self.plan.queries_RPxT.shape[1]
        key_tiles = self.plan.keys_RyS.shape[2] // self.plan.key_tile
        return Code(
            band_bits=(bands - 1).bit_length(),
            key_bits=(key_tiles - 1).bit_length(),
        )

    @property
    def rows(self) -> int:
        return self.steps.query_RL.shape[0]

    def grid(self, batch: int, key_heads: int) -> tuple:
        """As many steps as there are, at most, in a row of positions."""
        count = self.steps.count_R.max()
        inner = (count, self.group) if self.heads_inside else (self.group, count)
        return (batch, key_heads, *inner)

    def place(self, grid):
        """Batch row, key head, head within its group, step, from grid indices."""
        batch, key_head, a, b = grid
        return (batch, key_head, b, a) if self.heads_inside else (batch, key_head, a, b)

    def read(self, table, grid):
        """The code of the step at these grid indices."""
        batch, _, _, step = self.place(grid)
        length = self.steps.query_RL.shape[1]
        return table[step + batch * length if self.rows > 1 else step]

    def spec(self, axes: str, shape: tuple[int, ...]) -> pl.BlockSpec:
        """Blocks of an array whose axes are, by letter: R B H K P one index each, M
        and N one tile, 0 not cut.
        """
        sizes = {"M": self.plan.query_tile, "N": self.plan.key_tile}
        block = [
            size if axis == "0" else sizes.get(axis)
            for axis, size in zip(axes, shape, strict=True)
        ]

        def index(*grid_and_tables):
            grid, table = grid_and_tables[:4], grid_and_tables[4]
            batch, key_head, head, _ = self.place(grid)
            code = self.read(table, grid)
            at = {
                "R": batch if self.rows > 1 else 0,
                "B": batch,
                "H": key_head * self.group + head,
                "K": key_head,
                "P": self.code.band(code),
                "M": self.code.query(code),
                "N": self.code.key(code),
                "0": 0,
            }
            return tuple(at[axis] for axis in axes)

        return pl.BlockSpec(tuple(block), index)


class Step(NamedTuple):
    """What a kernel knows of its step."""

    walk: Walk
    code: jax.Array
    slope: jax.Array | None
    inner: jax.Array  # head within its group

    def run(self, visit) -> None:
        """visit(masked) where there is work."""
        work, cut, _, _ = self.walk.code.flags(self.code)
        pl.when(work & ~cut)(lambda: visit(False))
        pl.when(cut)(lambda: visit(True))

    def starts(self):
        first = self.walk.code.flags(self.code)[2]
        return first & (self.inner == 0) if self.walk.heads_inside else first

    def ends(self):
        last = self.walk.code.flags(self.code)[3]
        done = self.inner == self.walk.group - 1
        return last & done if self.walk.heads_inside else last

    @property
    def band(self):
        return self.walk.code.band(self.code)

    def scores(self, q_Dt, k_sD, queries_xt, keys_ys, masked: bool):
        """[s, t]: logits of the tile, -inf where masked, and their distances."""
        plan, distance_st = self.walk.plan, None
        scores_st = kernels.dot(k_sD, q_Dt, (1, 0))
        if masked or plan.biased:
            queries = [queries_xt[x : x + 1, :] for x in range(queries_xt.shape[0])]
            keys = [_column(keys_ys[y : y + 1, :]) for y in range(keys_ys.shape[0])]
        if plan.biased:
            distance_st = kernels.distance(queries, keys)
            scores_st = scores_st - self.slope * distance_st
        if masked:
            inside = kernels.visible(plan, queries, keys)
            scores_st = jnp.where(inside, scores_st, -jnp.inf)
        return scores_st, distance_st


def _column(row_1s: jax.Array) -> jax.Array:
    return row_1s.reshape(-1, 1)


def _step_here(walk: Walk, tables) -> Step:
    grid = [pl.program_id(axis) for axis in range(4)]
    _, key_head, inner, _ = walk.place(grid)
    slope = tables[1][key_head * walk.group + inner] if walk.plan.biased else None
    return Step(walk, walk.read(tables[0], grid), slope, inner)


def call(kernel, walk: Walk, slopes, inputs, outputs, scratch=(), interpret=False):
    """The kernel's outputs; inputs are (array, axes), outputs (shape, dtype, axes)."""
    tables = [walk.code.pack(walk.steps)] + ([slopes] if walk.plan.biased else [])

    def body(*refs):
        kernel(_step_here(walk, refs[: len(tables)]), refs[len(tables) :])

    batch, key_heads = inputs[1][0].shape[1:3]
    outer = pltpu.PARALLEL, pltpu.PARALLEL
    inner = (pltpu.ARBITRARY,) * 2
    return pl.pallas_call(
        body,
        grid_spec=pltpu.PrefetchScalarGridSpec(
            num_scalar_prefetch=len(tables),
            grid=walk.grid(batch, key_heads),
            in_specs=[walk.spec(axes, x.shape) for x, axes in inputs],
            out_specs=[walk.spec(axes, shape) for shape, _, axes in outputs],
            scratch_shapes=[pltpu.VMEM(shape, jnp.float32) for shape in scratch],
        ),
        out_shape=[jax.ShapeDtypeStruct(shape, dtype) for shape, dtype, _ in outputs],
        compiler_params=pltpu.CompilerParams(dimension_semantics=(*outer, *inner)),
        interpret=interpret,
        name=kernel.__name__.strip("_"),
    )(*tables, *(x for x, _ in inputs))
