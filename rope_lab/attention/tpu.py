"""Flash attention over bands on a TPU: Pallas kernels that walk the plan of `tiles`.

The grid's last axis is the list of steps itself, as long as there is work: block index
maps read tile and band of a step from a table in scalar memory. Tiles are held with
keys along sublanes and queries along lanes, so all that belongs to a query (bounds,
largest logit, log-sum-exp) is a row, and no array is padded to 128 lanes.

Legend: as in `kernels`; t and s tokens of a tile of queries and of keys.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl

from rope_lab.attention import kernels
from rope_lab.attention.kernels import LOWEST, Operands, Plan
from rope_lab.attention.operands import Layout
from rope_lab.attention.platform import target_platform
from rope_lab.attention.steps import Steps
from rope_lab.attention.tiles import tile_length
from rope_lab.attention.tpu_walk import Step, Walk, call

LANES = 128  # tokens of a tile are a multiple of this
# Tokens of a tile of queries and of keys, by the bytes of a number. Float32 products
# are six of bfloat16, and their unrolled code is as much longer to compile.
TILES = {2: (512, 1024), 4: (256, 256)}
WIDEST = 256  # head dim that is known to fit into VMEM; values of 1536 do not
TABLE_BYTES = 3 * 2**18  # for the table of steps, of 1 MiB of scalar memory


def tpu(
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
    longest = TILES[q_BTHD.dtype.itemsize]
    t = _tile(q_BTHD.shape[1], query_tile or longest[0])
    s = _tile(k_BSKD.shape[1], key_tile or longest[1])
    walker = _Kernels(interpret)
    return kernels.banded(walker, q_BTHD, k_BSKD, v_BSKC, logic, layout, (t, s))


def _tile(length: int, longest: int) -> int:
    multiple = min(LANES, longest)
    return max(multiple, tile_length(length, longest, multiple))


def refusal(q_BTHD, k_BSKD, v_BSKC, logic) -> str | None:
    """Why `tpu` does not take this call, or None."""
    platform = target_platform()
    if platform != "tpu":
        return (
            f"needs a TPU; this process runs on {platform}: leave it 'auto', "
            "or install the extra tpu"
        )
    dim = max(q_BTHD.shape[-1], v_BSKC.shape[-1])
    if dim > WIDEST:
        return f"tiles of head dims up to {WIDEST} fit into VMEM, got {dim}"
    reason = kernels.refused(q_BTHD, k_BSKD, v_BSKC, logic, ("bfloat16", "float32"))
    return reason or _too_long(q_BTHD, k_BSKD, len(logic.bands))


def _too_long(q_BTHD, k_BSKD, bands: int) -> str | None:
    (batch, queries), keys = q_BTHD.shape[:2], k_BSKD.shape[1]
    query_tile, key_tile = TILES[q_BTHD.dtype.itemsize]
    steps = batch * bands * -(-queries // query_tile) * -(-keys // key_tile)
    if 4 * steps <= TABLE_BYTES:
        return None
    return (
        f"a batch of {batch} times {queries} queries, {keys} keys and {bands} bands "
        f"can need a table of {4 * steps} bytes, and scalar memory has room for "
        f"{TABLE_BYTES}; split the batch or the sequence"
    )


def _forward_kernel(step: Step, refs) -> None:
    q, k, v, queries, keys, out, lse, largest, total, sums = refs

    @pl.when(step.starts())
    def _():
        largest[...] = jnp.full_like(largest, LOWEST)
        total[...] = jnp.zeros_like(total)
        sums[...] = jnp.zeros_like(sums)

    def visit(masked):
        scores_st, _ = step.scores(q[...], k[...], queries, keys, masked)
        largest[...], total[...], p_st, shrink_1t = kernels.softmax_step(
            scores_st, largest[...], total[...], axis=0
        )
        more_Ct = kernels.dot(v[...], p_st.astype(v.dtype), (1, 0))
        sums[...] = sums[...] * shrink_1t + more_Ct

    step.run(visit)

    @pl.when(step.ends())
    def _():
        scale_1t, lse[...] = kernels.softmax_end(largest[...], total[...])
        out[...] = (sums[...] * scale_1t).astype(out.dtype)


def _slopes(step: Step, refs, masked: bool):
    """[s, t]: weights and the slopes of logits of a tile, and their distances."""
    q, k, v, dout, lse, delta, queries, keys = refs
    scores_st, distance_st = step.scores(q[...], k[...], queries, keys, masked)
    p_st = jnp.exp(scores_st - lse[...])
    ds_st = p_st * (kernels.dot(v[...], dout[...], (1, 0)) - delta[...])
    return p_st, ds_st, distance_st


def _query_kernel(step: Step, refs) -> None:
    """Slopes of queries, and of the bias, where there is one."""
    inputs, (dq, *dslope) = refs[:8], refs[8:]

    @pl.when(step.starts())
    def _():
        for ref in (dq, *dslope):
            ref[...] = jnp.zeros_like(ref)

    def visit(masked):
        _, ds_st, distance_st = _slopes(step, inputs, masked)
        k = inputs[1]
        dq[step.band] += kernels.dot(k[...], ds_st.astype(k.dtype), (0, 0))
        if dslope:
            dslope[0][...] -= (ds_st * distance_st).sum(0, keepdims=True)

    step.run(visit)


def _key_kernel(step: Step, refs) -> None:
    """Slopes of keys and values."""
    inputs, (dk, dv) = refs[:8], refs[8:]

    @pl.when(step.starts())
    def _():
        dk[...] = jnp.zeros_like(dk)
        dv[...] = jnp.zeros_like(dv)

    def visit(masked):
        p_st, ds_st, _ = _slopes(step, inputs, masked)
        q, dout = inputs[0], inputs[3]
        dv[...] += kernels.dot(p_st.astype(dout.dtype), dout[...], (1, 1))
        dk[step.band] += kernels.dot(ds_st.astype(q.dtype), q[...], (1, 1))

    step.run(visit)


@dataclasses.dataclass(frozen=True)
class _Kernels:
    """The forward and the backward pass that `kernels.banded` asks for."""

    interpret: bool

    def forward(self, operands: Operands, plan: Plan):
        q_PBHDT, k_PBKSD = _turned(operands)
        v_BKCS = operands.v.transpose(0, 2, 3, 1)
        batch, heads, _, queries = q_PBHDT.shape[1:]
        dim, t = v_BKCS.shape[2], plan.query_tile
        out_BHCT, lse_BH1T = call(
            _forward_kernel,
            _walk(operands, plan, plan.queries_first),
            operands.slopes,
            [
                (q_PBHDT, "PBH0M"),
                (k_PBKSD, "PBKN0"),
                (v_BKCS, "BK0N"),
                (plan.queries_RPxT, "RP0M"),
                (plan.keys_RyS, "R0N"),
            ],
            [
                ((batch, heads, dim, queries), operands.v.dtype, "BH0M"),
                ((batch, heads, 1, queries), jnp.float32, "BH0M"),
            ],
            [(1, t), (1, t), (dim, t)],
            self.interpret,
        )
        return out_BHCT.transpose(0, 3, 1, 2), lse_BH1T[:, :, 0]

    def backward(self, operands: Operands, plan: Plan, lse, delta, dout_BTHC):
        q_PBHDT, k_PBKSD = _turned(operands)
        v_BKSC = operands.v.transpose(0, 2, 1, 3)
        inputs = [
            (q_PBHDT, "PBH0M"),
            (k_PBKSD, "PBKN0"),
            (v_BKSC, "BKN0"),
            (dout_BTHC.transpose(0, 2, 3, 1), "BH0M"),
            (lse[:, :, None], "BH0M"),
            (delta[:, :, None], "BH0M"),
            (plan.queries_RPxT, "RP0M"),
            (plan.keys_RyS, "R0N"),
        ]
        dq = (q_PBHDT.shape, jnp.float32, "0BH0M")
        rows = (lse[:, :, None].shape, jnp.float32, "BH0M")
        dq_PBHDT, *dslopes = call(
            _query_kernel,
            _walk(operands, plan, plan.queries_first),
            operands.slopes,
            inputs,
            [dq, rows] if plan.biased else [dq],
            interpret=self.interpret,
        )
        dk_PBKSD, dv_BKSC = call(
            _key_kernel,
            _walk(operands, plan, plan.keys_first, heads_inside=True),
            operands.slopes,
            inputs,
            [
                (k_PBKSD.shape, jnp.float32, "0BKN0"),
                (v_BKSC.shape, jnp.float32, "BKN0"),
            ],
            interpret=self.interpret,
        )
        return (
            dq_PBHDT.transpose(0, 1, 4, 2, 3),
            dk_PBKSD.transpose(0, 1, 3, 2, 4),
            dv_BKSC.transpose(0, 2, 1, 3),
            dslopes[0].sum((0, 2, 3)) if plan.biased else None,
        )


def _turned(operands: Operands):
    """Queries [P, B, H, D, T] and keys [P, B, K, S, D]."""
    return operands.q.transpose(0, 1, 3, 4, 2), operands.k.transpose(0, 1, 3, 2, 4)


def _walk(operands: Operands, plan: Plan, steps: Steps, heads_inside=False) -> Walk:
    group = operands.q.shape[3] // operands.k.shape[3]
    return Walk(steps, plan, group, heads_inside)
