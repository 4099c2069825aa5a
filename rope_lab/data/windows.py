"""Evaluation windows: from inside documents, or from many short ones packed."""

import dataclasses
import hashlib

import numpy as np

from rope_lab.data.corpora import Corpus
from rope_lab.data.shuffling import Purpose, draws, permutation
from rope_lab.data.tokenizers import Tokenizer
from rope_lab.data.tokenstore import token_store


@dataclasses.dataclass(frozen=True)
class EvaluationWindows:
    """N windows; inputs are tokens[:, :-1] and targets tokens[:, 1:].

    Attributes:
      tokens: int32[N, length + 1], without BOS unless packed.
      document_ids: int32[N], numbers within `corpus.documents(split)`: the unit over
        which intervals are bootstrapped.
      starts: int32[N], at least 1: the first token of the window (of the passage, if
        repeated), counted from the first token of its document, BOS left out; of
        packed ones from the first token of all, and 0 for the first window.
      checksum: sha256 over the target tokens, as little-endian int32.
      repeat_length: tokens of the passage that fills each window; None: not repeated.
    """

    tokens: np.ndarray
    document_ids: np.ndarray
    starts: np.ndarray
    checksum: str
    repeat_length: int | None = None


def evaluation_windows(
    corpus: Corpus,
    tokenizer: Tokenizer,
    split: str,
    length: int,
    num_windows: int,
    seed: int = 0,
    repeat_length: int | None = None,
) -> EvaluationWindows:
    """Draws windows of length + 1 tokens that start inside documents.

    They are spread evenly over as many documents as possible. Windows of one document
    do not overlap, so no target is scored twice.

    Args:
      corpus, tokenizer: the text and its encoding.
      split: "train" or "held_out".
      length: targets per window, tokens.
      num_windows: how many.
      seed: of the documents and starts.
      repeat_length: fill each window with one passage of this many tokens, repeated.

    Raises:
      ValueError: no document is long enough, or there are too few such windows.
    """
    _check(length, num_windows, repeat_length)
    store = token_store(corpus, tokenizer)
    ids = corpus.document_ids(split)
    sizes = np.diff(store.offsets)[ids] - 1  # tokens without BOS
    span = repeat_length or length + 1
    counts = _windows_per_document(sizes, span, num_windows, seed)
    if counts is None:
        raise ValueError(_too_few(corpus, split, sizes, span, num_windows))
    document_ids = np.repeat(np.arange(len(ids)), counts)
    starts = _starts(sizes, counts, span, seed)
    firsts = store.offsets[ids[document_ids]] + 1 + starts
    passages = np.stack([store.read(n, n + span) for n in firsts]).astype(np.int32)
    tokens = passages[:, np.arange(length + 1) % span]
    return EvaluationWindows(
        tokens=tokens,
        document_ids=document_ids.astype(np.int32),
        starts=starts.astype(np.int32),
        checksum=hashlib.sha256(tokens[:, 1:].astype("<i4").tobytes()).hexdigest(),
        repeat_length=repeat_length,
    )


def packed_windows(
    corpus: Corpus,
    tokenizer: Tokenizer,
    split: str,
    length: int,
    num_windows: int,
    seed: int = 0,
) -> EvaluationWindows:
    """Cuts windows of length + 1 tokens from documents one after the other.

    For documents shorter than a window. They come in random order, each after its BOS,
    which is a target like any other; the windows follow each other without overlap. Of
    shorter windows the same tokens hold as many more. document_ids number the windows:
    what they share with another is half a document at most.

    Args: as those of `evaluation_windows`; num_windows: at most so many as there is
      text for.

    Raises:
      ValueError: not one window fits.
    """
    _check(length, num_windows, None)
    store = token_store(corpus, tokenizer)
    ids = corpus.document_ids(split)
    order = ids[permutation(len(ids), Purpose.WINDOWS, seed, 2)]
    span, held = length + 1, 0
    parts = [np.empty(0, store.tokens.dtype)]
    for n in order:
        if held >= num_windows * span:
            break
        parts.append(store.read(int(store.offsets[n]), int(store.offsets[n + 1])))
        held += len(parts[-1])
    stream = np.concatenate(parts)
    count = min(num_windows, len(stream) // span)
    if not count:
        raise ValueError(
            f"the {len(stream)} tokens of split {split!r} of corpus {corpus.name!r} "
            f"hold no window of {span} tokens; use a shorter length or more text"
        )
    tokens = stream[: count * span].reshape(count, span).astype(np.int32)
    return EvaluationWindows(
        tokens=tokens,
        document_ids=np.arange(count, dtype=np.int32),
        starts=np.arange(count, dtype=np.int32) * span,
        checksum=hashlib.sha256(tokens[:, 1:].astype("<i4").tobytes()).hexdigest(),
    )


def _check(length: int, num_windows: int, repeat_length: int | None) -> None:
    if length < 1 or num_windows < 1:
        raise ValueError(
            f"{num_windows} windows of {length} tokens are asked for; give at least 1 "
            "of each"
        )
    if repeat_length is not None and not 1 <= repeat_length <= length:
        raise ValueError(
            f"repeat_length is {repeat_length} tokens; give 1 to length ({length}), so "
            "that the passage is seen at least once whole before it returns"
        )


def _room(sizes: np.ndarray, span: int) -> np.ndarray:
    """Windows without overlap per document; the first token starts none."""
    return np.maximum(sizes - 1, 0) // span


def _windows_per_document(
    sizes: np.ndarray, span: int, num_windows: int, seed: int
) -> np.ndarray | None:
    """int64[documents], as even as possible; None where `num_windows` do not fit."""
    room = _room(sizes, span)
    if room.sum() < num_windows:
        return None
    counts = np.zeros_like(room)
    order = permutation(len(sizes), Purpose.WINDOWS, seed, 0)
    left = num_windows
    while left:  # one more window for each document that has room, in random order
        chosen = order[room[order] > counts[order]][:left]
        counts[chosen] += 1
        left -= len(chosen)
    return counts


def _starts(sizes: np.ndarray, counts: np.ndarray, span: int, seed: int) -> np.ndarray:
    """int64[windows]: uniform among the placements without overlap."""
    ids = np.repeat(np.arange(len(sizes)), counts)
    slack = (sizes - 1 - counts * span)[ids]  # tokens before, between and after
    gaps = draws(len(ids), Purpose.WINDOWS, seed, 1) % (slack + 1).astype(np.uint64)
    gaps = gaps.astype(np.int64)
    gaps = gaps[np.lexsort((gaps, ids))]  # ascending within each document
    number = np.arange(len(ids)) - np.repeat(np.cumsum(counts) - counts, counts)
    return 1 + number * span + gaps


def _too_few(
    corpus: Corpus, split: str, sizes: np.ndarray, span: int, num_windows: int
) -> str:
    where = f"split {split!r} of corpus {corpus.name!r}"
    longest, fit = int(sizes.max(initial=0)), int(_room(sizes, span).sum())
    if not fit:
        return (
            f"no document is long enough for windows of {span} tokens that start after "
            f"its first: the longest of {where} has {longest} tokens; use a shorter "
            "length, longer documents, or windows of short ones packed"
        )
    return (
        f"{num_windows} windows of {span} tokens are asked for, but only {fit} fit "
        f"into {where} without overlap; ask for fewer or shorter ones, or hold out more"
    )
