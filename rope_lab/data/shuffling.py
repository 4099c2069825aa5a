"""Random order that is a pure function of a few integers.

Only the raw bits of Philox and its seeding are used, which NumPy promises to keep;
the streams of `Generator.permutation` and its kin may change between versions.
"""

import enum

import numpy as np


@enum.unique
class Purpose(enum.IntEnum):
    """Keeps the random numbers of one seed apart, one stream per use."""

    HELD_OUT = 0
    DOCUMENTS = 1
    SEQUENCES = 2
    REPEATS = 3
    WINDOWS = 4
    PREFIXES = 5
    FIRST_PASSAGES = 6
    RANDOM_PASSAGES = 7
    SELECTION = 8
    RETRIEVAL = 9


def draws(count: int, purpose: Purpose, seed: int, *key: int) -> np.ndarray:
    """uint64[count], uniform; `seed` and `key` are whole numbers >= 0."""
    if seed < 0:
        raise ValueError(f"seed is {seed}; give a whole number >= 0")
    entropy = np.random.SeedSequence([seed, int(purpose), *key])
    return np.random.Philox(entropy).random_raw(count)


def permutation(count: int, purpose: Purpose, seed: int, *key: int) -> np.ndarray:
    """int64[count]: the numbers 0..count-1 in random order."""
    return np.argsort(draws(count, purpose, seed, *key), kind="stable")
