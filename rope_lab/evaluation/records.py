"""What a number was measured with, written beside it.

A record holds everything that the numbers in it depend on, so that two of them can be
compared years later, and is written whole or not at all.
"""

from __future__ import annotations

import importlib.metadata
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rope_lab.evaluation.fingerprints import describe_logic, digest
from rope_lab.evaluation.journal import Journal
from rope_lab.evaluation.results import save_results
from rope_lab.evaluation.subject import Subject

SCHEMA_VERSION = 1
_LIBRARIES = ("jax", "flax", "numpy", "tokenizers")
# What has to be equal before two numbers may be compared.
CONDITIONS = (
    "evaluation",
    "evaluation_version",
    "settings",
    "prompt_template",
    "data",
    "seed",
    "count",
)


def describe(
    evaluation: str,
    version: int,
    subject: Subject,
    label: str,
    logics: Mapping[int, Any],
    *,
    settings: Mapping[str, Any],
    data: Mapping[str, Any],
    count: int,
    seed: int | None = None,
    prompt_template: Any = None,
) -> dict[str, Any]:
    """A record without its results: plain data, equal for equal measurements.

    Args:
      evaluation: its name.
      version: of its scorer and of the way its inputs are made; raised when either
        changes.
      subject, label: the checkpoint, and what the encoding is called.
      logics: length -> position logic, or one per layer.
      settings: of the protocol.
      data: name and checksum at least.
      count: documents, samples or questions.
      seed: of what is drawn; None where nothing is.
      prompt_template: as the model saw it, with {names} for what is filled in.
    """
    record = {
        "schema_version": SCHEMA_VERSION,
        "evaluation": evaluation,
        "evaluation_version": version,
        "settings": dict(settings),
        "prompt_template": prompt_template,
        "data": dict(data),
        "seed": seed,
        "count": count,
        "checkpoint": subject.checkpoint,
        "train_length": subject.train_length,
        "tokenizer": subject.tokenizer.checksum,
        "label": label,
        "encoding": {str(n): describe_logic(logic) for n, logic in logics.items()},
    }
    return json.loads(json.dumps(record, allow_nan=False))


def open_journal(workdir: Path, record: Mapping[str, Any]) -> Journal:
    """The units finished so far of exactly this measurement."""
    return Journal(workdir / "units" / f"{_name(record)}.jsonl")


def save(
    workdir: Path, record: Mapping[str, Any], results: Sequence[Any]
) -> dict[str, Any]:
    """Writes the record with its results into workdir/records; returns it."""
    versions = {name: importlib.metadata.version(name) for name in _LIBRARIES}
    whole = {**record, "versions": versions, "results": list(results)}
    save_results(workdir / "records" / f"{_name(record)}.json", whole)
    return whole


def load(path: Path) -> dict[str, Any]:
    """Reads a record.

    Raises:
      ValueError: no record, or one of a schema this version does not read.
    """
    try:
        record = json.loads(Path(path).read_text())
        version = record["schema_version"]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{path} is not a record of an evaluation: {error}") from None
    if version != SCHEMA_VERSION:
        raise ValueError(
            f"{path} has schema_version {version!r}; this version reads "
            f"{SCHEMA_VERSION}"
        )
    return record


def differences(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[str]:
    """The conditions in which two records differ; none: compare their numbers."""
    return [name for name in CONDITIONS if a.get(name) != b.get(name)]


def distinctions(records: Sequence[Mapping[str, Any]]) -> list[str]:
    """For each record, in what conditions it differs from others: "weights=windows".

    Empty where all are measured alike. Documents, which a checksum tells apart, are
    named by its beginning where nothing else differs.
    """
    told = [_told(record) for record in records]
    keys = dict.fromkeys(key for one in told for key in one)
    differing = [key for key in keys if len({str(one.get(key)) for one in told}) > 1]
    named = [key for key in differing if key != "checksum"] or differing
    return [" ".join(f"{key}={one.get(key)}" for key in named) for one in told]


def _told(record: Mapping[str, Any]) -> dict[str, Any]:
    """The conditions that a line has room for."""
    told = {**record.get("settings", {}), **record.get("data", {})}
    told |= {"seed": record.get("seed"), "count": record["count"]}
    told.pop("numbers", None)  # of documents, which the checksum covers
    return told | {"checksum": told.get("checksum", "")[:8]}


def _name(record: Mapping[str, Any]) -> str:
    words = f"{record['evaluation']} {record['label']}".lower()
    slug = "".join(char if char.isalnum() else "-" for char in words)
    short = "-".join(filter(None, slug.split("-")))[:80]  # names of files have limits
    return f"{short}-{digest(record)[:12]}"
