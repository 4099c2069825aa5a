"""Measure checkpoints under many logics at many lengths, without training.

    rope-lab extrapolate --config=configs/extrapolate.py --workdir=runs/far
    rope-lab extrapolate --config=configs/rerope_small.py --workdir=runs/rerope

The second is a study: its config lists the models to train first. Rows are written to
results.json as they end; the same command measures those that are missing or changed.
Keys of a config are those of `ExtrapolateConfig`, of a study those of `StudyConfig`.
"""

from __future__ import annotations

import dataclasses
import functools
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from rope_lab.cli import record
from rope_lab.cli.checkpoints import Loaded, Planned, load_checkpoint
from rope_lab.cli.config import PRETRAINED, ExtrapolateConfig
from rope_lab.cli.extrapolate_page import write_page
from rope_lab.cli.specs import resolve
from rope_lab.data import (
    Corpus,
    EvaluationWindows,
    Tokenizer,
    evaluation_windows,
    load_corpus,
    load_tokenizer,
    packed_windows,
)
from rope_lab.evaluation import (
    Model,
    Row,
    RowProgress,
    evaluate_rows,
    save_results,
)
from rope_lab.evaluation.results import FAR_REPEATED, NATURAL, REPEATED
from rope_lab.model import ModelConfig, build_logic, count_parameters
from rope_lab.model.config import COMPUTED
from rope_lab.model.learned import with_learned
from rope_lab.training.progress import format_seconds

TRUNCATED = "truncated"


def extrapolate(config: ExtrapolateConfig, workdir: str | Path) -> dict[str, Any]:
    """Write workdir/results.json, row by row; returns its contents.

    The row "truncated" is always there: the pretrained model under its own logic, in
    windows of the training length. Every row is built before the first is measured, so
    that a wrong option ends the run at once. Models may have been trained in several
    dtypes: all are measured as the pretrained one is computed.
    """
    models = _load_models(config)
    first = models[PRETRAINED]
    check_encodings(config, models)
    rows = _rows(config, models)
    windows = _windows(config, first)
    workdir = Path(workdir)
    workdir.mkdir(parents=True, exist_ok=True)
    path = workdir / "results.json"
    results = evaluate_rows(
        first.graphdef,
        {label: Model(m.params, m.identity) for label, m in models.items()},
        rows,
        windows,
        first.train_length,
        path,
        progress=_Printer(),
    )
    if config.page is not None:
        results["run"] = _describe_run(config, first)
        save_results(Path(config.page) / "results.json", results)
        print(write_page(Path(config.page), results))
    return results


def _describe_run(config: ExtrapolateConfig, first: Loaded) -> dict[str, Any]:
    """What a reader of the page needs to judge and repeat the numbers."""
    return {
        "title": config.title,
        "command": record.describe_command("extrapolate"),
        "commit": record.commit(),
        "machine": record.describe_machine(),
        "versions": record.describe_versions(),
        "model": dataclasses.asdict(first.model_config),
        "parameters": count_parameters(first.params),
        "identity": first.identity,
        "packed": config.packed,
        "seed": config.seed,
    }


def _load_models(config: ExtrapolateConfig) -> dict[str, Loaded]:
    models = {
        label: load_checkpoint(path, config.average)
        for label, path in config.models.items()
    }
    first = models[PRETRAINED]
    for label, model in models.items():
        if not model.model_config.same_parameters(first.model_config):
            raise ValueError(
                f"model {label!r} is {model.model_config}, but {PRETRAINED!r} is "
                f"{first.model_config}: one table compares one architecture, and "
                f"only {', '.join(COMPUTED)} may differ"
            )
        _check_data(config, label, model, first)
    return models


def _check_data(
    config: ExtrapolateConfig, label: str, model: Loaded, first: Loaded
) -> None:
    """Refuses models that the same text is not the same to, or not equally new."""
    trained, own = first.meta["data"], model.meta["data"]
    names = [one.meta["config"]["data"] for one in (model, first)]
    if own["tokenizer"] != trained["tokenizer"]:
        tokenizers = " and ".join(repr(data["tokenizer"]) for data in names)
        raise ValueError(
            f"model {label!r} was trained with another tokenizer than {PRETRAINED!r} "
            f"({tokenizers}), which gives the same text other tokens: measure each in "
            "a table of its own"
        )
    # With documents of its own the table reads none of those held out.
    if config.documents is None and own.get("corpus") != trained.get("corpus"):
        corpora = " and ".join(repr(data.get("corpus")) for data in names)
        raise ValueError(
            f"model {label!r} was trained on other documents than {PRETRAINED!r} "
            f"(corpora {corpora}), among which those held out from the one could be: "
            "give documents, a folder or file of texts that none was trained on"
        )


def check_encodings(
    config: ExtrapolateConfig, models: Mapping[str, Loaded | Planned]
) -> None:
    """Build every row's logic at every length as the model it names would have it.

    Raises:
      ValueError: names the row and says what is wrong with it: no such model or logic,
        or one that learns what its model has no parameters for, or not what.
    """
    first = models[PRETRAINED]
    for row in config.encodings:
        label, name, _ = split_row(row)
        if name not in models:
            raise ValueError(
                f"encoding {label!r} asks for model {name!r}; there are "
                f"{sorted(models)}"
            )
        for length in config.lengths:
            logic = build_encoding(
                row,
                first.model_config,
                first.train_length,
                length,
                models[name].completed,
            )
            check_learned(logic, models[name], f"encoding {label!r} on model {name!r}")


