"""Configs of `rope-lab evaluate`, `rope-lab perplexity` and `rope-lab generate`."""

from __future__ import annotations

import dataclasses
from typing import Any

from rope_lab.cli import config_checks as checks
from rope_lab.data.selection import HOW
from rope_lab.evaluation.conventions import CONVENTIONS, WEIGHTS


@dataclasses.dataclass(frozen=True, kw_only=True)
class CheckpointConfig:
    """Which model, and with which tokenizer."""

    checkpoint: str  # workdir of a run, or one of its checkpoints/<step>
    average: bool = False  # its moving average (the run had ema_decay)
    tokenizer: str | None = None  # a file; None: the one it was trained with
    bos: bool = True  # BOS before documents and prompts; False where it knows none
    data_dir: str | None = None  # None: $ROPE_LAB_DATA, else ~/.cache/rope_lab


@dataclasses.dataclass(frozen=True, kw_only=True)
class PerplexitySection:
    """Documents, and how they are cut: see `rope_lab.evaluation.conventions`."""

    documents: str = "held_out"  # of its corpus; or pg19, govreport, proof_pile, a path
    split: str = "test"  # of the named ones
    count: int | None = None  # documents; None: up to 50
    minimum_tokens: int | None = None  # shorter ones are left out; None: longest length
    maximum_tokens: int | None = None  # longer ones are cut; None: whole
    selection: str = "first"  # or "random"
    seed: int = 0  # of a random selection
    convention: str = "last"  # or "sliding", "first"
    targets: int | None = None  # of "last", tokens; None: the shortest length
    stride: int | None = None  # of "sliding"; None: 256, at most half a length
    weights: str = "tokens"  # or "windows", as in the released code

    def __post_init__(self):
        checks.one_of(HOW, selection=self.selection)
        checks.one_of(CONVENTIONS, convention=self.convention)
        checks.one_of(WEIGHTS, weights=self.weights)
        least, most = self.minimum_tokens, self.maximum_tokens
        checks.at_least(1, count=self.count, targets=self.targets, stride=self.stride)
        checks.at_least(2, minimum_tokens=least, maximum_tokens=most)
        if least is not None and most is not None and most < least:
            raise checks.Meaningless(
                f"maximum_tokens is {most}, and minimum_tokens {least}: documents are "
                "cut to less than they have to have; give at least as many"
            )


@dataclasses.dataclass(frozen=True, kw_only=True)
class RetrievalSection:
    """Things hidden in long texts: see `rope_lab.evaluation.retrieval_tasks`."""

    tasks: list[str] = dataclasses.field(
        default_factory=lambda: ["passkey", "needle", "multi_key", "variable_tracking"]
    )
    count: int = 22  # samples per length; the needle goes through 11 depths
    haystack: str = "noise"  # or "held_out", or a path: the text around
    template: str = "none"  # or "llama2", "llama3", "chatml", or text with {prompt}
    seed: int = 0

    def __post_init__(self):
        checks.at_least(1, count=self.count)


@dataclasses.dataclass(frozen=True, kw_only=True)
class LevalSection:
    """L-Eval's closed-ended tasks: see `rope_lab.evaluation.leval_tasks`."""

    folder: str | None = None  # with tpo.jsonl, quality.jsonl, ...; None: not run
    length: int | None = None  # tokens; None: the longest length
    new_tokens: int = 512
    template: str = "llama2"  # or "llama3", "chatml", "none", or text with {prompt}


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvaluateConfig(CheckpointConfig):
    """`rope-lab evaluate`: one checkpoint under some encodings, one scorecard.

    Rows of encodings are those of `ExtrapolateConfig`, without "model"; a row without a
    "label" is called after its options.
    """

    encodings: list[Any] = dataclasses.field(default_factory=list)
    own: bool = True  # whether the encoding it was trained with is measured, too
    lengths: list[int] | None = None  # tokens; None: 1, 2 and 4 times its own
    perplexity: list[PerplexitySection] = dataclasses.field(
        default_factory=lambda: [PerplexitySection()]
    )
    retrieval: RetrievalSection = RetrievalSection()
    leval: LevalSection = LevalSection()


@dataclasses.dataclass(frozen=True, kw_only=True)
class PerplexityConfig(CheckpointConfig, PerplexitySection):
    """`rope-lab perplexity`: one protocol on some documents."""

    encodings: list[Any] = dataclasses.field(default_factory=list)
    own: bool = True  # as in `EvaluateConfig`
    lengths: list[int] | None = None  # as in `EvaluateConfig`


@dataclasses.dataclass(frozen=True, kw_only=True)
class GenerateConfig(CheckpointConfig):
    """`rope-lab generate`: one answer, or a chat that reads lines."""

    prompt: str | None = None  # None: read from standard input
    chat: bool = False  # each line is a turn, until the input ends
    template: str = "none"  # or "llama2", "llama3", "chatml", or text with {prompt}
    system: str = ""  # message before the first turn
    encoding: Any = None  # a logic, as a row of encodings; None: its own
    length: int | None = None  # tokens of the context; None: as long as it has to be
    max_new_tokens: int = 256  # of an answer
    temperature: float | None = None  # None: greedy, or 1 with top_k or top_p
    top_k: int | None = None
    top_p: float | None = None
    seed: int = 0
