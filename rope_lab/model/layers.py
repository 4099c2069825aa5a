"""How a stack of layers is walked: equal layers are scanned, not unrolled.

The parameters of all layers are stacked on a leading axis, whatever logic each layer
runs under; the logics decide how the stack is walked. A run of layers whose logics
repeat with some period (period 1: all equal) is one `jax.lax.scan` over the periods, so
32 layers compile as fast as one period of them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from rope_lab.model.products import PRODUCT


@dataclasses.dataclass(frozen=True)
class Run:
    """Layers start .. start + period * repeats - 1, a scan over the repeats."""

    start: int
    period: int
    repeats: int


def plan(kinds: Sequence[object]) -> list[Run]:
    """Cover layers of the given static kinds by runs, each as long as it can be.

    >>> plan("aaaa"), plan("aab" * 3), plan("aaab")
    ([Run(start=0, period=1, repeats=4)], [Run(start=0, period=3, repeats=3)], \
[Run(start=0, period=1, repeats=3), Run(start=3, period=1, repeats=1)])
    """
    runs, start = [], 0
    while start < len(kinds):
        best = Run(start, 1, 1)
        for period in range(1, (len(kinds) - start) // 2 + 1):
            repeats = _repeats(kinds, start, period)
            if repeats > 1 and period * repeats > best.period * best.repeats:
                best = Run(start, period, repeats)
        runs.append(best)
        start += best.period * best.repeats
    return runs


def apply_layers(
    layer: Callable, stacked, x: jax.Array, logics: Sequence, remat: str
) -> jax.Array:
    """x through all layers; layer(parameters, logic, x) -> x.

    stacked: pytree with a leading axis of len(logics). Logics of one kind may differ
    in their leaves (frequencies), which are then scanned like parameters.
    remat: as `ModelConfig.remat`.
    """
    if remat != "none":
        layer = _rematerialised(layer, _KEPT[remat])
    for run in plan([_kind(logic) for logic in logics]):
        x = _apply_run(layer, stacked, x, logics, run)
    return x


# What the forward pass keeps of a layer, besides its input.
_KEPT = {
    "full": jax.checkpoint_policies.nothing_saveable,
    "dots": jax.checkpoint_policies.save_only_these_names(PRODUCT),
}


def _rematerialised(layer: Callable, kept: Callable) -> Callable:
    """The layer, recomputed in the backward pass; the logic may be a plain callable."""

    def apply(parameters, logic, x):
        recomputed = jax.checkpoint(lambda p, x: layer(p, logic, x), policy=kept)
        return recomputed(parameters, x)

    return apply


def _apply_run(layer, stacked, x, logics, run: Run):
    stop = run.start + run.period * run.repeats
    shape = (run.repeats, run.period)
    parameters = jax.tree.map(
        lambda leaf: leaf[run.start : stop].reshape(*shape, *leaf.shape[1:]), stacked
    )
    scanned, shared = [], []  # per place in the period: what differs, what does not
    for place in range(run.period):
        members = logics[run.start + place : stop : run.period]
        same = all(_same(member, members[0]) for member in members)
        shared.append(members[0] if same else None)
        scanned.append(None if same else _stack(members))

    def body(x, step):
        parameters, varying = step
        for place in range(run.period):
            logic = varying[place] if shared[place] is None else shared[place]
            mine = jax.tree.map(lambda leaf, place=place: leaf[place], parameters)
            x = layer(mine, logic, x)
        return x, None

    if run.repeats == 1:
        first = jax.tree.map(lambda leaf: leaf[0], (parameters, scanned))
        return body(x, first)[0]
    return jax.lax.scan(body, x, (parameters, scanned))[0]


def _same(logic, other) -> bool:
    return logic is other or (not _has_arrays(logic) and logic == other)


def _has_arrays(logic) -> bool:
    return not jax.tree_util.treedef_is_leaf(jax.tree.structure(logic))


def _stack(logics: Sequence):
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *logics)


def _repeats(kinds: Sequence[object], start: int, period: int) -> int:
    first, repeats = kinds[start : start + period], 1
    while kinds[start + repeats * period : start + (repeats + 1) * period] == first:
        repeats += 1
    return repeats


def _kind(logic) -> object:
    """What must be equal for two layers to share a scan: structure and leaf shapes."""
    leaves, structure = jax.tree.flatten(logic)
    if jax.tree_util.treedef_is_leaf(structure):  # a plain callable
        return logic
    return structure, tuple((np.shape(x), jnp.result_type(x)) for x in leaves)
