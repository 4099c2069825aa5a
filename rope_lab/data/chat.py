"""Conversations as tokens: the templates of chat models, and templates of one's own.

A template is text with names in braces, {system}, {prompt}, {answer} and {bos}. What it
spells in brackets, such as "</s>", "<|im_end|>" or "[INST]", is one token where the
tokenizer has it, else text. What users and documents say is text always, whatever it
spells.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping

import numpy as np

from rope_lab.data.tokenizers import Tokenizer, eos_ids

_PARTS = re.compile(r"(\{\w+\}|<[^<>\s]+>|\[/?[A-Z_]+\])")


@dataclasses.dataclass(frozen=True)
class ChatTemplate:
    """How turns of a conversation are spelled.

    Attributes:
      name: in records.
      system: what a system message adds to the first turn.
      turn: a turn up to where the model begins to answer; {system} is the above.
      end: what stands behind an answer.
      stops: the pieces that end one.
      start: what stands before the first turn.
    """

    name: str
    system: str
    turn: str
    end: str = ""
    stops: tuple[str, ...] = ("</s>", "<|endoftext|>", "<|end_of_text|>")
    start: str = ""

    def tokens(
        self,
        tokenizer: Tokenizer,
        prompt: str,
        system: str = "",
        answer: str = "",
        first: bool = True,
    ) -> np.ndarray:
        """int32[tokens] of a turn, with the first words of an answer to be continued.

        Args:
          system: the system message, in the first turn; "" leaves it out.
          first: whether nothing was said before.

        Raises:
          ValueError: a system message, and no place for one.
        """
        self.check_system(system)
        before = self.system if system else ""
        template = self.turn.replace("{system}", before) + "{answer}"
        values = {"system": system, "prompt": prompt, "answer": answer}
        start = self.start if first else ""
        return encode_template(start + template, values, tokenizer)

    def check_system(self, system: str) -> None:
        """Raises ValueError for a system message that the template would leave out."""
        if system and "{system}" not in self.turn:
            raise ValueError(
                f"the chat template {self.turn!r} has no place for the system message "
                f"{system[:60]!r}: write {{system}} where it belongs"
            )

    def ending(self, tokenizer: Tokenizer, last_token: int) -> np.ndarray:
        """int32[tokens] behind an answer that ended with `last_token`."""
        tokens = encode_template(self.end, {}, tokenizer)
        stops = self.stop_tokens(tokenizer)
        if last_token in stops and len(tokens) and tokens[0] in stops:
            return tokens[1:]  # the model has written it
        return tokens

    def stop_tokens(self, tokenizer: Tokenizer) -> list[int]:
        """Ids that end an answer: of the pieces, where the tokenizer has them, and
        those that its checkpoint names."""
        ids = (tokenizer.token_id(piece) for piece in self.stops)
        named = {number for number in ids if number is not None}
        return sorted(named | set(eos_ids(tokenizer)))

    def cut(self, text: str) -> str:
        """An answer up to a piece that ends one, where the model spelled it."""
        ends = [text.find(piece) for piece in self.stops if piece in text]
        return text[: min(ends)] if ends else text

    def describe(self) -> dict[str, str]:
        """Plain data for a record: of a first turn."""
        turn = self.start + self.turn
        return {"name": self.name, "system": self.system, "turn": turn}


TEMPLATES = {
    "none": ChatTemplate(
        "none", "{system}\n", "{system}{prompt}", end="\n", start="{bos}"
    ),
    # The reference code of Llama 2: BOS opens every turn, EOS closes every answer.
    "llama2": ChatTemplate(
        "llama2",
        "<<SYS>>\n{system}\n<</SYS>>\n\n",
        "{bos}[INST] {system}{prompt} [/INST]",
        end="</s>",
        stops=("</s>",),
    ),
    "chatml": ChatTemplate(
        "chatml",
        "<|im_start|>system\n{system}<|im_end|>\n",
        "{system}<|im_start|>user\n{prompt}<|im_end|>\n<|im_start|>assistant\n",
        end="<|im_end|>\n",
        stops=("<|im_end|>", "<|endoftext|>"),
    ),
    "llama3": ChatTemplate(
        "llama3",
        "<|start_header_id|>system<|end_header_id|>\n\n{system}<|eot_id|>",
        "{system}<|start_header_id|>user<|end_header_id|>\n\n{prompt}<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n",
        end="<|eot_id|>",
        stops=("<|eot_id|>", "<|end_of_text|>"),
        start="{bos}",
    ),
}


def chat_template(spec: str) -> ChatTemplate:
    """A template by its name, or the one that a text with {prompt} spells.

    A text of one's own begins with BOS unless it says where {bos} stands, and each turn
    is spelled by it. What stands behind {answer}, if that is there, closes an answer.

    Raises:
      ValueError: neither, or names in braces that nothing fills in.
    """
    if spec in TEMPLATES:
        return TEMPLATES[spec]
    if "{prompt}" not in spec:
        raise ValueError(
            f"chat template {spec!r} is none of {', '.join(TEMPLATES)} and has no "
            "{prompt}: name one, or give text with {prompt} and, if there is a system "
            "message, {system}"
        )
    known = {"prompt", "system", "answer", "bos"}
    unknown = set(re.findall(r"\{(\w+)\}", spec)) - known
    if unknown:
        raise ValueError(
            f"chat template {spec!r} has {{{sorted(unknown)[0]}}}, which nothing fills "
            "in; known are {prompt}, {system}, {answer} and {bos}"
        )
    turn, _, end = spec.partition("{answer}")
    if "{prompt}" not in turn:
        raise ValueError(f"chat template {spec!r} has its {{answer}} before {{prompt}}")
    closing = [part for part in _PARTS.split(end) if part]
    stops = closing[:1] if closing and _PARTS.fullmatch(closing[0]) else []
    return ChatTemplate(
        "own",
        "{system}",
        turn,
        end,
        (*stops, *ChatTemplate.stops),
        start="" if "{bos}" in turn else "{bos}",
    )


def encode_template(
    template: str, values: Mapping[str, str], tokenizer: Tokenizer
) -> np.ndarray:
    """int32[tokens] of a template filled in with texts."""
    tokens: list[np.ndarray] = []
    text = ""

    def flush() -> None:
        nonlocal text
        if text:
            tokens.append(tokenizer.encode(text))
        text = ""

    for part in _PARTS.split(template):
        special = tokenizer.token_id(part) if part.startswith(("<", "[")) else None
        if part == "{bos}":
            if tokenizer.bos_id is None:
                continue
            special = tokenizer.bos_id
        if special is not None:
            flush()
            tokens.append(np.array([special], np.int32))
        elif part.startswith("{") and part[1:-1] in values:
            text += values[part[1:-1]]
        else:
            text += part
    flush()
    return np.concatenate([np.zeros(0, np.int32), *tokens]).astype(np.int32)
