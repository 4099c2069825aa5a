"""Tiled attention over a sequence whose parts lie on several devices.

Keys and values travel around the ring of devices as they came, not turned; queries stay
where they are. On arrival a block is turned once for each band that shows some of it,
its tiles are walked as on one device, and what each query gathered is merged by its
log-sum-exp. The backward pass sends the blocks around once more, with their slopes, and
needs no more memory than two blocks beside the shard's own.

Legend: as in `tiled`; T and S are the local tokens.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from rope_lab.attention.operands import Layout
from rope_lab.attention.scores import BandScores, CallableScores, Operands
from rope_lab.attention.tiled import (
    KEY_TILE,
    QUERY_TILE,
    band_scores,
    by_tile,
    hoisted,
    planned_tiles,
    queries_by_row,
    queries_of_rows,
    tile_lengths,
    turned_tiles,
)
from rope_lab.attention.tiles import Tiles
from rope_lab.attention.walk import map_rows, walk_backward, walk_forward
from rope_lab.logic import PositionLogic

_UNSEEN = -1e30  # log-sum-exp of a query that has seen no key yet


class _Block(NamedTuple):
    """What travels: keys and values of one device as they came, and who sees them."""

    k_BSKD: jax.Array
    v_BSKC: jax.Array
    keys_RS: jax.Array
    marks_RS: jax.Array
    segments_RS: jax.Array | None


@dataclasses.dataclass(frozen=True)
class _Ring:
    """What is static of one call."""

    axis: str
    scores: BandScores | CallableScores
    query_tile: int
    key_tile: int

    def send(self, tree):
        """Each device's to the next one."""
        count = jax.lax.axis_size(self.axis)
        pairs = [(device, (device + 1) % count) for device in range(count)]
        return jax.tree.map(lambda x: jax.lax.ppermute(x, self.axis, pairs), tree)


