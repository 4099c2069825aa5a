"""The rows of the attention benchmark: a name, how far it goes, and its program.

Windows are a quarter of the length. Encodings that differ in their frequencies alone
run one program; YaRN with resonance and RoPE with resonance are here to show it.
"""

import dataclasses
import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp

from benchmarks import ceiling, peers
from benchmarks.programs import Program, compiled, with_gradients
from rope_lab import attend, position_logic

MODES = ("forward", "forward+backward")
EVERYWHERE = 1 << 40
SEED_TORCH = "ReRoPE, the seed's two matrices, PyTorch"
SEED_JAX = "ReRoPE, the seed's two matrices, JAX"
SDPA = "RoPE, PyTorch scaled_dot_product_attention"
JAX_OWN = "RoPE, jax.nn.dot_product_attention"
DENSE = "RoPE, ours, dense"
ROPE = "RoPE, ours, tiled"
REROPE = "ReRoPE, ours, tiled"
PRODUCTS = "tile products alone"


@dataclasses.dataclass(frozen=True)
class Case:
    """One set of inputs and what is computed of them; batch 1, causal."""

    length: int  # T, tokens
    mode: str  # of MODES
    heads: int = 4  # H
    head_dim: int = 64  # D
    dtype: str = "float32"

    @property
    def window(self) -> int:
        """Tokens whose distances are kept whole."""
        return max(1, self.length // 4)

    def arrays(self) -> tuple[jax.Array, ...]:
        """q, k, v and the slope of the output: [1, T, H, D]."""
        keys = jax.random.split(jax.random.key(0), 4)
        shape = (1, self.length, self.heads, self.head_dim)
        return tuple(jax.random.normal(key, shape, self.dtype) for key in keys)

    def operations(self, pairs: float) -> float:
        """Of the tile products over so many pairs of a query and a key."""
        products = ceiling.PRODUCTS[self.mode]
        return products * 2.0 * self.head_dim * self.heads * pairs


@dataclasses.dataclass(frozen=True)
class Row:
    """label; program(case); cost: expected time over that of the products, for the
    estimate of a run; longest: tokens up to which it is measured; visible: keys that a
    query sees at most (a sliding window), or None."""

    label: str
    program: Callable[[Case], Program]
    cost: float
    longest: int = EVERYWHERE
    visible: Callable[[Case], int] | None = None
    framework: str = "jax"

    def pairs(self, case: Case) -> float:
        """Pairs of a query and a key it may see: the causal half, or less."""
        length = case.length
        window = length if self.visible is None else min(length, self.visible(case))
        return window * (window + 1) / 2 + (length - window) * window


def jax_program(attention: Callable, case: Case) -> Program:
    """attention(q, k, v), or its output and gradients, compiled for a case."""
    arrays = case.arrays()
    if case.mode == "forward":
        return compiled(attention, *arrays[:3])
    return compiled(with_gradients(attention), *arrays)


def logic_options(case: Case) -> dict[str, tuple[str, dict]]:
    """Label -> name and options of every banded logic that is a row."""
    window = case.window
    chunk = {"chunk_length": window, "local_window": max(1, window // 4)}
    yarn = {"scale": 4.0, "train_length": window, "resonance": True}
    return {
        "RoPE": ("rope", {}),
        "RoPE, resonance": ("rope", {"resonance": True}),
        "YaRN, resonance": ("yarn", yarn),
        "ReRoPE": ("rerope", {"window": window}),
        "Leaky ReRoPE": ("leaky_rerope", {"window": window, "step": 16}),
        "Self-Extend": ("self_extend", {"window": window, "group": 8}),
        "dual chunk": ("dual_chunk", chunk),
        "RoPE, sliding window": ("rope", {"sliding_window": window}),
        "ALiBi": ("alibi", {"num_heads": case.heads}),
    }


def ours(kind: str, implementation: str, case: Case) -> Program:
    """attend under the logic of this kind."""
    name, options = logic_options(case)[kind]
    logic = position_logic(name, head_dim=case.head_dim, **options)
    attention = functools.partial(attend, logic=logic, implementation=implementation)
    return jax_program(attention, case)


def own_row(kind: str, implementation: str, cost: float, longest=EVERYWHERE) -> Row:
    """A row of this project."""
    sliding = kind == "RoPE, sliding window"
    return Row(
        f"{kind}, ours, {implementation}",
        functools.partial(ours, kind, implementation),
        cost,
        longest,
        (lambda case: case.window) if sliding else None,
    )


def _jax_peer(make: Callable, with_window: bool, case: Case) -> Program:
    sizes = (case.length, case.head_dim, *([case.window] if with_window else []))
    return jax_program(make(*sizes), case)


def _torch_peer(make: Callable, with_window: bool, case: Case) -> Program:
    sizes = (case.length, case.head_dim, *([case.window] if with_window else []))
    return peers.torch_program(make(*sizes), case.arrays(), case.mode)


def _products(case: Case) -> Program:
    return ceiling.tile_products(case.arrays(), case.mode)


def cpu_rows(quadratic_up_to: int = 4096, all_up_to: int = 16384) -> list[Row]:
    """Rows with a score matrix in memory end early; beyond all_up_to few are left."""
    part, short, few = functools.partial, quadratic_up_to, all_up_to
    kinds = [*logic_options(Case(64, MODES[0]))]
    others = [kind for kind in kinds if kind not in ("RoPE", "ReRoPE")]
    seed_torch = part(_torch_peer, peers.torch_two_matrices, True)
    seed_jax = part(_jax_peer, peers.two_matrices, True)
    return [
        Row(SEED_TORCH, seed_torch, 18.0, short, framework="torch"),
        Row(SEED_JAX, seed_jax, 8.0, short),
        Row(SDPA, part(_torch_peer, peers.torch_own, False), 1.8, framework="torch"),
        Row(JAX_OWN, part(_jax_peer, peers.jax_own, False), 6.0, short),
        own_row("RoPE", "dense", 4.0, short),
        own_row("RoPE", "tiled", 1.5),
        own_row("ReRoPE", "tiled", 1.5),
        *(own_row(kind, "tiled", 1.6, few) for kind in others),
        Row(PRODUCTS, _products, 1.0),
    ]


def gpu_rows() -> list[Row]:
    """cuDNN's plain causal attention under RoPE, and ours on the GPU, in bfloat16."""

    def cudnn(case: Case) -> Program:
        cos, sin = map(jnp.asarray, peers.tables(case.length, case.head_dim))

        def attention(q, k, v):
            q, k = (peers.turned(x, cos, sin).astype(v.dtype) for x in (q, k))
            return jax.nn.dot_product_attention(
                q, k, v, is_causal=True, implementation="cudnn"
            )

        return jax_program(attention, case)

    kinds = [k for k in logic_options(Case(64, MODES[0])) if k != "ALiBi"]
    return [Row("RoPE, cuDNN", cudnn, 1.0), *(own_row(k, "gpu", 1.2) for k in kinds)]
