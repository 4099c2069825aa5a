"""The product of a linear layer, with a gradient that XLA computes fast on a CPU."""

from __future__ import annotations

import functools
from typing import Any

import jax
from jax.ad_checkpoint import checkpoint_name

PRODUCT = "product"  # what rematerialisation calls the result; see `ModelConfig.remat`


def linear_product(
    x: jax.Array, kernel: jax.Array, dimension_numbers: Any, **options: Any
) -> jax.Array:
    """x [..., F] times kernel [F, G]: [..., G]; `nnx.Linear` takes it as `dot_general`.

    JAX's own gradient of the kernel is the slope of the output, transposed, times the
    input. XLA on a CPU fuses whatever made that slope (behind a gate, an exponential
    for every entry) into the transposition and computes it in transposed order, three
    times slower. Here the input is transposed instead: the same sums.
    """
    if dimension_numbers != (((x.ndim - 1,), (0,)), ((), ())):
        raise ValueError(
            "a linear layer contracts the last axis of its input with the first of its "
            f"kernel; got {dimension_numbers}"
        )
    return checkpoint_name(_product(tuple(options.items()), x, kernel), PRODUCT)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _product(options, x, kernel):
    return _contract(x, kernel, (x.ndim - 1,), (0,), options)


def _forward(options, x, kernel):
    return _product(options, x, kernel), (x, kernel)


def _backward(options, saved, slope):
    x, kernel = saved
    tokens = tuple(range(x.ndim - 1))
    dx = _contract(slope, kernel, (x.ndim - 1,), (1,), options)
    dkernel = _contract(x, slope, tokens, tokens, options)
    return dx.astype(x.dtype), dkernel.astype(kernel.dtype)


_product.defvjp(_forward, _backward)


def _contract(x, y, axes_of_x, axes_of_y, options) -> jax.Array:
    return jax.lax.dot_general(
        x, y, ((axes_of_x, axes_of_y), ((), ())), **dict(options)
    )
