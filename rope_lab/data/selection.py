"""Whole documents for evaluation: the first of a source, or random ones."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence

import numpy as np

from rope_lab.data.missing import MissingData
from rope_lab.data.shuffling import Purpose, permutation
from rope_lab.data.tokenizers import Tokenizer

HOW = ("first", "random")


@dataclasses.dataclass(frozen=True)
class Selection:
    """Documents as tokens without BOS, and what they were chosen by.

    Attributes:
      name: of the source.
      tokens: int32[tokens] per document.
      numbers: of the documents within the source.
      checksum: sha256 over the sha256 of each document's text, in order.
      minimum_tokens, maximum_tokens: shorter documents were left out, longer ones cut.
      how, seed: "first" or "random".
    """

    name: str
    tokens: tuple[np.ndarray, ...]
    numbers: tuple[int, ...]
    checksum: str
    minimum_tokens: int
    maximum_tokens: int | None
    how: str
    seed: int

    def describe(self) -> dict:
        """Plain data for a record; the numbers tell which documents."""
        values = {key: getattr(self, key) for key in ("name", "checksum", "numbers")}
        values |= {"minimum_tokens": self.minimum_tokens, "selection": self.how}
        return values | {"maximum_tokens": self.maximum_tokens}


def select_documents(
    name: str,
    source: Sequence[str],
    tokenizer: Tokenizer,
    count: int,
    minimum_tokens: int,
    *,
    maximum_tokens: int | None = None,
    how: str = "first",
    seed: int = 0,
    or_fewer: bool = False,
) -> Selection:
    """The first `count` documents of at least `minimum_tokens`, or random such ones.

    YaRN's code, which the Resonance paper's figures come from, takes the first 50 of at
    least 16,384 tokens from GovReport and of 32,768 from Proof-pile; the paper says
    that they are random.

    Args:
      name: of the source, in messages and records.
      source: documents by number.
      tokenizer: the model's.
      count: documents.
      minimum_tokens: shorter documents are left out.
      maximum_tokens: longer ones are cut behind, at `minimum_tokens` at least; None
        keeps them whole.
      how: "first" or "random".
      seed: of random ones.
      or_fewer: take what there is, if there is one at least.

    Raises:
      MissingData: there are fewer; says how many.
      ValueError: numbers or a choice that mean nothing.
    """
    if how not in HOW:
        raise ValueError(f"selection is {how!r}; expected one of {', '.join(HOW)}")
    if maximum_tokens is not None and maximum_tokens < minimum_tokens:
        raise ValueError(
            f"documents of at least {minimum_tokens} tokens are asked for, cut to "
            f"{maximum_tokens}; give maximum_tokens of at least minimum_tokens"
        )
    if count < 1 or minimum_tokens < 2:
        raise ValueError(
            f"{count} documents of at least {minimum_tokens} tokens are asked for; "
            "give at least 1 document and 2 tokens"
        )
    order = range(len(source))
    if how == "random":
        order = permutation(len(source), Purpose.SELECTION, seed)
    tokens, numbers, digest = [], [], hashlib.sha256()
    for number in order:
        text = source[int(number)]
        if len(text.encode()) < minimum_tokens:  # a token is a byte at least
            continue
        found = tokenizer.encode(text)
        if len(found) < minimum_tokens:
            continue
        tokens.append(found[:maximum_tokens])
        numbers.append(int(number))
        digest.update(hashlib.sha256(text.encode()).digest())
        if len(tokens) == count:
            break
    if len(tokens) < (1 if or_fewer else count):
        raise MissingData(
            f"{count} documents of at least {minimum_tokens} tokens are asked for, but "
            f"{name!r} has {len(tokens)} among {len(source)}; ask for fewer, or for "
            "shorter ones"
        )
    return Selection(
        name=name,
        tokens=tuple(tokens),
        numbers=tuple(numbers),
        checksum=digest.hexdigest(),
        minimum_tokens=minimum_tokens,
        maximum_tokens=maximum_tokens,
        how=how,
        seed=seed,
    )