def ring(
    q_BTHD: jax.Array,
    k_BSKD: jax.Array,
    v_BSKC: jax.Array,
    logic,
    layout: Layout,
    axis: str,
    query_tile: int = QUERY_TILE,
    key_tile: int = KEY_TILE,
) -> jax.Array:
    """`tiled` of this device's queries over the keys of all devices of a mesh axis.

    To be called inside jax.shard_map, on shards of equal size in any order of
    positions. Each device does the same work where the order is `zigzag`'s.
    """
    t, s = tile_lengths(q_BTHD, k_BSKD, query_tile, key_tile)
    heads, key_heads = q_BTHD.shape[2], k_BSKD.shape[2]
    q = q_BTHD.astype(jnp.float32)
    if isinstance(logic, PositionLogic):
        logic.check_heads(heads, q_BTHD.shape[3])
        scores = band_scores(logic, heads, key_heads, t, s)
        arrays, layout = _varying((Operands(q, k_BSKD, v_BSKC, logic), layout), axis)
    else:
        arrays, layout = _varying((Operands(q, k_BSKD, v_BSKC, None), layout), axis)
        function, learned = hoisted(logic, arrays.q, arrays.k, layout, t, s)
        if learned and axis in _axes(arrays.q):
            raise ValueError(
                "a callable whose parameters are differentiated runs over shards in "
                "jax.shard_map(..., check_vma=False) alone; a PositionLogic runs in any"
            )
        scores = CallableScores(function, heads // key_heads, key_heads)
        arrays = arrays._replace(logic=learned)
    out = _ringed(_Ring(axis, scores, t, s), arrays, layout)
    return queries_of_rows(out, q_BTHD.shape[1]).astype(q_BTHD.dtype)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _ringed(ring: _Ring, x: Operands, layout: Layout) -> jax.Array:
    """float32[R, B/R, M*t, H, C]; x as it came, its logic varying over the axis."""
    return _keep(ring, x, layout)[0]


def _keep(ring: _Ring, x: Operands, layout: Layout):
    def visit(state, _):
        block, gathered = state
        coming = ring.send(block)
        return (coming, _merged(gathered, _gather(ring, x, layout, block))), None

    block = _own_block(x, layout)
    state = block, _nothing(ring, x, layout)
    others = jax.lax.axis_size(ring.axis) - 1
    (block, gathered), _ = jax.lax.scan(visit, state, length=others)
    out, lse = _merged(gathered, _gather(ring, x, layout, block))
    return out, (x, layout, out, jnp.where(lse < _UNSEEN / 2, jnp.inf, lse))


def _pull_back(ring: _Ring, saved, dout):
    x, layout, out, lse = saved

    def visit(state, _):
        block, theirs, mine = state
        slopes = _slopes(ring, x, layout, block, lse, out, dout)
        theirs = jax.tree.map(jnp.add, theirs, (slopes.k, slopes.v))
        mine = jax.tree.map(jnp.add, mine, (slopes.q, slopes.logic))
        return (ring.send(block), ring.send(theirs), mine), None

    keys = tuple(jnp.zeros_like(y, jnp.float32) for y in (x.k, x.v))
    state = _own_block(x, layout), keys, jax.tree.map(jnp.zeros_like, (x.q, x.logic))
    count = jax.lax.axis_size(ring.axis)
    (_, (dk, dv), (dq, logic)), _ = jax.lax.scan(visit, state, length=count)
    dk, dv = dk.astype(x.k.dtype), dv.astype(x.v.dtype)
    return Operands(dq, dk, dv, logic), None


_ringed.defvjp(_keep, _pull_back)


def _own_block(x: Operands, layout: Layout) -> _Block:
    segments = None if layout.segments is None else layout.segments[1]
    return _Block(x.k, x.v, layout.keys_RS, layout.marks_RS, segments)


def _tiles(ring: _Ring, x: Operands, layout: Layout, block: _Block) -> Tiles:
    """The plan of this device's queries and a block's keys."""
    segments = layout.segments and (layout.segments[0], block.segments_RS)
    met = dataclasses.replace(
        layout, keys_RS=block.keys_RS, marks_RS=block.marks_RS, segments=segments
    )
    logic = x.logic if isinstance(ring.scores, BandScores) else None
    return planned_tiles(logic, met, ring.query_tile, ring.key_tile)


def _operands(ring: _Ring, tiles: Tiles, q, k, v, logic) -> Operands:
    """As the walk wants them; keys are turned by those bands alone that show some."""
    rows, tile = len(tiles.count_RM), tiles.keys_RNs.shape[-1]
    if isinstance(ring.scores, BandScores):
        k = turned_tiles(logic, k, tiles, where_needed=True)
    else:
        k = by_tile(k, rows, tile)[:, :, None]
    return Operands(queries_by_row(q, tiles), k, by_tile(v, rows, tile), logic)


def _if_any(tiles: Tiles, work, otherwise):
    """work(), or what it would give where no query sees a key of the block."""
    return jax.lax.cond(tiles.count_RM.sum() > 0, work, otherwise)


def _gather(ring: _Ring, x: Operands, layout: Layout, block: _Block):
    """Output and log-sum-exp of this device's queries over one block."""
    tiles = _tiles(ring, x, layout, block)

    def work():
        arrays = _operands(ring, tiles, x.q, block.k_BSKD, block.v_BSKC, x.logic)
        walk = functools.partial(walk_forward, ring.scores)
        out, lse = map_rows(walk, arrays, tiles)
        return out, jnp.where(jnp.isinf(lse), _UNSEEN, lse)

    return _if_any(tiles, work, lambda: _nothing(ring, x, layout))


def _nothing(ring: _Ring, x: Operands, layout: Layout):
    """What a query has gathered before it sees a key."""
    rows, queries = layout.queries_RT.shape
    count = -(-queries // ring.query_tile) * ring.query_tile
    shape = (rows, x.q.shape[0] // rows, count, x.q.shape[2])
    return (
        jax.lax.full_like(x.q, 0.0, shape=(*shape, x.v.shape[-1])),
        jax.lax.full_like(x.q, _UNSEEN, shape=(*shape, 1)),
    )


def _merged(some, more):
    """Output and log-sum-exp over the keys of both."""
    (out, lse), (out_more, lse_more) = some, more
    together = jnp.logaddexp(lse, lse_more)
    share, share_more = jnp.exp(lse - together), jnp.exp(lse_more - together)
    return out * share + out_more * share_more, together


def _slopes(ring: _Ring, x, layout: Layout, block: _Block, lse, out, dout) -> Operands:
    """Gradients of queries, of one block's keys and values, and of the logic."""
    tiles = _tiles(ring, x, layout, block)
    k, v = (y.astype(jnp.float32) for y in (block.k_BSKD, block.v_BSKC))
    given = x.q, k, v, x.logic

    def work():
        prepare = functools.partial(_operands, ring, tiles)
        arrays, pull = jax.vjp(prepare, *given)
        walk = functools.partial(walk_backward, ring.scores)
        slopes = map_rows(walk, arrays, tiles, lse, out, dout)
        logic = jax.tree.map(lambda y: y.sum(0), slopes.logic)
        return Operands(*pull(slopes._replace(logic=logic)))

    def none():
        return Operands(*jax.tree.map(jnp.zeros_like, given))

    return _if_any(tiles, work, none)


def _varying(tree, axis: str):
    """The tree with all leaves of the type that differs over `axis` in jax.shard_map.

    And over every other axis that some leaf differs over: a loop's carry has to start
    with the type it ends with. The gradient with respect to what was the same on all
    devices is then the sum over them. With check_vma=False there are no such types.
    """
    axes = frozenset().union(*(_axes(leaf) for leaf in jax.tree.leaves(tree)))
    if axis not in axes:
        return tree

    def declare(x):
        missing = tuple(sorted(axes - _axes(x)))
        return jax.lax.pcast(x, missing, to="varying") if missing else x

    return jax.tree.map(declare, tree)


def _axes(x: jax.Array) -> frozenset[str]:
    return jax.typeof(x).manual_axis_type.varying
