"""Flash attention over bands on a GPU: Pallas kernels through Triton.

One program computes one tile of queries (of keys, for their slopes) and walks its steps
of the plan: band by band, so that what is turned by the band is read once, and uncut
tiles in a loop of their own, without any mask.

Legend: as in `kernels`; t and s tokens of a tile of queries and of keys.
"""

from __future__ import annotations

import dataclasses
import re

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl

from rope_lab.attention import kernels
from rope_lab.attention.gpu_walk import (
    Blocks,
    Loops,
    Walk,
    anchor_of_queries,
    plgpu,
    rows,
    scores,
    slope_of,
)
from rope_lab.attention.kernels import LOWEST, Operands, Plan
from rope_lab.attention.operands import Layout
from rope_lab.attention.platform import target_platform

SMALLEST = 16  # of any axis of a product
WIDEST = 256  # head dim
OLDEST = 8.0  # compute capability: bfloat16 products


def _blocks(itemsize: int, dim: int) -> tuple[Blocks, Blocks]:
    """Of the forward and the backward kernels.

    The largest that, compiled for an H100 and an A100, keep to their shared memory (at
    most 164 KiB) and to registers, and use the H100's matrix instructions. Float32 has
    none that are exact. Not yet timed.
    """
    if itemsize == 4:
        if dim <= 128:
            return Blocks(64, 32, 8, 2), Blocks(32, 16, 8, 2)
        return Blocks(32, 16, 8, 2), Blocks(16, 16, 8, 1)
    if dim <= 64:
        return Blocks(128, 64, 4, 3), Blocks(64, 64, 4, 2)
    if dim <= 128:
        return Blocks(128, 64, 8, 3), Blocks(64, 64, 8, 2)
    return Blocks(64, 64, 8, 2), Blocks(64, 32, 8, 2)


def gpu(
    q_BTHD: jax.Array,
    k_BSKD: jax.Array,
    v_BSKC: jax.Array,
    logic,
    layout: Layout,
    interpret: bool = False,
    query_tile: int | None = None,
    key_tile: int | None = None,
) -> jax.Array:
    """softmax(logic(q, k)) v over visible keys: [B, T, H, C], like q.

    Products take operands of q's dtype and add up in float32; O(T + S) memory.
    interpret: run the kernels on any platform, slowly. query_tile, key_tile: the most
    tokens a tile has.
    """
    dim = max(q_BTHD.shape[-1], v_BSKC.shape[-1])
    blocks = tuple(
        dataclasses.replace(
            block,
            query_tile=_tile(q_BTHD.shape[1], query_tile or block.query_tile),
            key_tile=_tile(k_BSKD.shape[1], key_tile or block.key_tile),
        )
        for block in _blocks(q_BTHD.dtype.itemsize, dim)
    )
    tiles = [(block.query_tile, block.key_tile) for block in blocks]
    walker = _Kernels(blocks[0], blocks[1], interpret)
    return kernels.banded(walker, q_BTHD, k_BSKD, v_BSKC, logic, layout, *tiles)


def _tile(length: int, longest: int) -> int:
    return max(SMALLEST, min(longest, pl.next_power_of_2(length)))


def refusal(q_BTHD, k_BSKD, v_BSKC, logic) -> str | None:
    """Why `gpu` does not take this call, or None."""
    platform = target_platform()
    if platform not in ("gpu", "cuda"):
        return (
            f"needs a GPU; this process runs on {platform}: leave it 'auto', "
            "or install the extra gpu"
        )
    capability = str(getattr(jax.devices()[0], "compute_capability", "unknown"))
    if not re.fullmatch(r"\d+(\.\d+)?", capability) or float(capability) < OLDEST:
        return (
            f"needs an NVIDIA GPU of compute capability {OLDEST} or newer, this is "
            f"{jax.devices()[0].device_kind}, {capability}"
        )
    if plgpu is None:
        return f"needs Pallas' Triton backend, which JAX {jax.__version__} lacks"
    dim = max(q_BTHD.shape[-1], v_BSKC.shape[-1])
    if dim > WIDEST:
        return f"head dims up to {WIDEST} fit into shared memory, got {dim}"
    dtypes = ("bfloat16", "float16", "float32")
    return kernels.refused(q_BTHD, k_BSKD, v_BSKC, logic, dtypes)


