"""Evaluate a checkpoint under one or several encodings; one scorecard.

    rope-lab evaluate runs/base --workdir=runs/base-scores
    rope-lab evaluate runs/base --workdir=runs/far --lengths=[128,1024] \\
        --encodings='[{"name": "rerope", "window": "trained/2"}]'

Perplexity by length, retrieval and, where its files lie in a folder, L-Eval. Everything
is written to the workdir as it ends: records, with all that a number depends on, the
scorecard and a heat map for each encoding; the same command continues. Keys of a config
are those of `EvaluateConfig`; any of them can be given as --config.key=value.
"""

from __future__ import annotations

import dataclasses
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from rope_lab.cli.evaluation_config import (
    EvaluateConfig,
    LevalSection,
    PerplexitySection,
)
from rope_lab.cli.scorecard import make_scorecard, print_scorecard, save_scorecard
from rope_lab.cli.subject import Loading
from rope_lab.data.chat import chat_template
from rope_lab.data.missing import MissingData
from rope_lab.data.selection import Selection
from rope_lab.evaluation import Row, RowProgress
from rope_lab.evaluation.fingerprints import digest
from rope_lab.evaluation.haystack import Filler
from rope_lab.evaluation.leval import check_room, measure_leval
from rope_lab.evaluation.leval_tasks import TASKS as LEVAL_TASKS
from rope_lab.evaluation.leval_tasks import LevalData, load_task
from rope_lab.evaluation.perplexity import Protocol, measure_perplexity
from rope_lab.evaluation.retrieval import build_prompt, measure_retrieval
from rope_lab.evaluation.retrieval_tasks import TASKS
from rope_lab.plots.heatmap import needle_heatmap
from rope_lab.training.progress import format_seconds

Record = dict[str, Any]


def evaluate(config: EvaluateConfig, workdir: str | Path) -> dict[str, Any]:
    """Writes workdir/scorecard.json and records; returns the scorecard.

    What data is missing for is named in the scorecard and left out. Whatever is wrong
    in the config ends the run before anything is measured.
    """
    loading = Loading(config)
    run = _Run(config, loading, Path(workdir))
    records: list[Record] = []
    for part in (run.perplexities, run.retrievals, run.levals):
        for record in part():
            records.append(record)
            save_scorecard(run.workdir, make_scorecard(records, run.not_run))
    scorecard = make_scorecard(records, run.not_run)
    save_scorecard(run.workdir, scorecard)
    print_scorecard(scorecard)
    return scorecard


