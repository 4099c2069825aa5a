"""L-Eval's closed-ended tasks, run as published and scored as published.

By default as in OpenLMLab/LEval, Baselines/llama2-chat-test.py: documents cut from the
right, code from the left, to the length less 512 tokens; the Llama-2 chat template;
greedy, 512 new tokens. The prompt around the document is not counted there, so prompt
and answer may exceed the length by it; the logic is built for what they really take.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from rope_lab.data.chat import TEMPLATES, ChatTemplate, encode_template
from rope_lab.evaluation import records
from rope_lab.evaluation.answers import Built, Prompt, answer_all, missing_of
from rope_lab.evaluation.extrapolation import Row
from rope_lab.evaluation.leval_scores import score
from rope_lab.evaluation.leval_tasks import (
    NEW_TOKENS,
    VERSION,
    LevalData,
    LevalTask,
    Question,
    cut,
)
from rope_lab.evaluation.progress import RowProgress, Work
from rope_lab.evaluation.subject import Subject
from rope_lab.evaluation.summaries import rounded, share

# The published spelling of the Llama-2 template, without blanks around the brackets.
PUBLISHED = "{bos}[INST]<<SYS>>\n{system}\n<</SYS>>\n\n{prompt}"
WORLD = "world"  # SFiction's second prompt, about what is true outside the document


def measure_leval(
    subject: Subject,
    row: Row,
    data: LevalData,
    length: int,
    workdir: Path,
    *,
    template: ChatTemplate = TEMPLATES["llama2"],
    new_tokens: int = NEW_TOKENS,
    progress: Callable[[RowProgress], None] | None = None,
) -> dict[str, Any]:
    """Asks every question of a task at one length; continues what workdir holds.

    Args:
      subject: the model.
      row: the encoding: label, and logic by the tokens of prompt and answer.
      data: from `load_task`.
      length: tokens; published figures count 1,000 for what they call 1k.
      workdir: where units and records are written.
      template: of the model's chats; "llama2" is spelled as L-Eval does.
      new_tokens: of an answer, at most.
      progress: called after each answer.

    Returns:
      The record, as written; ``results`` has one entry: ``score`` in [0, 1] with its
      interval over documents, and the ``scores`` of all answers.

    Raises:
      ValueError: a length that leaves no room for a document.
    """
    check_room(length, new_tokens)
    task = data.task
    record = records.describe(
        f"l-eval/{task.stem}",
        VERSION,
        subject,
        row.label,
        {length: row.logic_for(length)},
        settings={"length": length, "new_tokens": new_tokens},
        data={"name": f"{task.stem}.jsonl", "checksum": data.checksum},
        count=len(data.questions),
        prompt_template=_describe(task, template),
    )
    journal = records.open_journal(workdir, record)
    prompts = _prompts(subject, data, length - new_tokens, template)
    left = sum(1 for _ in missing_of(prompts, journal))
    work = Work(left * length, progress)
    answer_all(
        subject, row.logic_for, prompts, new_tokens,
        template.stop_tokens(subject.tokenizer), journal, 1,
        work.batches(row.label, length, record["evaluation"], left * length),
    )  # fmt: skip
    scores: list[float] = []
    documents: list[int] = []
    for number, question in enumerate(data.questions):
        output = _output(task, template, journal, number)
        found = score(task.stem, output, question.answer)
        scores += found
        documents += [data.documents[number]] * len(found)
    mean = share(scores, documents)
    result = {
        "length": length,
        "score": mean["mean"],
        "score_interval": mean["interval"],
        "scores": rounded(scores),
    }
    return records.save(workdir, record, [result])


def check_room(length: int, new_tokens: int) -> None:
    """Raises ValueError for a length that holds no document beside the answer."""
    if length <= new_tokens + 1:
        raise ValueError(
            f"L-Eval at length {length} leaves no room for documents beside "
            f"{new_tokens} new tokens; give a greater length or fewer new tokens"
        )


def prompt_tokens(
    subject: Subject,
    task: LevalTask,
    question: Question,
    document_tokens: int,
    template: ChatTemplate,
) -> np.ndarray:
    """int32[tokens] of a question, its document cut to fit."""
    tokenizer = subject.tokenizer
    before = tokenizer.bos_id is not None
    document = cut(
        question.document,
        document_tokens,
        task.keep_end,
        lambda text: before + len(tokenizer.encode(text)),
    )
    prompt = task.layout.replace("{instruction}", question.instruction)
    prompt = prompt.replace("{document}", document)
    if template.name != "llama2":
        return template.tokens(
            tokenizer, prompt, task.system, task.answer_start.lstrip()
        )
    text = prompt + ("[/INST]" if task.closed else "") + task.answer_start
    values = {"system": task.system, "prompt": text}
    return encode_template(PUBLISHED, values, tokenizer)


def _prompts(
    subject: Subject, data: LevalData, document_tokens: int, template: ChatTemplate
) -> list[Prompt]:
    def asked(question: Question) -> Built:
        return Built(
            prompt_tokens(subject, data.task, question, document_tokens, template)
        )

    def about_the_world(question: Question) -> Built:
        text = {"prompt": question.about_the_world}
        return Built(encode_template("{bos}{prompt}", text, subject.tokenizer))

    prompts = []
    for number, question in enumerate(data.questions):
        prompts.append(Prompt(f"{number}", functools.partial(asked, question)))
        if data.task.stem == "sci_fi":
            build = functools.partial(about_the_world, question)
            prompts.append(Prompt(f"{number}/{WORLD}", build))
    return prompts


def _output(task: LevalTask, template: ChatTemplate, journal, number: int) -> str:
    """What is scored: the answer, with SFiction's second one as in published files."""
    output = template.cut(journal[f"{number}"]["output"])
    if task.stem != "sci_fi":
        return output
    world = template.cut(journal[f"{number}/{WORLD}"]["output"])
    return f"{output} [fact: {world}]"


def _describe(task: LevalTask, template: ChatTemplate) -> dict[str, Any]:
    chat: Any = template.describe()
    if template.name == "llama2":
        chat = PUBLISHED
    return {
        "chat": chat,
        "system": task.system,
        "layout": task.layout,
        "closed": task.closed,
        "answer_start": task.answer_start,
    }
