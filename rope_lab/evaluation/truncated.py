"""The row every method has to beat: plain RoPE that never sees a long context.

A user without any method cuts the text into windows of the training length. Here
the same targets are scored that way: windows of L tokens at a stride of L/2 inside
the same evaluation sequence, each scoring its second half, the first all of it. A
target then sees its last L/2 to L tokens, or all there are if fewer.
"""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from rope_lab.evaluation.positions import (
    Progress,
    check_windows,
    per_token,
    targets_checksum,
)


class Cut(NamedTuple):
    """One short window: where it starts, and its first position that is scored."""

    start: int
    first_scored: int


def cuts(length: int, train_length: int) -> list[Cut]:
    """The short windows that score ``length`` targets, each exactly once.

    Where the stride does not divide the rest, the last window ends with the text and
    scores only what is left: its targets see more context, never less.

    Raises:
      ValueError: if train_length is below 2.
    """
    if train_length < 2:
        raise ValueError(f"train_length is {train_length}; expected at least 2 tokens")
    stride = train_length // 2
    plan, scored = [Cut(0, 0)], min(train_length, length)
    while scored < length:
        end = min(scored + stride, length)
        start = end - train_length
        plan.append(Cut(start, scored - start))
        scored = end
    return plan


def cut_windows(
    tokens: Int[np.ndarray, "N T+1"], plan: list[Cut], train_length: int
) -> Int[np.ndarray, "N*W L+1"]:
    """The short windows of every sequence, sequence by sequence."""
    width = min(train_length, tokens.shape[1] - 1) + 1
    starts_W = np.array([cut.start for cut in plan])
    index_WS = starts_W[:, None] + np.arange(width)
    return tokens[:, index_WS].reshape(-1, width)


def reassemble(
    values: Shaped[np.ndarray, "N*W L"], plan: list[Cut], length: int
) -> Shaped[np.ndarray, "N T"]:
    """Values of the scored halves, back in the order of the whole sequence."""
    values_NWL = values.reshape(-1, len(plan), values.shape[-1])
    parts = [values_NWL[:, w, cut.first_scored :] for w, cut in enumerate(plan)]
    joined = np.concatenate(parts, axis=1)
    assert joined.shape[1] == length, (joined.shape, length)
    return joined


def truncated(
    graphdef: Any,
    params: Any,
    tokens: Int[np.ndarray, "N T+1"],
    logic: Any,
    train_length: int,
    batch_size: int | None = None,
    progress: Progress | None = None,
) -> tuple[Float[np.ndarray, "N T"], Bool[np.ndarray, "N T"]]:
    """Like :func:`per_token`, with the context of each target cut to L tokens.

    Args:
      graphdef: the model's definition.
      params: its parameters.
      tokens: int32 windows of T + 1 tokens.
      logic: the logic the model was trained with.
      train_length: L, tokens.
      batch_size: short windows per call; by default chosen from L.
      progress: called after each batch with (short windows done, in all).

    Returns:
      Loss in nats and hits for exactly the targets of ``per_token``, in its order.

    Raises:
      ValueError: for train_length below 2 or malformed tokens.
      RuntimeError: if the scored targets were not those of the sequences.
    """
    tokens = check_windows(tokens)
    length = tokens.shape[1] - 1
    plan = cuts(length, train_length)
    short = cut_windows(tokens, plan, train_length)
    scored = targets_checksum(reassemble(short[:, 1:], plan, length))
    if scored != targets_checksum(tokens[:, 1:]):
        raise RuntimeError("the truncated windows do not score the sequence's targets")
    loss, hit = per_token(graphdef, params, short, logic, batch_size, progress)
    return reassemble(loss, plan, length), reassemble(hit, plan, length)
