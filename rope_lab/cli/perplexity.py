"""Perplexity of a checkpoint by length, in one of three conventions.

    rope-lab perplexity runs/base --workdir=runs/ppl --convention=sliding --stride=64
    rope-lab perplexity runs/base --workdir=runs/ppl --documents=govreport \\
        --lengths=[4096,8192,16384] --encodings='[{"name": "yarn", "scale": 4,
        "train_length": "trained"}]'

"last" scores the same last targets of every document with a growing context (ReRoPE),
"sliding" walks over it in strides (YaRN), "first" scores its first tokens in one
window. Keys of a config are those of `PerplexityConfig`; the same command continues.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rope_lab.cli.evaluate import Printer, protocol_of
from rope_lab.cli.evaluation_config import PerplexityConfig
from rope_lab.cli.scorecard import make_scorecard, print_scorecard, save_scorecard
from rope_lab.cli.subject import Loading
from rope_lab.evaluation.perplexity import measure_perplexity


def perplexity(config: PerplexityConfig, workdir: str | Path) -> dict[str, Any]:
    """Writes workdir/scorecard.json and a record per encoding; returns the former."""
    loading = Loading(config)
    lengths = loading.lengths(config.lengths)
    rows = loading.rows(config.encodings, config.own, lengths)
    bos = loading.subject.tokenizer.bos_id is not None
    protocol = protocol_of(config, lengths, bos)
    documents = loading.documents(config, max(lengths))
    workdir, printer = Path(workdir), Printer()
    records = [
        measure_perplexity(
            loading.subject, row, documents, protocol, lengths, workdir,
            progress=printer,
        )
        for row in rows
    ]  # fmt: skip
    scorecard = make_scorecard(records, [])
    save_scorecard(workdir, scorecard)
    print_scorecard(scorecard)
    return scorecard
