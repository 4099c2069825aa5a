"""Attention without this project: the seed's method, PyTorch's own and JAX's own.

Every peer rotates queries and keys the way its users do, from tables of cosines and
sines made beforehand. Ours makes its angles inside every call, and is timed with that.

Legend: B batch, T tokens, H heads, D head dim; PyTorch's arrays are [B, H, T, D].
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.programs import Program, eager
from benchmarks.timing import load_torch
from rope_lab import rotary


def tables(length: int, head_dim: int) -> tuple[np.ndarray, np.ndarray]:
    """Cosines and sines float32[T, D] of plain RoPE, planes twice (layout "half")."""
    angles = rotary.angles(jnp.arange(length), rotary.rope(head_dim))
    angles = np.concatenate([np.asarray(angles, np.float64)] * 2, axis=-1)
    return np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)


# --- JAX ---------------------------------------------------------------------------


def turned(x_BTHD: jax.Array, cos_TD: jax.Array, sin_TD: jax.Array) -> jax.Array:
    """x rotated by the tables' angles."""
    first, second = jnp.split(x_BTHD, 2, axis=-1)
    other = jnp.concatenate([-second, first], axis=-1)
    return x_BTHD * cos_TD[None, :, None] + other * sin_TD[None, :, None]


def jax_own(length: int, head_dim: int) -> Callable:
    """Plain RoPE through `jax.nn.dot_product_attention`."""
    cos, sin = map(jnp.asarray, tables(length, head_dim))

    def attention(q, k, v):
        q, k = turned(q, cos, sin), turned(k, cos, sin)
        return jax.nn.dot_product_attention(q, k, v, is_causal=True)

    return attention


def two_matrices(length: int, head_dim: int, window: int) -> Callable:
    """ReRoPE as its article computes it: all near scores, all far scores, then pick."""
    cos, sin = map(jnp.asarray, tables(length, head_dim))
    scores_of = functools.partial(jnp.einsum, "bthd,bshd->bhts")

    def attention(q, k, v):
        positions = jnp.arange(length)
        distance = (positions[:, None] - positions[None])[None, None]
        near = scores_of(turned(q, cos, sin), turned(k, cos, sin))
        far = scores_of(turned(q, cos[window][None], sin[window][None]), k)
        scores = jnp.where(distance < window, near, far) / head_dim**0.5
        scores = jnp.where(distance >= 0, scores, -jnp.inf)
        return jnp.einsum("bhts,bshd->bthd", jax.nn.softmax(scores), v)

    return attention


# --- PyTorch -----------------------------------------------------------------------


def _torch_turned(x_BHTD, cos_TD, sin_TD):
    torch = load_torch()
    first, second = x_BHTD.chunk(2, dim=-1)
    return x_BHTD * cos_TD + torch.cat((-second, first), dim=-1) * sin_TD


def torch_own(length: int, head_dim: int) -> Callable:
    """Plain RoPE through scaled_dot_product_attention."""
    torch = load_torch()
    cos, sin = map(torch.from_numpy, tables(length, head_dim))

    def attention(q, k, v):
        q, k = _torch_turned(q, cos, sin), _torch_turned(k, cos, sin)
        return torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)

    return attention


def torch_two_matrices(length: int, head_dim: int, window: int) -> Callable:
    """ReRoPE as its article computes it, in PyTorch."""
    torch = load_torch()
    cos, sin = map(torch.from_numpy, tables(length, head_dim))
    positions = torch.arange(length)
    distance = positions[:, None] - positions[None]
    hidden = torch.full((length, length), float("-inf")).triu(1)

    def attention(q, k, v):
        near = _torch_turned(q, cos, sin) @ _torch_turned(k, cos, sin).transpose(-1, -2)
        far = _torch_turned(q, cos[window], sin[window]) @ k.transpose(-1, -2)
        scores = torch.where(distance < window, near, far) / head_dim**0.5
        return torch.softmax(scores + hidden, dim=-1) @ v

    return attention


def torch_program(attention: Callable, arrays_BTHD, mode: str) -> Program:
    """attention(q, k, v) of these arrays, or its output and gradients, as a program."""
    torch = load_torch()
    q, k, v, dout = (
        torch.from_numpy(np.asarray(x).transpose(0, 2, 1, 3).copy())
        for x in arrays_BTHD
    )

    def forward():
        with torch.no_grad():
            return attention(q, k, v)

    def both():
        leaves = [x.detach().requires_grad_() for x in (q, k, v)]
        out = attention(*leaves)
        return out.detach(), torch.autograd.grad(out, leaves, dout)

    return eager(forward if mode == "forward" else both)