def protocol_of(section: PerplexitySection, lengths: list[int], bos: bool) -> Protocol:
    """The convention of a section; checked. bos: whether the model knows a BOS.

    Raises:
      ValueError: it does not fit the lengths, or documents are cut to less.
    """
    shortest = min(lengths)
    stride = min(256, shortest // 2) if section.stride is None else section.stride
    targets = shortest if section.targets is None else section.targets
    protocol = Protocol(section.convention, targets, stride, section.weights)
    protocol.check(lengths, section.maximum_tokens, bos)
    return protocol


class _Run:
    """The parts of one evaluation, and what of them could not be run."""

    def __init__(self, config: EvaluateConfig, loading: Loading, workdir: Path):
        self.config, self.loading, self.workdir = config, loading, workdir
        self.lengths = loading.lengths(config.lengths)
        self.rows = loading.rows(config.encodings, config.own, self.lengths)
        bos = loading.subject.tokenizer.bos_id is not None
        self.protocols = [
            protocol_of(one, self.lengths, bos) for one in config.perplexity
        ]
        self.tasks = [_task(name) for name in config.retrieval.tasks]
        self.template = chat_template(config.retrieval.template)
        self.leval_template = chat_template(config.leval.template)
        self.leval_length = config.leval.length or max(self.lengths)
        self.leval_data = _leval_data(config.leval, self.leval_length)
        self.files = _file_names([row.label for row in self.rows])
        self.not_run: list[tuple[str, str]] = []
        self.documents = [self._documents(section) for section in config.perplexity]
        self.haystack = self._haystack(config.retrieval.haystack)
        self.printer = Printer()

    def _documents(self, section: PerplexitySection) -> Selection | None:
        """Those of a section; None where they are missing, which is not run."""
        sources = [one.documents for one in self.config.perplexity]
        try:
            return self.loading.documents(section, max(self.lengths), sources)
        except MissingData as error:
            name = f"perplexity/{section.convention}/{section.documents}"
            self.not_run.append((name, str(error)))
            return None

    def _haystack(self, spec: str) -> Filler | None:
        """The text around what is hidden; None where it is missing or not needed."""
        try:
            return self.loading.haystack(spec) if self.tasks else None
        except MissingData as error:
            self.not_run += [(f"retrieval/{t.name}", str(error)) for t in self.tasks]
            return None

    def perplexities(self) -> Iterator[Record]:
        for protocol, documents in zip(self.protocols, self.documents, strict=True):
            for row in self.rows if documents else ():
                yield measure_perplexity(
                    self.loading.subject, row, documents, protocol, self.lengths,
                    self.workdir, progress=self.printer,
                )  # fmt: skip

    def retrievals(self) -> Iterator[Record]:
        for task in self.tasks if self.haystack else ():
            lengths = self._with_room(task)
            for row in self.rows if lengths else ():
                record = self._retrieval(row, task, lengths)
                if record is not None:
                    yield record

    def _retrieval(self, row: Row, task, lengths: list[int]) -> Record | None:
        section = self.config.retrieval
        try:
            record = measure_retrieval(
                self.loading.subject, row, task, lengths, section.count, self.workdir,
                seed=section.seed, haystack=self.haystack, template=self.template,
                progress=self.printer,
            )  # fmt: skip
        except ValueError as error:  # randomized positions cannot be decoded
            self.not_run.append((f"retrieval/{task.name}", f"{row.label}: {error}"))
            return None
        if task.name == "needle":
            needle_heatmap(record, self.workdir / f"needle-{self.files[row.label]}.png")
        return record

    def _with_room(self, task) -> list[int]:
        """The lengths that hold a prompt of the task; others are named as not run."""
        sample, lengths = task.sample(self.config.retrieval.seed, 0), []
        for length in self.lengths:
            try:
                build_prompt(
                    self.loading.subject, task, self.haystack, self.template, sample,
                    length,
                )  # fmt: skip
                lengths.append(length)
            except ValueError as error:
                self.not_run.append((f"retrieval/{task.name}", str(error)))
        return lengths

    def levals(self) -> Iterator[Record]:
        section = self.config.leval
        for stem in LEVAL_TASKS:
            data = self.leval_data.get(stem)
            if data is None:
                reason = f"{section.folder} holds no {stem}.jsonl"
                if section.folder is None:
                    reason = "leval.folder is not given"
                self.not_run.append((f"l-eval/{stem}", reason))
                continue
            for row in self.rows:
                yield measure_leval(
                    self.loading.subject, row, data, self.leval_length, self.workdir,
                    template=self.leval_template, new_tokens=section.new_tokens,
                    progress=self.printer,
                )  # fmt: skip


def _file_names(labels: Sequence[str]) -> dict[str, str]:
    """Of each label, without signs; a checksum keeps apart those that become equal."""
    names = {
        label: "".join(c if c.isalnum() else "-" for c in label.lower())[:80]
        for label in labels
    }
    several = [name for name, count in Counter(names.values()).items() if count > 1]
    return {
        label: f"{name}-{digest(label)[:8]}" if name in several else name
        for label, name in names.items()
    }


def _leval_data(section: LevalSection, length: int) -> dict[str, LevalData | None]:
    """Every task of the folder, read at once: a wrong file ends the run."""
    if section.folder is None:
        return {}
    folder = Path(section.folder).expanduser()
    if not folder.is_dir():
        raise ValueError(f"leval.folder {folder} is no folder; give that of the files")
    check_room(length, section.new_tokens)
    return {stem: load_task(folder, task) for stem, task in LEVAL_TASKS.items()}


def _task(name: str):
    if name not in TASKS:
        raise ValueError(
            f"retrieval.tasks has {name!r}; expected some of {', '.join(TASKS)}"
        )
    return TASKS[name]


@dataclasses.dataclass
class Printer:
    """A line per evaluation, encoding and length, and then every tenth."""

    last: tuple | None = None

    def __call__(self, progress: RowProgress) -> None:
        now = (progress.label, progress.length, progress.kind, progress.fraction // 0.1)
        if now == self.last:
            return
        self.last = now
        sys.stderr.write(
            f"{progress.kind}, {progress.label}, length {progress.length} "
            f"({progress.fraction:.0%})  {format_seconds(progress.seconds_left)} left\n"
        )
        sys.stderr.flush()
