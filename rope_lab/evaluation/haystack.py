"""Prompts of an exact length in tokens: sentences hidden in text that does not matter.

A prompt is never longer than asked, and shorter by less than one more word.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Sequence

import numpy as np

# Says nothing, in short words; any other text serves as well, see `Filler`.
NOISE = (
    "The hills are green and the lake is still. Birds fly by and the wind is mild. "
    "A road leads over the hill and back again. "
)


@dataclasses.dataclass(frozen=True)
class Filler:
    """Words to hide things among, repeated where they do not suffice.

    Attributes:
      name: in records.
      words: of running text, with their punctuation.
      checksum: sha256 of them.
    """

    name: str
    words: tuple[str, ...]
    checksum: str

    def take(self, count: int) -> list[str]:
        """The first `count` words."""
        times = -(-count // len(self.words))
        return list((self.words * times)[:count])


def filler(name: str = "noise", texts: Sequence[str] = (NOISE,)) -> Filler:
    """Words of some texts.

    Raises:
      ValueError: there are none.
    """
    words = tuple(word for text in texts for word in text.split())
    if not words:
        raise ValueError(f"filler {name!r} holds no words; give other text")
    checksum = hashlib.sha256(" ".join(words).encode()).hexdigest()
    return Filler(name, words, checksum)


def hide(
    words: Sequence[str], sentences: Sequence[str], depths: Sequence[float]
) -> str:
    """The words with sentences put in where one of theirs ends, nearest to its depth.

    depths: 0 is before the first word, 1 behind the last; one for each sentence.
    """
    ends = [0, *(n for n, word in enumerate(words, 1) if word[-1] in ".!?"), len(words)]
    ends_E = np.unique(ends)
    places = [int(ends_E[np.abs(ends_E - d * len(words)).argmin()]) for d in depths]
    pieces, before = [], 0
    order = sorted(range(len(sentences)), key=lambda n: (places[n], n))
    for number in order:
        pieces += [*words[before : places[number]], sentences[number]]
        before = places[number]
    return " ".join([*pieces, *words[before:]])


def longest_that_fits(
    encode: Callable[[int], np.ndarray], budget: int, guess: int
) -> np.ndarray:
    """encode(n) for the greatest number n of words whose tokens fit into the budget.

    Args:
      encode: number of words -> tokens of the whole prompt.
      budget: tokens.
      guess: of n.

    Raises:
      ValueError: the prompt without a word does not fit.
    """
    low, best = 0, encode(0)
    if len(best) > budget:
        raise ValueError(
            f"the prompt takes {len(best)} tokens without any text to search, but only "
            f"{budget} are left for it; measure at a greater length"
        )
    high = max(1, guess)
    while len(found := encode(high)) <= budget:
        low, best, high = high, found, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        found = encode(middle)
        if len(found) <= budget:
            low, best = middle, found
        else:
            high = middle
    return best
