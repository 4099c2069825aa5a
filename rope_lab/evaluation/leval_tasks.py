"""The six closed-ended tasks of L-Eval (2307.11088): files, and prompts as published.

A task is a .jsonl file in a folder, as OpenLMLab/LEval has them in
LEval-data/Closed-ended-tasks: one document a line, ``input``, with ``instructions`` and
their ``outputs``. Prompts are those of its Baselines/llama2-chat-test.py, to the letter
and with their slips, since models are sensitive to them.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from rope_lab.data.json_text import parse_json

VERSION = 2  # 1: tokens by which the checkpoint ends did not end an answer
NEW_TOKENS = 512
STEP = 250  # words by which a document is cut further until it fits

_CHOICE = (
    "Now you are given a very long document. Please follow the instruction based on "
    "this document. For multi-choice questions, there is only a sinlge correct option. "
    "Please only provide the letter corresponding to the answer (like A or B) when "
    "answering. For other questions, please directly give the concise and accurate "
    "answer. "
)
_CHOICES = (
    "Now you are given a very long document. Please follow the instruction based on "
    "this document. For multi-choice questions, there could be a sinlge correct option "
    "or multiple correct options. Please only provide the letter corresponding to the "
    "answer (like A or AB) when answering. "
)
_MATH = (
    "Given several question answer pairs, you need to follow a similar format to "
    "answer the last question. Make sure the response is end with The answer is _ . "
)
_CODE = (
    "Now you are given a code base consisting of a large amount of functions and the "
    "corresponding comments. In the end, I will call some functions defined in the "
    "code base. Please carefully read these codes and comments and answer the question."
)
_FICTION = (
    "Now you are given a scientific fiction. I will ask you some questions and the "
    'answer should be "True" or "False". Notice that you should answer the question '
    "based on the evidence in the document instead of your background knowledge."
)
_DIRECT = (
    "Document is as follows. {document} \nQuestion: {instruction}.  Please directly "
    "give answer without any additonal output or explanation "
)
_OF_THE_DOCUMENT = "based on the world described in the document."
_OF_THE_WORLD = (
    "based on the real-world knowledge and facts up until your last training"
)


@dataclasses.dataclass(frozen=True)
class LevalTask:
    """One column of the published table.

    Attributes:
      name: as the Resonance paper's table calls it.
      stem: of the published file.
      system: message before the prompt.
      layout: of document and instruction.
      answer_start: what the answer begins with.
      closed: whether [/INST] ends the prompt; two published ones leave it out.
      keep_end: whether a document that is too long loses its beginning.
      questions: in the published file.
    """

    name: str
    stem: str
    system: str
    layout: str
    answer_start: str
    closed: bool
    keep_end: bool
    questions: int


_KEYS = {"input": str, "instructions": list, "outputs": list}
_ANSWER = "\nAnswer:"
_BEHIND = "{document}\n\n{instruction}"
TASKS = {
    task.stem: task
    for task in (
        LevalTask("TOEFL", "tpo", _CHOICE, _DIRECT, _ANSWER, True, False, 269),
        LevalTask("QuALITY", "quality", _CHOICE, _DIRECT, _ANSWER, True, False, 202),
        LevalTask("Coursera", "coursera", _CHOICES, _DIRECT, _ANSWER, True, False, 172),
        LevalTask("SFiction", "sci_fi", _FICTION, _DIRECT, _ANSWER, True, False, 64),
        LevalTask("GSM", "gsm100", _MATH, _BEHIND, "", False, False, 100),
        LevalTask("CodeU", "codeU", _CODE, _BEHIND, "", False, True, 90),
    )
}


class Question(NamedTuple):
    """One instruction about a document, and its published answer."""

    document: str
    instruction: str
    answer: str

    @property
    def about_the_world(self) -> str:
        """SFiction's second prompt: the same about the real world, without document."""
        return self.instruction.replace(_OF_THE_DOCUMENT, _OF_THE_WORLD) + _ANSWER


@dataclasses.dataclass(frozen=True)
class LevalData:
    """The questions of a task, in order.

    Attributes:
      checksum: sha256 of the file.
      documents: number of the document of each question.
    """

    task: LevalTask
    questions: tuple[Question, ...]
    documents: tuple[int, ...]
    checksum: str


def load_task(folder: Path, task: LevalTask) -> LevalData | None:
    """A task from folder/<stem>.jsonl; None where that file is missing.

    Raises:
      ValueError: the file is not as published; says which line and key.
    """
    path = Path(folder).expanduser() / f"{task.stem}.jsonl"
    if not path.is_file():
        return None
    content = path.read_bytes()
    questions, documents = [], []
    for number, line in enumerate(content.splitlines(), 1):
        if line.strip():
            found = _questions(line, f"{path}, line {number}", task)
            documents += [number - 1] * len(found)
            questions += found
    if not questions:
        raise ValueError(f"{path} holds no questions; put the published file there")
    checksum = hashlib.sha256(content).hexdigest()
    return LevalData(task, tuple(questions), tuple(documents), checksum)


def _questions(line: bytes, place: str, task: LevalTask) -> list[Question]:
    record = parse_json(line, place)
    given = record if isinstance(record, dict) else {}
    for key, kind in _KEYS.items():
        if not isinstance(given.get(key), kind):
            raise ValueError(
                f"{place} has no {key!r} that is a {kind.__name__}; a line of L-Eval "
                "is an object with input, instructions and outputs"
            )
    document, instructions, outputs = (given[key] for key in _KEYS)
    if len(instructions) != len(outputs) or not all(
        isinstance(text, str) and _is_text(text)
        for text in (document, *instructions, *outputs)
    ):
        raise ValueError(
            f"{place} has {len(instructions)} instructions and {len(outputs)} outputs; "
            "expected one text each"
        )
    for answer in outputs:
        _check_answer(answer, place, task)
    return [
        Question(document, *pair) for pair in zip(instructions, outputs, strict=True)
    ]


def _is_text(text: str) -> bool:
    """Whether it can be written as UTF-8: no half of a surrogate pair."""
    return not any("\ud800" <= char <= "\udfff" for char in text)


def _check_answer(answer: str, place: str, task: LevalTask) -> None:
    """Raises ValueError for an answer that nothing could be scored against."""
    expected = None
    if task.stem == "sci_fi" and "[fact:" not in answer:
        expected = "True [fact: False]"
    if task.stem == "gsm100" and not any(char.isdigit() for char in answer):
        expected = "a number"
    if not answer.strip():
        expected = "text"
    if expected is not None:
        raise ValueError(
            f"{place}: the answer {answer!r} cannot be scored against; expected one "
            f"like {expected}"
        )


def cut(document: str, tokens: int, keep_end: bool, count: Callable[[str], int]) -> str:
    """A document of at most `tokens` tokens, cut as published: by words, in steps.

    The first (or last) `tokens` words are kept, then 250 fewer, until they fit; so it
    may end up to 250 words short of what would fit.

    Args:
      tokens: at most, BOS included.
      keep_end: cut from the left.
      count: text -> its tokens, BOS included.
    """
    keep = tokens
    while count(document) > tokens and document:
        words = document.split(" ")
        kept = min(max(keep, 0), len(words))
        chosen = words[len(words) - kept :] if keep_end else words[:kept]
        document, keep = " ".join(chosen), keep - STEP
    return document
