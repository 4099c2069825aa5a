"""Prompts of an exact length in tokens: sentences hidden in text that does not matter.

A prompt is never longer than asked, and shorter by less than one more word, of which
scripts without blanks have one in each character.
"""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

# Says nothing, in short words; any other text serves as well, see `Filler`.
NOISE = (
    "The hills are green and the lake is still. Birds fly by and the wind is mild. "
    "A road leads over the hill and back again. "
)
LONGEST_WORD = 24  # characters; what is longer has no words, or none to keep whole
# Half of what lies between two depths of the needle: a row of the heat map is right.
NEAR = 0.05
MOST = 64  # characters per token, of a tokenizer that can tell them apart
# Stops before a blank, which quotes and brackets may follow; and those that need none.
_SENTENCE = re.compile(
    r"""[.!?…]["'”’“»›«‹)\]}*_]*(?=\s|$)|[。！？｡]["'”’」』】）〉》]*"""
)
_WORD = re.compile(r"\S(?=\s|$)")


@dataclasses.dataclass(frozen=True)
class Filler:
    """Text to hide things in, repeated where it does not suffice.

    Attributes:
      name: in records.
      text: running text; words, if it has any, are one blank apart.
      checksum: sha256 of it.
    """

    name: str
    text: str
    checksum: str

    def take(self, characters: int) -> str:
        """The beginning, at most as many characters; it ends with a whole word.

        But for words of more than `LONGEST_WORD` characters, which it may end within.
        """
        times = 1 + characters // (len(self.text) + 1)
        whole = " " + f"{self.text} " * times
        stop = characters + 1
        before, behind = whole.rfind(" ", 0, stop + 1), whole.find(" ", stop)
        return whole[1 : stop if behind - before > LONGEST_WORD + 1 else before]


def filler(name: str = "noise", texts: Sequence[str] = (NOISE,)) -> Filler:
    """The words of some texts.

    Raises:
      ValueError: there are none.
    """
    text = " ".join(word for text in texts for word in text.split())
    if not text:
        raise ValueError(f"filler {name!r} holds no words; give other text")
    return Filler(name, text, hashlib.sha256(text.encode()).hexdigest())


class Hidden(NamedTuple):
    """Text with sentences in it, and how deep each stands.

    Attributes:
      text: all of it.
      depths: the share of the text around that stands before each sentence.
    """

    text: str
    depths: tuple[float, ...]


def hide(text: str, sentences: Sequence[str], depths: Sequence[float]) -> Hidden:
    """The text with sentences put in where one of its own ends, nearest to the depth.

    Where none ends within `NEAR` of the depth, a word has to do, or a character.

    Args:
      text: to hide them in.
      sentences: in the order in which they stand.
      depths: ascending, one for each: 0 is before the text, 1 behind it.
    """
    edges = [0, len(text)]
    ends = [
        np.array(edges + [match.end() for match in pattern.finditer(text)])
        for pattern in (_SENTENCE, _WORD)
    ]
    places = [_place(ends, depth * len(text), NEAR * len(text)) for depth in depths]
    pieces = []
    for start, stop, sentence in zip([0, *places], places, sentences, strict=False):
        pieces += [text[start:stop].strip(), sentence]
    pieces.append(text[places[-1] :].strip())
    found = tuple(place / max(1, len(text)) for place in places)
    return Hidden(" ".join(filter(None, pieces)), found)


def _place(ends: Sequence[np.ndarray], wanted: float, near: float) -> int:
    """The nearest of the first ends of which one is near."""
    for ends_E in ends:
        nearest = int(ends_E[np.abs(ends_E - wanted).argmin()])
        if abs(nearest - wanted) <= near:
            return nearest
    return round(wanted)


def longest_that_fits(
    encode: Callable[[int], np.ndarray], budget: int
) -> tuple[int, np.ndarray]:
    """The greatest n whose encode(n) fits into the budget, and encode(n).

    Args:
      encode: characters of text around -> tokens of the whole prompt.
      budget: tokens.

    Raises:
      ValueError: the prompt without any text does not fit, or so much text does that
        the tokenizer cannot tell its characters apart.
    """
    low, best = 0, encode(0)
    if len(best) > budget:
        raise ValueError(
            f"the prompt takes {len(best)} tokens without any text to search, but only "
            f"{budget} are left for it; measure at a greater length"
        )
    high = 2 * budget
    while len(found := encode(high)) <= budget:
        if high > MOST * budget:
            raise ValueError(
                f"a prompt with {high} characters of text has {len(found)} tokens, and "
                f"{budget} are asked for: the tokenizer does not know the characters "
                "of this text; give another haystack"
            )
        low, best, high = high, found, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        found = encode(middle)
        if len(found) <= budget:
            low, best = middle, found
        else:
            high = middle
    return low, best