def _forward_kernel(plan: Plan, refs) -> None:
    q, k, v, queries, keys, start, others, *slopes, out, lse = refs
    tile, head, anchor = q.shape[1], pl.program_id(1), anchor_of_queries()
    loops, slope = Loops(plan, start, others, anchor), slope_of(slopes, head)

    def visit(band, q_tD, n, masked, carry):
        largest, total, sums_tC = carry
        tokens = pl.ds(n * plan.key_tile, plan.key_tile)
        product_ts = kernels.dot(q_tD, k[band, tokens, :], (1, 1))
        scores_ts, _ = scores(
            plan,
            product_ts,
            rows(queries, (band,), slice(None), 1),
            rows(keys, (), tokens, 0),
            slope,
            masked,
        )
        largest, total, p_ts, shrink = kernels.softmax_step(
            scores_ts, largest, total, axis=1
        )
        more_tC = kernels.dot(p_ts.astype(v.dtype), v[tokens, :], (1, 0))
        return largest, total, sums_tC * shrink + more_tC

    carry = (
        jnp.full((tile, 1), LOWEST, jnp.float32),
        jnp.zeros((tile, 1), jnp.float32),
        jnp.zeros((tile, v.shape[1]), jnp.float32),
    )
    for band in range(loops.bands):
        q_tD = q[band]
        carry = loops.run(
            band, lambda *step, p=band, q_tD=q_tD: visit(p, q_tD, *step), carry
        )
    largest, total, sums_tC = carry
    scale, end = kernels.softmax_end(largest, total)
    out[...] = (sums_tC * scale).astype(out.dtype)
    lse[...] = end[:, 0]


def _query_kernel(plan: Plan, refs) -> None:
    """Slopes of queries, and of the bias, where there is one."""
    q, k, v, dout, lse, delta, queries, keys, start, others, *more = refs
    slopes, dq, dslope = (more[:1], *more[1:]) if plan.biased else ([], *more, None)
    head = pl.program_id(1)
    loops, slope = (
        Loops(plan, start, others, anchor_of_queries()),
        slope_of(slopes, head),
    )
    dout_tC, lse_t1, delta_t1 = dout[...], lse[...][:, None], delta[...][:, None]

    def visit(band, q_tD, n, masked, carry):
        dq_tD, dslope_t1 = carry
        tokens = pl.ds(n * plan.key_tile, plan.key_tile)
        k_sD = k[band, tokens, :]
        scores_ts, apart_ts = scores(
            plan,
            kernels.dot(q_tD, k_sD, (1, 1)),
            rows(queries, (band,), slice(None), 1),
            rows(keys, (), tokens, 0),
            slope,
            masked,
        )
        p_ts = jnp.exp(scores_ts - lse_t1)
        ds_ts = p_ts * (kernels.dot(dout_tC, v[tokens, :], (1, 1)) - delta_t1)
        if plan.biased:
            dslope_t1 = dslope_t1 - (ds_ts * apart_ts).sum(1, keepdims=True)
        return dq_tD + kernels.dot(ds_ts.astype(k.dtype), k_sD, (1, 0)), dslope_t1

    dslope_t1 = jnp.zeros_like(lse_t1)
    for band in range(loops.bands):
        q_tD = q[band]
        carry = jnp.zeros(q_tD.shape, jnp.float32), dslope_t1
        dq[band], dslope_t1 = loops.run(
            band, lambda *step, p=band, q_tD=q_tD: visit(p, q_tD, *step), carry
        )
    if plan.biased:
        dslope[...] = dslope_t1[:, 0]


