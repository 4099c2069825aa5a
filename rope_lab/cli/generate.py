"""Continue a prompt, or hold a chat, under any encoding and over any length.

    rope-lab generate runs/base --prompt="Fellow citizens" --max_new_tokens=60
    rope-lab generate runs/base --chat --template=llama2 --length=4096 \\
        --encoding='{"name": "rerope", "window": "trained/2"}'

A chat reads a turn from each line of standard input and ends with it. The logic is
built for --length tokens; a conversation that grows past it starts again with a logic
for twice as many, and says what reading all of it again costs. Keys of a config are
those of `GenerateConfig`.
"""

from __future__ import annotations

import sys
import time
from typing import Any, TextIO

from rope_lab.cli.evaluation_config import GenerateConfig
from rope_lab.cli.subject import Loading
from rope_lab.data.chat import ChatTemplate, chat_template
from rope_lab.evaluation import Row
from rope_lab.evaluation.subject import Subject
from rope_lab.model.session import Session


def generate(
    config: GenerateConfig,
    workdir: Any = None,
    given: TextIO | None = None,
    out: TextIO | None = None,
) -> list[str]:
    """Prints answers as they are written; returns them. Nothing is kept in a workdir.

    Raises:
      ValueError: before anything is computed.
    """
    del workdir
    given, out = given or sys.stdin, out or sys.stdout
    if config.chat and config.prompt is not None:
        raise ValueError(
            "--prompt is one turn and --chat reads turns: give one of them"
        )
    length = config.length
    if config.max_new_tokens < 1 or (length is not None and length < 2):
        raise ValueError(
            f"length is {length} and max_new_tokens {config.max_new_tokens}; "
            "give at least 2 tokens of context and 1 of an answer"
        )
    template = chat_template(config.template)
    template.check_system(config.system)
    loading = Loading(config)
    rows = loading.rows(
        [] if config.encoding is None else [config.encoding],
        own=config.encoding is None,
        lengths=[length or loading.opened.train_length],
    )
    chat = Conversation(loading.subject, rows[0], template, config, out)
    turns = given
    if not config.chat:
        turns = [given.read() if config.prompt is None else config.prompt]
    answers = []
    for turn in turns:
        text = turn.rstrip("\n") if config.chat else turn
        _check_text(text)
        if text or not config.chat:
            answers.append(chat.answer(text))
    return answers


def _check_text(text: str) -> None:
    """Refuses bytes that are no UTF-8, which Python hands on as surrogates."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(
            f"a prompt must be UTF-8 text; character {error.start} of {text[:60]!r} is "
            "of another encoding"
        ) from None


class Conversation:
    """Turns and answers in one cache, which is made anew when they outgrow its logic.

    Attributes:
      session: what was said so far; None before the first turn.
      read_again: tokens that were read a second time.
    """

    def __init__(
        self,
        subject: Subject,
        row: Row,
        template: ChatTemplate,
        config: GenerateConfig,
        out: TextIO,
    ):
        self._subject, self._row, self._template = subject, row, template
        self._config, self._out = config, out
        self.session: Session | None = None
        self.read_again = 0

    def answer(self, turn: str) -> str:
        """Prints the answer to a turn and returns it."""
        tokenizer, template = self._subject.tokenizer, self._template
        if self.session is None:
            tokens = [*template.tokens(tokenizer, turn, self._config.system)]
        else:
            end = template.ending(tokenizer, self.session.tokens[-1])
            tokens = [*end, *template.tokens(tokenizer, turn, first=False)]
        self._make_room(len(tokens) + self._config.max_new_tokens)
        self.session.read(tokens)
        return self._written()

    def _written(self) -> str:
        tokenizer, template = self._subject.tokenizer, self._template
        stops = template.stop_tokens(tokenizer)
        written, shown = [], ""
        for token in self.session.write(self._config.max_new_tokens, stops):
            written.append(token)
            text = tokenizer.decode([t for t in written if t not in stops])
            ended = template.cut(text) != text  # a model that spells its end
            text = template.cut(text)
            if text.startswith(shown) and not text.endswith("\ufffd"):
                self._show(text[len(shown) :])
                shown = text
            if ended:
                break
        text = template.cut(tokenizer.decode([t for t in written if t not in stops]))
        self._show(text[len(shown) :] + "\n")
        return text

    def _show(self, text: str) -> None:
        self._out.write(text)
        self._out.flush()

    def _make_room(self, needed: int) -> None:
        """A first session, or a longer one that has read all that was said."""
        if self.session is None:
            length = self._config.length or needed
            if length < needed:
                sys.stderr.write(
                    f"the first turn needs {needed} tokens with its answer: the logic "
                    f"is built for them instead of {length}\n"
                )
            self.session = self._session(max(length, needed))
            return
        if self.session.room >= needed:
            return
        said, before = self.session.tokens, self.session.length
        length = max(2 * before, len(said) + needed)
        start = time.monotonic()
        self.session = self._session(length)
        self.session.read(said)
        self.read_again += len(said)
        sys.stderr.write(
            f"the conversation outgrows the logic for {before} tokens: a fresh one for "
            f"{length} has read all {len(said)} tokens again, "
            f"{time.monotonic() - start:.1f} s\n"
        )

    def _session(self, length: int) -> Session:
        config = self._config
        return Session(
            self._subject.graphdef,
            self._subject.params,
            self._row.logic_for,
            length,
            temperature=config.temperature,
            top_k=config.top_k,
            top_p=config.top_p,
            seed=config.seed,
        )