def check_text(config: ExtrapolateConfig, data: Mapping[str, Any]) -> None:
    """Refuses to measure on held-out documents where there are none.

    data: the section of the config that the model is trained with.
    """
    if config.documents is not None:
        return
    if "corpus" not in data:
        raise ValueError(
            f"the checkpoint {PRETRAINED!r} was imported and names no corpus: give "
            "documents, a folder or file of texts"
        )
    if data["held_out_fraction"] == 0:
        raise ValueError(
            f"corpus {data['corpus']!r} is trained on whole (data.held_out_fraction is "
            "0), so there is nothing held out to measure on: give documents, a folder "
            "or file of other texts"
        )


def check_learned(logic: Any, model: Loaded | Planned, where: str) -> None:
    """Refuses a logic that learns what its model has no parameters for, or not what."""
    try:
        with_learned(logic, model.params, model.model_config.num_layers)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None


def _rows(config: ExtrapolateConfig, models: dict[str, Loaded]) -> list[Row]:
    first = models[PRETRAINED]
    own = first.logic()
    rows = [Row(TRUNCATED, lambda length: own, truncated=True)]
    for row in config.encodings:
        label, model, _ = split_row(row)
        build = functools.partial(
            build_encoding,
            row,
            first.model_config,
            first.train_length,
            complete=models[model].completed,
        )
        rows.append(Row(label, build, model=model))
    return rows


def split_row(row: Any) -> tuple[str, str, Any]:
    """A row of the config as (label, model label, logic spec)."""
    if not isinstance(row, dict) or not isinstance(row.get("label"), str):
        raise ValueError(
            f"a row of encodings is a dict with a label and a name, got {row!r}"
        )
    if row["label"] == TRUNCATED:
        raise ValueError(f"the row {TRUNCATED!r} is always there; rename the encoding")
    spec = {key: row[key] for key in row if key not in ("label", "model")}
    if "layers" in spec:
        spec = _layers(row["label"], spec)
    return row["label"], row.get("model", PRETRAINED), spec


def _layers(label: str, spec: dict[str, Any]) -> Any:
    beside = [key for key in spec if key != "layers"]
    if beside:
        raise ValueError(
            f"encoding {label!r} has layers and beside them {', '.join(beside)}, which "
            "nothing reads there: write it into each spec of layers"
        )
    return spec["layers"]


def build_encoding(
    row: Any,
    model_config: ModelConfig,
    train_length: int,
    length: int,
    complete: Callable[[Any], Any],
) -> Any:
    """The logic of a row at a length; a ValueError names the row.

    complete: `completed` of the model it is measured on, loaded or planned.
    """
    label, _, spec = split_row(row)
    try:
        spec = resolve(spec, train_length, length)
        return build_logic(complete(spec), model_config)
    except ValueError as error:
        raise ValueError(f"encoding {label!r} at length {length}: {error}") from None


def _windows(
    config: ExtrapolateConfig, first: Loaded
) -> dict[int, dict[str, EvaluationWindows]]:
    shared = _text(config, first)
    windows: dict[int, dict[str, EvaluationWindows]] = {}
    for length in config.lengths:
        count, cut = config.num_windows, evaluation_windows
        if config.packed:  # the same tokens at every length
            count, cut = count * max(config.lengths) // length, packed_windows
        windows[length] = {NATURAL: cut(*shared, length, count, config.seed)}
        passages = repeated_passages(config, first.train_length, length)
        for kind, passage in passages.items():
            windows[length][kind] = evaluation_windows(
                *shared, length, config.num_repeated_windows, config.seed, passage
            )
    return windows


def repeated_passages(
    config: ExtrapolateConfig, train_length: int, length: int
) -> dict[str, int]:
    """Kind of repeated text -> tokens of its passage, of what is measured at a length.

    A passage that the config names has to fit; one that it leaves open is left out
    where it does not, and so is the far one where it would not come twice.
    """
    if not config.num_repeated_windows:
        return {}
    passages, far = {}, config.far_repeat_length
    if config.repeat_length is not None:
        passages[REPEATED] = config.repeat_length
    elif train_length // 2 <= length:
        passages[REPEATED] = train_length // 2
    if far is not None and 2 * far <= length:
        passages[FAR_REPEATED] = far
    return passages


def _text(config: ExtrapolateConfig, first: Loaded) -> tuple[Corpus, Tokenizer, str]:
    """What is measured on: a corpus, its tokenizer, and the split to read."""
    data, trained = first.meta["config"]["data"], first.meta["data"]
    own = None
    check_text(config, data)
    if config.documents is None or data["tokenizer"].startswith("bpe:"):
        own = load_corpus(data["corpus"], config.data_dir, data["held_out_fraction"])
        if own.split_checksum("train") != trained["corpus"]:
            raise ValueError(
                f"corpus {data['corpus']!r} has another checksum than the one the "
                "checkpoint was trained on, so held-out documents could have been "
                "trained on; restore it"
            )
    tokenizer = load_tokenizer(data["tokenizer"], own)
    if tokenizer.checksum != trained["tokenizer"]:
        raise ValueError(
            f"tokenizer {data['tokenizer']!r} has another checksum than the one the "
            "checkpoint was trained with, which gave the same text other tokens"
        )
    if config.documents is None:
        return own, tokenizer, "held_out"
    return load_corpus(config.documents, config.data_dir, 0.0), tokenizer, "train"


@dataclasses.dataclass
class _Printer:
    """A line per row, length and kind of text."""

    last: tuple | None = None

    def __call__(self, progress: RowProgress) -> None:
        now = (progress.label, progress.length, progress.kind)
        if now == self.last:
            return
        self.last = now
        sys.stderr.write(
            f"measure  {progress.label}, length {progress.length}, "
            f"{progress.kind} text ({progress.fraction:.0%} of the table)  "
            f"{format_seconds(progress.seconds_left)} left\n"
        )
        sys.stderr.flush()
