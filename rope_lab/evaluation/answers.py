"""What a model writes after prompts, greedily, kept answer by answer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from rope_lab.evaluation.journal import Journal
from rope_lab.evaluation.positions import Progress
from rope_lab.evaluation.subject import Subject
from rope_lab.model import generate

# Tokens of all prompts that are read at once; what limits it is the cache.
BATCH_TOKENS = 2**14


class Built(NamedTuple):
    """What a model reads, and what is kept of it beside the answer."""

    tokens: np.ndarray  # int32[tokens], BOS included
    notes: Mapping[str, Any] = {}


class Prompt(NamedTuple):
    """A prompt by the name of its unit, built when it is needed."""

    unit: str
    build: Callable[[], Built]


def batch_for(length: int) -> int:
    """Prompts of `length` tokens that are answered at once."""
    return max(1, BATCH_TOKENS // length)


def answer_all(
    subject: Subject,
    logic: Any,
    prompts: Sequence[Prompt],
    new_tokens: int,
    stop_tokens: Sequence[int],
    journal: Journal,
    batch: int,
    progress: Progress,
) -> None:
    """Adds {"output", "prompt_tokens", "new_tokens", **notes} of every missing prompt.

    Args:
      subject: the model.
      logic: as `generate` takes it: fixed, or a function of prompt plus new tokens.
      prompts: those already in the journal are left out.
      new_tokens: at most.
      stop_tokens: end an answer.
      journal: of the evaluation.
      batch: prompts at once; a short last batch is filled up, so that all are one
        program.
      progress: called after each batch with (prompts done, in all).
    """
    missing = [prompt for prompt in prompts if prompt.unit not in journal]
    for start in range(0, len(missing), batch):
        chosen = missing[start : start + batch]
        built = [prompt.build() for prompt in chosen]
        rows = [one.tokens for one in built]
        rows += [rows[-1]] * (batch - len(rows))
        lengths = [len(row) for row in rows]
        padded_BT = np.zeros((batch, max(lengths)), np.int32)
        for row, tokens in enumerate(rows):
            padded_BT[row, : lengths[row]] = tokens
        found = generate(
            subject.graphdef,
            subject.params,
            padded_BT,
            logic,
            new_tokens,
            prompt_lengths=lengths,
            stop_tokens=stop_tokens,
        )
        for row, prompt in enumerate(chosen):
            tokens = found.tokens[row, : found.lengths[row]]
            answer = _answer(subject, tokens, stop_tokens, lengths[row])
            journal.add(prompt.unit, {**answer, **built[row].notes})
        progress(start + len(chosen), len(missing))


def missing_of(prompts: Sequence[Prompt], journal: Journal) -> Iterator[Prompt]:
    """Prompts that are still to be answered."""
    return (prompt for prompt in prompts if prompt.unit not in journal)


def _answer(subject, tokens, stop_tokens, prompt_tokens: int) -> dict[str, Any]:
    stopped = len(tokens) > 0 and int(tokens[-1]) in set(stop_tokens)
    text = subject.tokenizer.decode(tokens[:-1] if stopped else tokens)
    return {
        "output": text,
        "prompt_tokens": prompt_tokens,
        "new_tokens": len(tokens),
    }
