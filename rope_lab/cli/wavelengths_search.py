"""Runs a search step by step; killed, it goes on from the state it saved last."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rope_lab.evaluation.frequency_search import Search, State
from rope_lab.training import Progress

_SAVE_EVERY = 10  # steps, of about a second


def run_search(search: Search, path: Path, label: str) -> tuple[State, float]:
    """(last state, score of where it began).

    Raises:
      ValueError: the file holds the state of a search of another shape.
    """
    state, done = search.begin(), 0
    first = float(state.best_score)
    if path.exists():
        state, done = _load(path, state)
    progress = Progress(search.steps, label=label)
    progress.message(f"loss beyond the training length {first:.4f}; step {done}")
    start = time.perf_counter()
    for n in range(done, search.steps):
        state = search.advance(state, n)
        last = n + 1 == search.steps
        if (n + 1) % _SAVE_EVERY == 0 or last:
            _save(path, state, n + 1)
            per_step = (time.perf_counter() - start) / (n + 1 - done)
            best, left = float(state.best_score), per_step * (search.steps - n - 1)
            progress.message(
                f"step {n + 1}/{search.steps}  best {best:.4f}  "
                f"{per_step:.2f} s/step  {left:,.0f} s left"
            )
    return state, first


def _save(path: Path, state: State, done: int) -> None:
    leaves: dict[str, Any] = {
        str(n): np.asarray(leaf) for n, leaf in enumerate(jax.tree.leaves(state))
    }
    draft = path.with_suffix(".tmp.npz")
    np.savez(draft, done=done, **leaves)
    os.replace(draft, path)


def _load(path: Path, like: State) -> tuple[State, int]:
    with np.load(path) as file:
        known, structure = jax.tree.flatten(like)
        leaves = [jnp.asarray(file[str(n)]) for n in range(len(known))]
        done = int(file["done"])
    if [np.shape(leaf) for leaf in leaves] != [np.shape(leaf) for leaf in known]:
        raise ValueError(f"{path} holds another search; remove it, or change workdir")
    return jax.tree.unflatten(structure, leaves), done