def _key_kernel(plan: Plan, refs) -> None:
    """Slopes of keys and values; query heads of the key head one after another."""
    q, k, v, dout, lse, delta, queries, keys, start, others, *slopes, dk, dv = refs
    anchor, group = pl.program_id(0), q.shape[2]
    first_head = pl.program_id(1) * group
    loops, v_sC = Loops(plan, start, others, anchor), v[...]

    def visit(band, k_sD, head, m, masked, carry):
        dk_sD, dv_sC = carry
        tokens = pl.ds(m * plan.query_tile, plan.query_tile)
        q_tD, dout_tC = q[band, tokens, head, :], dout[tokens, head, :]
        scores_st, _ = scores(
            plan,
            kernels.dot(k_sD, q_tD, (1, 1)),
            rows(queries, (band,), tokens, 0),
            rows(keys, (), slice(None), 1),
            slope_of(slopes, first_head + head),
            masked,
        )
        p_st = jnp.exp(scores_st - lse[head, tokens][None])
        dv_sC = dv_sC + kernels.dot(p_st.astype(dout.dtype), dout_tC, (1, 0))
        dp_st = kernels.dot(v_sC, dout_tC, (1, 1))
        ds_st = p_st * (dp_st - delta[head, tokens][None])
        return dk_sD + kernels.dot(ds_st.astype(q.dtype), q_tD, (1, 0)), dv_sC

    dv_sC = jnp.zeros(v_sC.shape, jnp.float32)
    for band in range(loops.bands):
        k_sD = k[band]

        def of_head(head, carry, band=band, k_sD=k_sD):
            return loops.run(band, lambda *step: visit(band, k_sD, head, *step), carry)

        carry = jnp.zeros(k_sD.shape, jnp.float32), dv_sC
        dk[band], dv_sC = jax.lax.fori_loop(0, group, of_head, carry)
    dv[...] = dv_sC


@dataclasses.dataclass(frozen=True)
class _Kernels:
    """The forward and the backward pass that `kernels.banded` asks for."""

    forward_blocks: Blocks
    backward_blocks: Blocks
    interpret: bool

    def forward(self, operands: Operands, plan: Plan):
        q, k, v = (_wide(x) for x in operands[:3])
        batch, queries, heads = q.shape[1:4]
        out, lse = _walk(operands, plan, False, self.forward_blocks).call(
            _forward_kernel,
            operands,
            [(q, "0BMH0"), (k, "0BNK0"), (v, "BNK0")],
            [
                ((batch, queries, heads, v.shape[-1]), v.dtype, "BMH0"),
                ((batch, heads, queries), jnp.float32, "BHM"),
            ],
            self.interpret,
        )
        return out[..., : operands.v.shape[-1]], lse

    def backward(self, operands: Operands, plan: Plan, lse, delta, dout):
        q, k, v = (_wide(x) for x in operands[:3])
        inputs = [
            (q, "0BMH0"),
            (k, "0BNK0"),
            (v, "BNK0"),
            (_wide(dout), "BMH0"),
            (lse, "BHM"),
            (delta, "BHM"),
        ]
        of_queries = [(q.shape, jnp.float32, "0BMH0")]
        if plan.biased:
            of_queries.append((lse.shape, jnp.float32, "BHM"))
        of_keys = [(k.shape, jnp.float32, "0BNK0"), (v.shape, jnp.float32, "BNK0")]
        by_query = _walk(operands, plan, False, self.backward_blocks)
        by_key = _walk(operands, plan, True, self.backward_blocks)
        dq, *dslopes = by_query.call(
            _query_kernel, operands, inputs, of_queries, self.interpret
        )
        dk, dv = by_key.call(_key_kernel, operands, inputs, of_keys, self.interpret)
        return (
            dq[..., : operands.q.shape[-1]],
            dk[..., : operands.k.shape[-1]],
            dv[..., : operands.v.shape[-1]],
            dslopes[0].sum((0, 2)) if plan.biased else None,
        )


def _walk(operands: Operands, plan: Plan, by_key: bool, blocks: Blocks) -> Walk:
    steps = plan.keys_first if by_key else plan.queries_first
    group = operands.q.shape[3] // operands.k.shape[3]
    return Walk(plan, steps, group, by_key, blocks)


def _wide(x: jax.Array) -> jax.Array:
    """x with its last axis padded to a power of two, as products need it."""
    missing = max(SMALLEST, pl.next_power_of_2(x.shape[-1])) - x.shape[-1]
    return jnp.pad(x, (*((0, 0),) * (x.ndim - 1), (0, missing))) if missing else x
