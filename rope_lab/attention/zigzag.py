"""The order of a sequence in which every shard has the same work under causality."""

from __future__ import annotations

import numpy as np
from jaxtyping import Int

from rope_lab.attention.tiled import QUERY_TILE


def zigzag(length: int, shards: int, tile: int = QUERY_TILE) -> Int[np.ndarray, " T"]:
    """Tokens in the order in which contiguous equal parts are the shards: int32[T].

    The sequence is dealt out in rounds of 2 n chunks, forth and back: shard d gets
    chunks d and 2n - 1 - d of each, one that sees less and one that sees more. A chunk
    is one tile where tiles fill the sequence, since every tile of a shard then has a
    like one in every other: under causality, under a window of more than some tiles,
    and within packed documents, shards have the same work in every step of the ring.
    Otherwise there is one round.

    >>> zigzag(8, 2).tolist()
    [0, 1, 6, 7, 2, 3, 4, 5]
    >>> zigzag(8, 2, tile=1).tolist()
    [0, 3, 4, 7, 1, 2, 5, 6]

    Args:
      tile: tokens; those of `ring`.

    Raises:
      ValueError: a length that 2 * shards chunks do not divide; pad it by segment 0.
    """
    if shards < 1 or length % (2 * shards):
        raise ValueError(
            f"a sequence of {length} tokens has no {2 * shards} equal chunks for "
            f"{shards} shards; pad it by segment 0"
        )
    chunk = length // (2 * shards)
    rounds = 1 if chunk % tile else chunk // tile
    tokens = np.arange(length, dtype=np.int32).reshape(rounds, 2 * shards, -1)
    pairs = [(d, 2 * shards - 1 - d) for d in range(shards)]
    return tokens[:, np.array(pairs)].swapaxes(0, 1).ravel()
