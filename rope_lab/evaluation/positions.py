"""Loss and accuracy of every single token, compiled once per band structure.

Letters: N windows, B batch, T positions. A window holds T + 1 tokens: tokens
0..T-1 are read, tokens 1..T are the targets, so position t is scored after t + 1
tokens of context.
"""

import functools
import hashlib
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jaxtyping import Bool, Float, Int

from rope_lab.logic.arguments import join_logic, split_logic
from rope_lab.logic.draws import evaluation_positions
from rope_lab.model.scoring import target_scores

# Dense attention keeps a few arrays of B * H * T * T float32 alive: with 8 heads 2**19
# entries of B * T * T are 16 MiB for each; larger batches are no faster on a CPU. Short
# windows are bound by the logits, B * T * V, instead: as if T were at least 256.
SCORE_ENTRIES = 2**19
SHORT = 256

Progress = Callable[[int, int], None]  # (windows done, windows in all)


def per_token(
    graphdef: Any,
    params: Any,
    tokens: Int[np.ndarray, "N T+1"],
    logic: Any,
    batch_size: int | None = None,
    progress: Progress | None = None,
) -> tuple[Float[np.ndarray, "N T"], Bool[np.ndarray, "N T"]]:
    """Measures a model on windows of text, token by token.

    The arrays of ``logic`` (frequencies, learned biases) enter the compiled
    program as arguments: logics of equal structure share one program per length. A
    randomized logic's positions are drawn, or evenly spread, as it says: window n has
    the draw of number n, whatever the batch size.

    Args:
      graphdef: the model's definition, from ``init_model``.
      params: its parameters.
      tokens: int32 windows of T + 1 tokens.
      logic: a position logic, a plain callable, or a sequence with one per layer.
      batch_size: windows per call, the last one filled up; by default chosen from T
        so that the T x T scores stay small.
      progress: called after each batch with (windows done, windows in all).

    Returns:
      Loss in nats and whether the most likely token was the target, for each of
      the T targets of each window.

    Raises:
      ValueError: if tokens is not a table of at least one window of two tokens.
    """
    tokens = check_windows(tokens)
    count, length = tokens.shape[0], tokens.shape[1] - 1
    batch_size = batch_size or batch_size_for(length)
    arrays, structure = split_logic(logic)
    losses, hits = [], []
    for start in range(0, count, batch_size):
        rows = np.arange(start, start + batch_size)
        rows = np.minimum(rows, count - 1)  # always full: one program
        loss_BT, hit_BT = _score(
            graphdef, structure, params, tokens[rows], arrays, rows.astype(np.int32)
        )
        losses.append(np.asarray(loss_BT))
        hits.append(np.asarray(hit_BT))
        if progress is not None:
            progress(min(start + batch_size, count), count)
    return np.concatenate(losses)[:count], np.concatenate(hits)[:count]


def batch_size_for(length: int, score_entries: int = SCORE_ENTRIES) -> int:
    """Windows per call for which B * T * max(T, 256) stays within ``score_entries``."""
    return max(1, score_entries // (length * max(length, SHORT)))


def targets_checksum(targets: Int[np.ndarray, "N T"]) -> str:
    """sha256 of the target tokens in order, with their shape."""
    digest = hashlib.sha256(repr(targets.shape).encode())
    digest.update(np.ascontiguousarray(targets, dtype="<i4").tobytes())
    return digest.hexdigest()


def check_windows(tokens: Int[np.ndarray, "N T+1"]) -> Int[np.ndarray, "N T+1"]:
    """The windows as int32, or a ValueError that says what is wrong with them."""
    tokens = np.asarray(tokens)
    if tokens.ndim != 2 or tokens.shape[0] < 1 or tokens.shape[1] < 2:
        raise ValueError(
            f"tokens has shape {tokens.shape}; expected [windows, length + 1] with at "
            "least one window of two tokens"
        )
    return tokens.astype(np.int32)


@functools.partial(jax.jit, static_argnames=("graphdef", "structure"))
def _score(graphdef, structure, params, tokens_BS, arrays, rows_B):
    logic = join_logic(arrays, structure)
    inputs_BT, targets_BT = tokens_BS[:, :-1], tokens_BS[:, 1:]
    positions = evaluation_positions(logic, rows_B, inputs_BT.shape[1])
    return target_scores(graphdef, params, inputs_BT, targets_BT, logic, positions)
