"""The order of a sequence in which every shard has the same work under causality."""

from __future__ import annotations

import numpy as np
from jaxtyping import Int


def zigzag(length: int, shards: int) -> Int[np.ndarray, " T"]:
    """Tokens in the order in which contiguous equal parts are the shards: int32[T].

    Cut into 2 n chunks, shard d holds chunks d and 2n - 1 - d: one that sees little and
    one that sees much. Then each shard has half of every other shard's keys to see, in
    every step of the ring.

    >>> zigzag(8, 2).tolist()
    [0, 1, 6, 7, 2, 3, 4, 5]

    Raises:
      ValueError: a length that 2 * shards chunks do not divide; pad it by segment 0.
    """
    if shards < 1 or length % (2 * shards):
        raise ValueError(
            f"a sequence of {length} tokens has no {2 * shards} equal chunks for "
            f"{shards} shards; pad it by segment 0"
        )
    chunks = np.arange(length, dtype=np.int32).reshape(2 * shards, -1)
    pairs = [(d, 2 * shards - 1 - d) for d in range(shards)]
    return chunks[np.array(pairs).ravel()].ravel()
