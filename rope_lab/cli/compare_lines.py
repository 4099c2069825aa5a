"""What runs measured, in one form: a line per run, encoding and measure.

Percentages are in percent here, losses in nats per token, whatever the files hold.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from rope_lab.evaluation.pairs import Units
from rope_lab.evaluation.posgen_findings import spread
from rope_lab.evaluation.results import NATURAL, Results

OVER_DOCUMENTS = "95 % intervals over documents"
OVER_SAMPLES = "95 % intervals over samples"
OF_SEEDS = "one standard deviation of the seeds to either side"
NO_BRACKETS = "no intervals"
LOSS_ONLY = "differences are those of the loss, its logarithm: choose that measure"
SEEDS_ONLY = "too few seeds to draw from; the page of the study pairs them by seed"
QUESTIONS = "questions about one document are not independent"
TRAINING = "the mean over all windows is kept, none per window"


@dataclasses.dataclass(frozen=True)
class Measure:
    """What a number is: one table."""

    name: str
    unit: str
    lower_is_better: bool
    brackets: str = OVER_DOCUMENTS
    digits: int = 3  # decimals shown


@dataclasses.dataclass(frozen=True)
class Cell:
    """A line at one length.

    Attributes:
      bounds: of the bracket, or None.
      units: what it is the mean of, for paired differences.
      curve: "x" (tokens), "y", and "low" and "high" or not; by position.
    """

    value: float
    bounds: tuple[float, float] | None = None
    units: Units | None = None
    curve: dict[str, list[Any]] | None = None


@dataclasses.dataclass(frozen=True)
class Line:
    """An encoding in a run, by length in tokens."""

    label: str
    measure: Measure
    cells: dict[int, Cell]
    train_length: int
    logic: Any = None  # as plain data, at the longest length
    unpaired: str = ""  # why no cell has units


def of_results(results: Results) -> Iterator[Line]:
    """Lines of results.json: of `extrapolate`, the demo or a study."""
    longest = str(max(results["lengths"]))
    for kind in results["targets"][longest]:
        for name in ("loss", "accuracy", "loss beyond"):
            for row in results["rows"]:
                cells = {
                    length: cell
                    for length in results["lengths"]
                    if (cell := _cell(results, row, name, kind, length))
                }
                if cells:
                    logic = row["cells"][longest][NATURAL]["logic"]
                    yield Line(
                        row["label"],
                        _measure(name, kind, results["train_length"]),
                        cells,
                        results["train_length"],
                        None if row["truncated"] else logic,
                    )


def _measure(name: str, kind: str, train_length: int) -> Measure:
    if name == "accuracy":
        return Measure(f"accuracy, {kind} text", "percent", False, digits=2)
    part = f" beyond {train_length} tokens" if name == "loss beyond" else ""
    return Measure(f"loss{part}, {kind} text", "nats per token", True)


def _cell(
    results: Results, row: Mapping[str, Any], name: str, kind: str, length: int
) -> Cell | None:
    found = row["cells"][str(length)].get(kind)
    part = found["beyond"] if found and name == "loss beyond" else found
    if part is None:
        return None
    quantity = name.split()[0]
    scale = 100.0 if quantity == "accuracy" else 1.0
    values = found["per_window"][f"{'whole' if part is found else 'beyond'}_{quantity}"]
    targets = results["targets"][str(length)][kind]
    names = results.get("windows", {}).get(str(length), {}).get(kind)
    units = Units(
        scale * np.asarray(values, np.float64),
        tuple(targets["document_ids"]),
        f"{quantity} {found['targets_checksum']}",
        names and tuple(names),
    )
    curve = _curve(found["by_position"]["log"], quantity, scale)
    return Cell(
        scale * part[quantity],
        _bounds(part[f"{quantity}_interval"], scale),
        units,
        curve if part is found else None,
    )


def _curve(bins: Mapping[str, Any], quantity: str, scale: float) -> dict[str, list]:
    prefix = "" if quantity == "loss" else f"{quantity}_"
    keys = {"y": quantity, "low": f"{prefix}low", "high": f"{prefix}high"}
    curve = {
        key: [None if v is None else scale * v for v in bins[name]]
        for key, name in keys.items()
        if name in bins
    }
    return {"x": _middles(bins["edges"]), **curve}


def _middles(edges: list[int]) -> list[float]:
    """Middle of the positions of each bin, counted from 1 so that a log axis has it."""
    return [(low + high + 1) / 2 for low, high in zip(edges, edges[1:], strict=False)]


def of_record(record: Mapping[str, Any]) -> Iterator[Line]:
    """Lines of one record of `evaluate` or `perplexity`."""
    name = record["evaluation"]
    kind = name.partition("/")[0]
    lengths = sorted(record["encoding"], key=int)
    logic = record["encoding"][lengths[-1]] if lengths else None
    about = {"train_length": record["train_length"], "logic": logic}
    results = record["results"]
    if kind == "perplexity":
        loss = Measure(f"loss, {name}", "nats per token", True)
        cells = {one["length"]: _loss(record, one) for one in results}
        yield Line(record["label"], loss, cells, **about)
        measure = Measure(name, "perplexity", True, digits=2)
        cells = {one["length"]: _score(one, "perplexity", 1.0) for one in results}
        yield Line(record["label"], measure, cells, unpaired=LOSS_ONLY, **about)
        return
    over, reason = OVER_SAMPLES, ""
    if kind == "l-eval":
        over, reason = OVER_DOCUMENTS, QUESTIONS
    measure = Measure(name, "percent", False, over, digits=1)
    cells = {one["length"]: _score(one, "score", 100.0) for one in results}
    if not reason:
        for one in results:
            units = _samples(record, one)
            length = one["length"]
            cells[length] = dataclasses.replace(cells[length], units=units)
    yield Line(record["label"], measure, cells, unpaired=reason, **about)


def _loss(record: Mapping[str, Any], one: Mapping[str, Any]) -> Cell:
    """Documents are equal by their tokens, read in the same way.

    Earlier records do not have those, and are paired where all documents are equal.
    """
    settings = {k: v for k, v in record["settings"].items() if k != "lengths"}
    cut = record["data"].get("maximum_tokens")
    asked = [settings, cut, record["tokenizer"], record["evaluation_version"]]
    digests = one.get("per_document_digest")
    units = Units(
        np.asarray(one["per_document_loss"], np.float64),
        tuple(record["data"]["numbers"]),
        f"{asked} {record['data']['checksum']} {one['length']}",
        digests and tuple(f"{asked} {digest}" for digest in digests),
    )
    curve = _curve(one["by_position"], "loss", 1.0)
    bounds = _bounds(one["loss_interval"], 1.0)
    return Cell(one["loss"], bounds, units, curve)


def _samples(record: Mapping[str, Any], one: Mapping[str, Any]) -> Units:
    """Samples are equal by their number where seed, prompt and text are."""
    keys = ("evaluation", "evaluation_version", "seed", "prompt_template", "data")
    asked = str([*(record[key] for key in keys), record["tokenizer"], one["length"]])
    numbers = range(len(one["scores"]))
    return Units(
        100 * np.asarray(one["scores"], np.float64),
        tuple(numbers),
        f"{asked} {len(numbers)}",
        tuple(f"{asked} {number}" for number in numbers),
    )


def _score(one: Mapping[str, Any], key: str, scale: float) -> Cell:
    return Cell(scale * one[key], _bounds(one[f"{key}_interval"], scale))


def of_posgen(results: Mapping[str, Any]) -> Iterator[Line]:
    """Lines of a PosGen study: accuracy up to, and beyond, the training length."""
    for entry in results["cells"]:
        data = entry["settings"]["data"]
        lengths = {"within": data["train_length"], "beyond": data["test_length"]}
        name = f"accuracy, PosGen {entry['name']}"
        measure = Measure(name, "percent", False, OF_SEEDS, digits=2)
        for place, row in enumerate(entry["rows"]):
            curve = _by_position(row["by_position"])
            cells = {
                length: _of_seeds(row[part], curve)
                for part, length in lengths.items()
                if part in row
            }
            logic = entry["settings"]["measured"][place]
            yield Line(
                row["label"], measure, cells, data["train_length"], logic, SEEDS_ONLY
            )


def _of_seeds(values: list[float], curve: dict[str, list]) -> Cell:
    mean, deviation = spread([100 * value for value in values])
    bounds = None if deviation is None else (mean - deviation, mean + deviation)
    return Cell(mean, bounds, None, curve)


def _by_position(found: Mapping[str, Any]) -> dict[str, list]:
    values = 100 * np.mean(np.asarray(found["accuracy"], np.float64), axis=0)
    first = found["first_target"] + 1
    return {"x": list(range(first, first + len(values))), "y": values.tolist()}


def of_training(
    rows: list[dict[str, Any]], label: str, length: int, logic: Any
) -> Iterator[Line]:
    """The last held-out loss of a training run."""
    losses = [row["eval/loss"] for row in rows if "eval/loss" in row]
    if losses:
        name = "held-out loss in training"
        measure = Measure(name, "nats per token", True, NO_BRACKETS)
        cells = {length: Cell(losses[-1])}
        yield Line(label, measure, cells, length, logic, TRAINING)


def _bounds(interval: Any, scale: float) -> tuple[float, float] | None:
    if interval is None:
        return None
    low, high = interval
    return scale * low, scale * high
