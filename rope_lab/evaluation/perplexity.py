"""Perplexity of whole documents by length, in the conventions of the papers.

Letters: B batch, T inputs of a window, S = T + 1. Losses are nats per token. The unit
of work, and of resumption, is a document at a length.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from rope_lab.data.selection import Selection
from rope_lab.evaluation import conventions, records
from rope_lab.evaluation.conventions import WEIGHTS, Window, check_convention
from rope_lab.evaluation.extrapolation import Row
from rope_lab.evaluation.journal import Journal
from rope_lab.evaluation.perplexity_results import binned, summarise_length, unit_of
from rope_lab.evaluation.positions import SCORE_ENTRIES, batch_size_for
from rope_lab.evaluation.progress import RowProgress, Work
from rope_lab.evaluation.subject import Subject
from rope_lab.evaluation.summaries import log_edges
from rope_lab.logic.arguments import join_logic, split_logic
from rope_lab.logic.draws import evaluation_positions
from rope_lab.model.scoring import target_scores

VERSION = 1


@dataclasses.dataclass(frozen=True)
class Protocol:
    """How documents are cut and losses are averaged.

    Attributes:
      convention: "last", "sliding" or "first"; see `conventions`.
      targets: of "last", tokens scored at every length.
      stride: of "sliding", tokens.
      weights: "tokens", every target counts the same; or "windows", as in the released
        code of YaRN and of the Resonance paper: the mean over windows of each one's
        mean, in which the first window's many targets count as much as a stride's few.
    """

    convention: str
    targets: int = 4096
    stride: int = 256
    weights: str = "tokens"

    def plan(self, tokens: int, length: int, bos: bool) -> list[Window]:
        """The windows of a document; bos: whether the model knows a BOS."""
        if self.convention == "last":
            return conventions.last(tokens, length, self.targets, bos)
        if self.convention == "sliding":
            return conventions.sliding(tokens, length, self.stride, bos)
        return conventions.first(tokens, length, bos)

    def filled(self, tokens: int, bos: bool) -> int:
        """The length that a document of so many tokens fills."""
        return conventions.filled(self.convention, tokens, bos)

    def check(self, lengths: list[int], maximum_tokens: int | None, bos: bool) -> None:
        """Raises ValueError for a protocol that cannot be run at these lengths.

        Args:
          lengths: tokens.
          maximum_tokens: that documents are cut to; None: they are whole.
          bos: whether the model knows a BOS.
        """
        check_convention(self.convention, lengths, self.targets, self.stride)
        conventions.check_cut(self.convention, lengths, maximum_tokens, bos)
        if self.weights not in WEIGHTS:
            raise ValueError(
                f"weights is {self.weights!r}; expected one of {', '.join(WEIGHTS)}"
            )

    def describe(self) -> dict[str, Any]:
        """What of it bears on the numbers."""
        values = {"convention": self.convention, "weights": self.weights}
        own = {"last": "targets", "sliding": "stride"}.get(self.convention)
        return values if own is None else values | {own: getattr(self, own)}


def measure_perplexity(
    subject: Subject,
    row: Row,
    documents: Selection,
    protocol: Protocol,
    lengths: list[int],
    workdir: Path,
    *,
    batch_size: Callable[[int], int] | None = None,
    progress: Callable[[RowProgress], None] | None = None,
) -> dict[str, Any]:
    """Measures one encoding at every length; continues what workdir holds.

    Each length is one compiled program, whatever the documents and the encoding's
    frequencies are: windows have room for `length` inputs, shorter ones are filled up
    behind their end, which no target sees. A logic that depends on the length is built
    for that of the window, not of the document.

    Args:
      subject: the model.
      row: the encoding: label, and logic by length.
      documents: from `select_documents`.
      protocol: the convention.
      lengths: tokens.
      workdir: where units and records are written.
      batch_size: length -> windows per call; default `batch_size_for`.
      progress: called after each batch.

    Returns:
      The record, as written; ``results`` has an entry per length, see
      `perplexity_results`. Its ``shorter_documents`` do not fill the length and are
      read whole; ``longest_read`` is what the longest document fills of it, in tokens;
      ``per_document_digest`` names the documents, for comparisons of runs.

    Raises:
      ValueError: a protocol that does not fit the lengths, or documents that are cut to
        less than the longest.
    """
    bos = subject.tokenizer.bos_id is not None
    protocol.check(lengths, documents.maximum_tokens, bos)
    logics = {length: row.logic_for(length) for length in lengths}
    record = records.describe(
        f"perplexity/{protocol.convention}/{documents.name}",
        VERSION,
        subject,
        row.label,
        logics,
        settings=protocol.describe() | {"lengths": list(lengths), "bos": bos},
        data=documents.describe(),
        count=len(documents.tokens),
        seed=documents.seed if documents.how == "random" else None,
    )
    journal = records.open_journal(workdir, record)
    plans = {
        length: [protocol.plan(len(tokens), length, bos) for tokens in documents.tokens]
        for length in lengths
    }
    work = Work(_left(plans, journal), progress)
    for length in lengths:
        size = (batch_size or _batch_size)(length)
        _measure_length(
            subject, logics[length], documents, plans[length], length, size, journal,
            work.batches(row.label, length, record["evaluation"],
                         _left({length: plans[length]}, journal)),
        )  # fmt: skip
    results = [
        summarise_length(
            [journal[_unit(length, n)] for n in range(len(documents.tokens))],
            length,
            protocol.weights,
            subject.train_length,
        )
        | _read(documents, protocol, length, bos)
        for length in lengths
    ]
    return records.save(workdir, record, results)


class _Item(NamedTuple):
    """A window to score: its document, its place there, its number at this length."""

    document: int
    place: int
    number: int
    window: Window


def _read(documents: Selection, protocol: Protocol, length: int, bos: bool) -> dict:
    """Which documents, by their tokens, and how much of the length they fill."""
    filled = [protocol.filled(len(tokens), bos) for tokens in documents.tokens]
    return {
        "per_document_digest": [_digest(tokens) for tokens in documents.tokens],
        "longest_read": min(length, max(filled)),
        "shorter_documents": sum(each < length for each in filled),
    }


def _digest(tokens: np.ndarray) -> str:
    """Names a document as it was read, whatever source it came from."""
    return hashlib.sha256(np.asarray(tokens, "<i4").tobytes()).hexdigest()[:16]


def _unit(length: int, document: int) -> str:
    return f"{length}/{document}"


def _items(plans: list[list[Window]], length: int, journal: Journal) -> Iterator[_Item]:
    number = 0
    for document, plan in enumerate(plans):
        for place, window in enumerate(plan):
            if _unit(length, document) not in journal:
                yield _Item(document, place, number, window)
            number += 1


def _left(plans: Mapping[int, list[list[Window]]], journal: Journal) -> int:
    """Inputs that are still to be read."""
    return sum(
        length * sum(1 for _ in _items(plan, length, journal))
        for length, plan in plans.items()
    )


def _measure_length(
    subject, logic, documents: Selection, plans, length, size, journal, progress
) -> None:
    """Adds every missing document at one length to the journal."""
    arrays, structure = split_logic(logic)
    edges = log_edges(length, subject.train_length)
    items = list(_items(plans, length, journal))
    waiting: dict[int, dict[int, Any]] = {}
    for start in range(0, len(items), size):
        batch = items[start : start + size]
        tokens_BS, wanted_BT = _rows(batch, documents, subject, length, size)
        numbers_B = np.zeros(size, np.int32)
        numbers_B[: len(batch)] = [item.number for item in batch]
        loss_BT, hit_BT = _score(
            subject.graphdef, structure, subject.params, tokens_BS, wanted_BT, arrays,
            numbers_B,
        )  # fmt: skip
        loss_BT, hit_BT = np.asarray(loss_BT), np.asarray(hit_BT)
        _check_finite(loss_BT[: len(batch)], batch, length)
        for row, item in enumerate(batch):
            found = waiting.setdefault(item.document, {})
            found[item.place] = binned(loss_BT[row], hit_BT[row], wanted_BT[row], edges)
            if len(found) == len(plans[item.document]):
                windows = [found[place] for place in range(len(found))]
                journal.add(_unit(length, item.document), unit_of(windows))
                del waiting[item.document]
        progress(min(start + size, len(items)), len(items))


def _check_finite(loss_BT: np.ndarray, batch: list[_Item], length: int) -> None:
    """Refuses losses that are no numbers: of parameters that have diverged, say."""
    wrong_B = ~np.isfinite(loss_BT).all(axis=1)
    if wrong_B.any():
        item = batch[int(wrong_B.argmax())]
        raise ValueError(
            f"the model's loss on document {item.document} at length {length} is not "
            "finite: its parameters or its encoding overflow; measure another "
            "checkpoint, or leave this encoding or length out"
        )


def _rows(batch, documents: Selection, subject: Subject, length: int, size: int):
    """Tokens int32[B, S] with zeros behind the end, and targets bool[B, T]."""
    tokens_BS = np.zeros((size, length + 1), np.int32)
    wanted_BT = np.zeros((size, length), bool)
    for row, (document, _, _, window) in enumerate(batch):
        text = documents.tokens[document][window.start : window.stop]
        if window.bos:
            text = np.concatenate([[subject.tokenizer.bos_id], text])
        tokens_BS[row, : len(text)] = text
        wanted_BT[row, len(text) - 1 - window.scored : len(text) - 1] = True
    return tokens_BS, wanted_BT


def _batch_size(length: int) -> int:
    accelerated = jax.default_backend() != "cpu"
    return batch_size_for(length, SCORE_ENTRIES * (128 if accelerated else 1))


@functools.partial(jax.jit, static_argnames=("graphdef", "structure"))
def _score(graphdef, structure, params, tokens_BS, wanted_BT, arrays, numbers_B):
    logic = join_logic(arrays, structure)
    inputs_BT, targets_BT = tokens_BS[:, :-1], tokens_BS[:, 1:]
    positions = evaluation_positions(logic, numbers_B, inputs_BT.shape[1])
    return target_scores(
        graphdef, params, inputs_BT, targets_BT, logic, positions, wanted_BT
    )
