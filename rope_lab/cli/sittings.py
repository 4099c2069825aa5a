"""Models of a study that an earlier sitting trained and measured, on any machine.

Their folders may be gone: the results of their page are enough to go on with the
others, where the page comes from the very same config.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from rope_lab.cli.config import ExtrapolateConfig, PretrainConfig
from rope_lab.cli.extrapolate import build_encoding, split_row
from rope_lab.data import PackedSequences
from rope_lab.evaluation.combine import split
from rope_lab.evaluation.fingerprints import describe_logic
from rope_lab.evaluation.results import NATURAL, Results, load_results
from rope_lab.logic.inherit import completed
from rope_lab.model import build_logic
from rope_lab.training.meta import with_later_options


class _Model(Protocol):
    """How a model of the study is trained and measured."""

    @property
    def label(self) -> str: ...
    @property
    def training(self) -> PretrainConfig: ...
    @property
    def measuring(self) -> ExtrapolateConfig: ...


class Kept(NamedTuple):
    """What the page of an earlier sitting holds of one model."""

    table: Results
    described: dict[str, Any]  # of its training, as the page's run has it
    seconds: dict[str, float]  # by phase


def kept_models(
    path: str, models: Sequence[_Model], source: PackedSequences
) -> dict[str, Kept]:
    """The models of a results.json that this study would train and measure alike.

    A model counts if its data, its config and the logic of each of its rows are those
    of the study; it is named with the reason where they are not. Tables of other text
    are refused when they are combined.

    Raises:
      ValueError: the file is not the results of a study.
      OSError: it cannot be read.
    """
    results = load_page(path)
    run = results["run"]
    same_data = {key: run["data"].get(key) for key in source.identity} == _plain(
        source.identity
    )
    tables, kept = split(results), {}
    for model in models:
        table = tables.get(model.label)
        if table is None:
            continue
        described = run["models"][model.label]
        other = _other(model, table, described) if same_data else "other data"
        if other:
            print(f"{model.label}: trained anew, {path} has {other}", file=sys.stderr)
            continue
        described = {"commit": run["commit"], **described}
        kept[model.label] = Kept(table, described, _seconds(run, model.label))
    return kept


def load_page(path: str | Path) -> Results:
    """The results beside the page of a study, of any size.

    Raises:
      ValueError: the file is not the results of a study.
      OSError: it cannot be read.
    """
    results = load_results(path)
    if not isinstance(results.get("run", {}).get("models"), dict):
        raise ValueError(f"{path} is not the results.json of a study's page")
    return results


def _other(model: _Model, table: Results, described: dict[str, Any]) -> str:
    """What the page has otherwise than the config, "" for nothing."""
    recorded = with_later_options(described["config"])
    if _plain(dataclasses.asdict(model.training)) != recorded:
        return "it from another config"
    lengths = sorted(model.measuring.lengths)
    if table["lengths"] != lengths:
        return f"lengths {table['lengths']}"
    measured = {row["label"]: row for row in table["rows"]}
    model_config = model.training.model.model_config(vocab_size=1)
    own = build_logic(model.training.model.logic, model_config)
    for spec in model.measuring.encodings:
        label, _, _ = split_row(spec)
        if label not in measured:
            return f"no row {label!r}"
        for length in lengths:
            logic = build_encoding(
                spec,
                model_config,
                model.training.data.length,
                length,
                complete=functools.partial(completed, trained=own),
            )
            cell = measured[label]["cells"][str(length)][NATURAL]
            if cell["logic"] != _plain(describe_logic(logic)):
                return f"another row {label!r}"
    return ""


def _seconds(run: dict[str, Any], label: str) -> dict[str, float]:
    """The phases "3/22 train LABEL" and "3/22 measure LABEL"."""
    return {
        phase: seconds
        for phase, seconds in run["wall seconds"].items()
        if phase.split(" ", 2)[2:] == [label]
    }


def _plain(value: Any) -> Any:
    """As it comes back from a JSON file."""
    return json.loads(json.dumps(value))
