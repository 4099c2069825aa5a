"""A program to be timed: a call that returns when it is done, and the memory it takes.

Memory is what exists only while the program runs: for JAX what the compiler plans
(`memory_analysis().temp_size_in_bytes`, exact), for PyTorch, which has no plan, the
growth of the process's resident memory at its peak, outputs and gradients included.
"""

import ctypes
import gc
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp


class Program(NamedTuple):
    """call() -> outputs; temporary: bytes, None where it was not measured."""

    call: Callable[[], Any]
    temporary: int | None


def compiled(function: Callable, *arrays: jax.Array) -> Program:
    """A jitted function of these arrays, compiled now."""
    program = jax.jit(function).lower(*arrays).compile()
    plan = program.memory_analysis()
    temporary = None if plan is None else plan.temp_size_in_bytes
    return Program(lambda: jax.block_until_ready(program(*arrays)), temporary)


def carrying(step: Callable, state: Any, *rest: Any) -> Callable[[], Any]:
    """A call of step(state, *rest) -> (out, state), each state goes to the next."""
    program = jax.jit(step, donate_argnums=0).lower(state, *rest).compile()
    states = [jax.tree.map(jnp.array, state)]

    def call():
        out, state = program(states.pop(), *rest)
        states.append(state)
        return jax.block_until_ready(out)

    return call


def with_gradients(function: Callable) -> Callable:
    """(q, k, v, dout) -> (output, gradients of q, k, v) of a function of q, k, v."""

    def both(q, k, v, dout):
        out, pull = jax.vjp(function, q, k, v)
        return out, pull(dout)

    return both


def eager(function: Callable[[], Any]) -> Program:
    """A PyTorch function. Called twice: the first call allocates what stays."""
    function()
    return Program(function, peak_growth(function))


def peak_growth(function: Callable[[], Any]) -> int | None:
    """Bytes by which resident memory grows at its peak; None outside of Linux."""
    gc.collect()
    try:
        ctypes.CDLL(None).malloc_trim(0)  # or the call lives on what others freed
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts here
        before = _resident("VmRSS")
        outputs = function()
        after = _resident("VmHWM")
    except (OSError, AttributeError):
        return None
    del outputs
    return max(0, after - before)


def _resident(name: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name):
            return 1024 * int(line.split()[1])
    raise OSError(f"/proc/self/status has no {name}")
