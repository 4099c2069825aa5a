"""Training sequence n as a pure function of the data, the seed and n.

One epoch is a stream: the documents of the split in random order, each after its BOS,
cut into sequences of `length` inputs. Those are visited in another random order. What
follows, for every epoch:

- each token of each document, and each BOS, is an input exactly once;
- each token of each document is a target of weight 1 exactly once, also where its
  document is cut. The last token of a document has BOS as target, with weight 0: that
  another document begins is not to be learnt;
- a sequence may hold several documents; then segment_ids count 1, 2, ... and positions
  restart at 0. A document cut at a sequence boundary also starts at position 0 in the
  next sequence, so no position ever reaches `length`;
- the last sequence is padded: segment 0, weight 0, token 0.

With `repeat_fraction` r, sequences of one repeated passage are added until they are
the share r of an epoch; the others stay as they were. The share `repeat_random` of them
repeats random tokens in place of text: nothing but copying predicts those. The first
epoch begins after `repeat_first` sequences of that kind alone, three fifths of them of
passages that differ little in length.
"""

import dataclasses
import functools
import os
from typing import Any

import numpy as np

from rope_lab.data.corpora import Corpus
from rope_lab.data.shuffling import Purpose, draws, permutation
from rope_lab.data.tokenizers import Tokenizer
from rope_lab.data.tokenstore import token_store


@dataclasses.dataclass(frozen=True)
class _Epoch:
    documents: np.ndarray  # numbers in the token store, in this epoch's order
    ends: np.ndarray  # where each ends in this epoch's stream
    order: np.ndarray  # which sequence is visited when; repeats have the last numbers
    repeats: np.ndarray  # uint64[repeated sequences, 2], draws of length and place


