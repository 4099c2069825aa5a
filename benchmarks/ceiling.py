"""Upper bounds measured in the same run: products alone, of tiles and of a matrix.

The tile products walk the causal tiles as tiled attention does, with its tile lengths,
and take the products of each tile: two forward (scores; scores times values), and five
more backward. No softmax, no mask, no rotation: what is left is what no attention of
these tiles can be faster than.

Legend: H heads (and batch rows), M query tiles of t tokens, N key tiles of s tokens, D
head dim.
"""

import functools

import jax
import jax.numpy as jnp

from benchmarks.programs import Program, compiled
from benchmarks.timing import has_torch, load_torch
from rope_lab.attention.tiled import KEY_TILE, QUERY_TILE
from rope_lab.attention.tiles import cut_tokens, tile_length

PRODUCTS = {"forward": 2, "forward+backward": 7}  # of a tile
SIDE = 1024  # of the large matrix
_dot = functools.partial(
    jnp.einsum,
    precision=jax.lax.Precision.HIGHEST,
    preferred_element_type=jnp.float32,
)


def cut(x_BTHD: jax.Array, longest: int) -> jax.Array:
    """[B, T, H, D] to [B*H, tiles, tokens, D]."""
    tile = tile_length(x_BTHD.shape[1], longest)
    x = cut_tokens(x_BTHD.transpose(0, 2, 1, 3), 2, tile)
    return x.reshape(-1, *x.shape[2:])


def key_tiles(query_tile, t: int, s: int):
    """Key tiles with a key that some query of the tile may see."""
    return -(-(query_tile + 1) * t // s)


def forward_products(q_HMtD: jax.Array, k_HNsD: jax.Array, v_HNsD: jax.Array):
    """Sums of (q k) v over the causal tiles: [M, H, t, D]."""
    t, s = q_HMtD.shape[2], k_HNsD.shape[2]

    def row(m):
        def visit(n, out):
            scores = _dot("hqd,hkd->hqk", _tile(q_HMtD, m), _tile(k_HNsD, n))
            return out + _dot("hqk,hkd->hqd", scores, _tile(v_HNsD, n))

        start = jnp.zeros_like(q_HMtD[:, 0])
        return jax.lax.fori_loop(0, key_tiles(m, t, s), visit, start)

    return jax.lax.map(row, jnp.arange(q_HMtD.shape[1]))


def backward_products(q_HMtD, k_HNsD, v_HNsD, dout_HMtD):
    """The five products of each causal tile, summed into dq, dk and dv.

    Rows of scores belong to keys, as in our backward pass: of the ways to write the
    five, the one that runs at the rate of the forward products on a CPU.
    """
    t, s = q_HMtD.shape[2], k_HNsD.shape[2]

    def row(carry, m):
        def visit(n, carry):
            dq, dk, dv = carry
            q, k, dout = _tile(q_HMtD, m), _tile(k_HNsD, n), _tile(dout_HMtD, m)
            scores = _dot("hkd,hqd->hkq", k, q)
            slopes = _dot("hkd,hqd->hkq", _tile(v_HNsD, n), dout)
            dv = _add(dv, _dot("hkq,hqd->hkd", scores, dout), n)
            dk = _add(dk, _dot("hkq,hqd->hkd", slopes, q), n)
            return dq + _dot("hkq,hkd->hdq", slopes, k), dk, dv

        start = (jnp.zeros_like(q_HMtD[:, 0].swapaxes(1, 2)), *carry)
        dq, dk, dv = jax.lax.fori_loop(0, key_tiles(m, t, s), visit, start)
        return (dk, dv), dq.swapaxes(1, 2)

    start = jnp.zeros_like(k_HNsD), jnp.zeros_like(v_HNsD)
    (dk, dv), dq = jax.lax.scan(row, start, jnp.arange(q_HMtD.shape[1]))
    return dq, dk, dv


def tile_products(arrays_BTHD: tuple[jax.Array, ...], mode: str) -> Program:
    """The products of one mode, of q, k, v and dout, which are cut beforehand."""
    longest = QUERY_TILE, KEY_TILE, KEY_TILE, QUERY_TILE
    arrays = [cut(x, tile) for x, tile in zip(arrays_BTHD, longest, strict=True)]
    if mode == "forward":
        return compiled(forward_products, *arrays[:3])

    def both(q, k, v, dout):
        return forward_products(q, k, v), backward_products(q, k, v, dout)

    return compiled(both, *arrays)


def matrix_products() -> tuple[float, dict[str, Program]]:
    """Operations of one large float32 product, and the programs that take it."""
    keys = jax.random.split(jax.random.key(0), 2)
    a, b = (jax.random.normal(key, (SIDE, SIDE)) for key in keys)
    programs = {"jax": compiled(functools.partial(_dot, "ij,jk->ik"), a, b)}
    if has_torch():
        torch = load_torch()
        x, y = torch.randn(SIDE, SIDE), torch.randn(SIDE, SIDE)
        programs["torch"] = Program(lambda: x @ y, None)
    return 2.0 * SIDE**3, programs


def _tile(x: jax.Array, index) -> jax.Array:
    return jax.lax.dynamic_index_in_dim(x, index, 1, keepdims=False)


def _add(x: jax.Array, more: jax.Array, index) -> jax.Array:
    return jax.lax.dynamic_update_index_in_dim(x, _tile(x, index) + more, index, 1)
