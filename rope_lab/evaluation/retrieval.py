"""Retrieval from long texts: passkey, needle, several keys, variable tracking.

A length counts the tokens of the model's own tokenizer, prompt and answer together: the
prompt is as long as still leaves room for the answer, and the logic is built for both.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from rope_lab.data.chat import TEMPLATES, ChatTemplate
from rope_lab.evaluation import records
from rope_lab.evaluation.answers import Built, Prompt, answer_all, batch_for, missing_of
from rope_lab.evaluation.extrapolation import Row
from rope_lab.evaluation.haystack import (
    Filler,
    Hidden,
    filler,
    hide,
    longest_that_fits,
)
from rope_lab.evaluation.progress import RowProgress, Work
from rope_lab.evaluation.retrieval_tasks import VERSION, RetrievalTask, Sample
from rope_lab.evaluation.subject import Subject
from rope_lab.evaluation.summaries import rounded, share

LAYOUT = "{introduction}\n\n{text}\n\n{question}"


def measure_retrieval(
    subject: Subject,
    row: Row,
    task: RetrievalTask,
    lengths: list[int],
    count: int,
    workdir: Path,
    *,
    seed: int = 0,
    haystack: Filler | None = None,
    template: ChatTemplate = TEMPLATES["none"],
    progress: Callable[[RowProgress], None] | None = None,
) -> dict[str, Any]:
    """Asks `count` samples at every length, greedily; continues what workdir holds.

    Args:
      subject: the model.
      row: the encoding: label, and logic by length.
      task: of `retrieval_tasks.TASKS`.
      lengths: tokens of prompt and answer together.
      count: samples per length, the same at all; the needle's depths go round in 11.
      workdir: where units and records are written.
      seed: of the samples.
      haystack: the text around; default short sentences that say nothing.
      template: how the prompt is put to a chat model.
      progress: called after each batch.

    Returns:
      The record, as written; ``results`` has an entry per length with the mean
      ``score`` in [0, 1], its interval over samples, and ``scores`` of
      all samples; ``depths`` that are asked for, and ``real_depths``, the share of the
      text around that stands before what is asked for.

    Raises:
      ValueError: before anything is measured: a length without room for the task, or
        no samples.
    """
    if count < 1:
        raise ValueError(f"{count} samples per length are asked for; give at least 1")
    haystack = haystack or filler()
    logics = {length: row.logic_for(length) for length in lengths}
    samples = [task.sample(seed, index) for index in range(count)]
    put = functools.partial(build_prompt, subject, task, haystack, template)
    for length in lengths:
        put(samples[0], length)  # refuses a length that is too short
    record = records.describe(
        f"retrieval/{task.name}",
        VERSION,
        subject,
        row.label,
        logics,
        settings={"lengths": list(lengths), "new_tokens": task.new_tokens},
        data={"name": haystack.name, "checksum": haystack.checksum},
        count=count,
        seed=seed,
        prompt_template={
            "chat": template.describe(),
            "layout": LAYOUT,
            "introduction": task.introduction,
            "first_question": samples[0].question,
            "first_answer_start": samples[0].answer_start,
        },
    )
    journal = records.open_journal(workdir, record)
    prompts = {
        length: [
            Prompt(f"{length}/{number}", functools.partial(put, sample, length))
            for number, sample in enumerate(samples)
        ]
        for length in lengths
    }
    left = {n: sum(1 for _ in missing_of(prompts[n], journal)) for n in lengths}
    work = Work(sum(length * number for length, number in left.items()), progress)
    for length in lengths:
        tokens = length * left[length]
        answer_all(
            subject, logics[length], prompts[length], task.new_tokens,
            template.stop_tokens(subject.tokenizer), journal,
            min(count, batch_for(length)),
            work.batches(row.label, length, record["evaluation"], tokens),
        )  # fmt: skip
    results = []
    for length in lengths:
        answers = [journal[f"{length}/{number}"] for number in range(count)]
        results.append({"length": length, **_summary(task, samples, answers)})
    return records.save(workdir, record, results)


def build_prompt(
    subject: Subject,
    task: RetrievalTask,
    haystack: Filler,
    template: ChatTemplate,
    sample: Sample,
    length: int,
) -> Built:
    """The longest prompt that leaves room for the answer, and its ``real_depth``.

    Raises:
      ValueError: no room, even without any text around, or text that the tokenizer
        cannot read.
    """

    def hidden(characters: int) -> Hidden:
        return hide(haystack.take(characters), sample.sentences, sample.depths)

    def encode(characters: int) -> np.ndarray:
        prompt = LAYOUT.format(
            introduction=task.introduction,
            text=hidden(characters).text,
            question=sample.question,
        )
        return template.tokens(
            subject.tokenizer, prompt, answer=f" {sample.answer_start}"
        )

    try:
        characters, tokens = longest_that_fits(encode, length - task.new_tokens)
    except ValueError as error:
        raise ValueError(f"{task.name} at length {length}: {error}") from None
    asked = sample.depths.index(sample.depth)
    return Built(tokens, {"real_depth": hidden(characters).depths[asked]})


def _summary(
    task: RetrievalTask, samples: list[Sample], answers: list[dict[str, Any]]
) -> dict[str, Any]:
    pairs = zip(samples, answers, strict=True)
    scores = [task.score(answer["output"], sample.answers) for sample, answer in pairs]
    mean = share(scores, np.arange(len(scores)))
    return {
        "score": mean["mean"],
        "score_interval": mean["interval"],
        "scores": rounded(scores),
        "depths": rounded([sample.depth for sample in samples]),
        "real_depths": rounded([answer["real_depth"] for answer in answers]),
        "prompt_tokens": [answer["prompt_tokens"] for answer in answers],
    }