class PackedSequences:
    """Packed training sequences; `source[n]` is defined for every n >= 0.

    A sequence is a dict of arrays of shape [length]: int32 inputs, targets, positions
    and segment_ids (1, 2, ...; 0 is padding), float32 weights of the targets. It
    depends on `identity` and n, on nothing else. Reading one takes microseconds.

    Args:
      corpus: where the documents come from; with its split, not only its contents.
      tokenizer: how they become tokens.
      split: "train" or "held_out".
      seed: of the order of documents and sequences, and of the repeated passages.
      length: tokens per sequence.
      repeat_fraction: share of the sequences, in [0, 1), that are one passage from
        inside a document of repeat_shortest to repeat_longest tokens (the whole
        document, if that is shorter), repeated to fill the sequence, without BOS, every
        target with weight 1.
      data_dir: where the tokens are stored; None means beside the corpus.
      repeat_shortest: tokens; None means length//8.
      repeat_longest: tokens, below length; None means length//2, so that every passage
        comes twice. The copy of a token stands one passage back: a narrow range lets a
        model copy by distance, a wide one makes it find the copy by what it says.
      repeat_random: share of the passages, in [0, 1], that are uniformly random tokens,
        BOS never.
      repeat_first: sequences of random passages before the first epoch. A small model
        that sees nothing else for a while learns to copy ten times sooner, if it can
        look for the copy in a narrow range at first: the first three fifths have
        passages of 3/8 to 1/2 of length, the others of every length.

    Attributes:
      identity: everything the sequences depend on, as plain JSON.
      tokens_per_epoch: inputs that are not padding, BOS included, repeats excluded.
      sequences_per_epoch: repeats included.
    """

    def __init__(
        self,
        corpus: Corpus,
        tokenizer: Tokenizer,
        split: str,
        seed: int,
        length: int,
        repeat_fraction: float = 0.0,
        data_dir: str | os.PathLike | None = None,
        *,
        repeat_shortest: int | None = None,
        repeat_longest: int | None = None,
        repeat_random: float = 0.0,
        repeat_first: int = 0,
    ):
        _check(corpus, split, length, repeat_fraction)
        repeats = repeat_fraction > 0 or repeat_first > 0
        given = repeat_shortest, repeat_longest
        _check_passages(length, repeats, *given, repeat_random, repeat_first)
        shortest, longest = (
            repeat_shortest or length // 8,
            repeat_longest or length // 2,
        )
        self.corpus, self.tokenizer, self.length = corpus, tokenizer, length
        self.identity: dict[str, Any] = {
            "corpus": corpus.name,
            "corpus_checksum": corpus.checksum,
            "tokenizer_checksum": tokenizer.checksum,
            "split": split,
            "split_checksum": corpus.split_checksum(split),
            "seed": seed,
            "length": length,
            "repeat_fraction": repeat_fraction,
            "repeat_shortest": shortest,
            "repeat_longest": longest,
            "repeat_random": repeat_random,
            "repeat_first": repeat_first,
        }
        self._sizes = shortest, longest
        self._random, self._first = repeat_random, repeat_first
        self._seed, self._bos = seed, tokenizer.bos_id
        store = token_store(corpus, tokenizer, data_dir)
        self._read, self._offsets = store.read, store.offsets
        self._lengths = np.diff(self._offsets)
        ids = corpus.document_ids(split)
        self._documents = ids[self._lengths[ids] > 0]
        self.tokens_per_epoch = int(self._lengths[self._documents].sum())
        self._packed = -(-self.tokens_per_epoch // length)
        repeated = round(self._packed * repeat_fraction / (1 - repeat_fraction))
        self.sequences_per_epoch = self._packed + repeated
        self._count = np.arange(length, dtype=np.int32)
        self._epoch = functools.lru_cache(maxsize=2)(self._plan)

    def __getitem__(self, n: int) -> dict[str, np.ndarray]:
        if n < 0:
            raise IndexError(f"sequence {n} is asked for; they are numbered from 0")
        if n < self._first:
            sizes = self._sizes
            if 5 * n < 3 * self._first:
                sizes = 3 * self.length // 8, self.length // 2
            return self._filled(self._random_tokens(sizes, Purpose.FIRST_PASSAGES, n))
        number, place = divmod(n - self._first, self.sequences_per_epoch)
        epoch = self._epoch(number)
        which = int(epoch.order[place])
        if which < self._packed:
            return self._packed_sequence(epoch, which)
        return self._repeated_sequence(epoch, number, which - self._packed)

    def _plan(self, number: int) -> _Epoch:
        order = permutation(len(self._documents), Purpose.DOCUMENTS, self._seed, number)
        documents = self._documents[order]
        visits = self.sequences_per_epoch
        repeated = visits - self._packed
        return _Epoch(
            documents=documents,
            ends=np.cumsum(self._lengths[documents]),
            order=permutation(visits, Purpose.SEQUENCES, self._seed, number),
            repeats=draws(2 * repeated, Purpose.REPEATS, self._seed, number).reshape(
                -1, 2
            ),
        )

    def _packed_sequence(self, epoch: _Epoch, which: int) -> dict[str, np.ndarray]:
        place = which * self.length  # in the stream of the epoch
        index = int(np.searchsorted(epoch.ends, place, side="right"))
        batch = self._padding()
        filled, segment = 0, 0
        while filled < self.length and index < len(epoch.ends):
            end = int(self._offsets[epoch.documents[index] + 1])  # in the store
            left = int(epoch.ends[index]) - place  # tokens until this document ends
            first = end - left
            take = min(left, self.length - filled)
            known = min(take, left - 1)  # the last token has no successor
            segment += 1
            part = slice(filled, filled + take)
            tokens = self._read(first, first + 1 + known)
            batch["inputs"][part] = tokens[:take]
            batch["targets"][part] = self._bos
            batch["targets"][filled : filled + known] = tokens[1 : 1 + known]
            batch["positions"][part] = self._count[:take]
            batch["segment_ids"][part] = segment
            batch["weights"][filled : filled + known] = 1.0
            filled, place, index = filled + take, place + take, index + 1
        return batch

    def _repeated_sequence(
        self, epoch: _Epoch, number: int, which: int
    ) -> dict[str, np.ndarray]:
        length_draw, place_draw = (int(draw) for draw in epoch.repeats[which])
        sizes, key = self._sizes, (Purpose.RANDOM_PASSAGES, number, which)
        if self._random and self._share_of(*key) < self._random:
            return self._filled(self._random_tokens(sizes, *key))
        size = _between(*sizes, length_draw)
        return self._filled(self._passage(epoch, place_draw, size))

    def _share_of(self, purpose: Purpose, *key: int) -> float:
        """A number in [0, 1) that decides whether a passage is random."""
        return int(draws(1, purpose, self._seed, *key)[0]) / 2.0**64

    def _random_tokens(
        self, sizes: tuple[int, int], purpose: Purpose, *key: int
    ) -> np.ndarray:
        """A passage of uniformly random tokens, never BOS; sizes: least and most."""
        drawn = draws(2 + sizes[1], purpose, self._seed, *key)
        drawn = drawn[2 : 2 + _between(*sizes, int(drawn[1]))]  # [0] is `_share_of`'s
        tokens = drawn % np.uint64(self.tokenizer.vocab_size - 1)
        return tokens + (tokens >= self._bos)

    def _filled(self, passage: np.ndarray) -> dict[str, np.ndarray]:
        """The sequence that repeats a passage."""
        tokens = np.resize(passage, self.length + 1).astype(np.int32)
        return {
            "inputs": tokens[:-1],
            "targets": tokens[1:],
            "positions": self._count.copy(),
            "segment_ids": np.ones(self.length, np.int32),
            "weights": np.ones(self.length, np.float32),
        }

    def _passage(self, epoch: _Epoch, place_draw: int, size: int) -> np.ndarray:
        """`size` tokens from inside one document, the whole one if it is shorter."""
        place = place_draw % self.tokens_per_epoch
        index = int(np.searchsorted(epoch.ends, place, side="right"))
        document = int(epoch.documents[index])
        first, end = int(self._offsets[document]) + 1, int(self._offsets[document + 1])
        size = min(size, end - first)
        start = end - int(epoch.ends[index]) + place  # the drawn token, in the store
        start = min(max(start, first), end - size)
        return self._read(start, start + size)

    def _padding(self) -> dict[str, np.ndarray]:
        keys = ("inputs", "targets", "positions", "segment_ids")
        batch = {key: np.zeros(self.length, np.int32) for key in keys}
        return batch | {"weights": np.zeros(self.length, np.float32)}


def _between(least: int, most: int, draw: int) -> int:
    return least + draw % (most - least + 1)


def _check(corpus: Corpus, split: str, length: int, repeat_fraction: float) -> None:
    if length < 1:
        raise ValueError(f"length is {length} tokens; give at least 1")
    if not 0 <= repeat_fraction < 1:
        raise ValueError(
            f"repeat_fraction is {repeat_fraction}; give a number in [0, 1)"
        )
    if repeat_fraction and length < 8:
        raise ValueError(
            f"length is {length} tokens, too short for passages of length//8; give at "
            "least 8, or repeat_fraction 0"
        )
    if not corpus.num_documents(split):
        raise ValueError(
            f"the {split} split of corpus {corpus.name!r} has no documents; change "
            "held_out_fraction"
        )


def _check_passages(
    length: int,
    repeats: bool,
    shortest: int | None,
    longest: int | None,
    random: float,
    first: int,
) -> None:
    if not repeats and (shortest is not None or longest is not None or random):
        raise ValueError(
            "repeat_shortest, repeat_longest and repeat_random mean nothing without "
            "repeat_fraction or repeat_first"
        )
    least = length // 8 if shortest is None else shortest
    most = length // 2 if longest is None else longest
    if repeats and not 1 <= least <= most < length:
        raise ValueError(
            f"repeated passages have {least} to {most} tokens (repeat_shortest, "
            f"repeat_longest); expected 1 <= shortest <= longest < length = {length}"
        )
    if not 0 <= random <= 1:
        raise ValueError(f"repeat_random is {random}; give a number in [0, 1]")
    if first < 0 or (first and length < 8):
        raise ValueError(
            f"repeat_first is {first} sequences of {length} tokens; give at least 0, "
            "of at least 8 tokens"
        )
