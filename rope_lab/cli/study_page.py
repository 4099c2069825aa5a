"""README.md of a study: what was measured beside what was published, and what it says.

Made from the results alone, so it can be written again without any model. Accuracies
are percent, losses nats per token; brackets are 95 % intervals over documents.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rope_lab.cli import study_text as text
from rope_lab.cli.study_figures import draw_figures
from rope_lab.evaluation import claims
from rope_lab.evaluation.article import ARTICLE
from rope_lab.evaluation.claims import Comparison
from rope_lab.evaluation.combine import model_labels
from rope_lab.evaluation.gaps import row_gaps
from rope_lab.evaluation.results import NATURAL, Results, cell, load_results
from rope_lab.plots import dark_path

READING = "reading.md"  # what a person adds: why an order differs


def write_page(
    folder: Path,
    results: Results,
    other_size: str | Path | None = None,
    again: Sequence[str | Path] = (),
) -> Path:
    """Write folder/README.md and its pictures; returns its path.

    A `reading.md` in the folder becomes a section of the page. Beside every order that
    differs from the article's stands what the results.json `other_size` has of it; what
    rows share with those of `again` is told of all trainings together.

    Raises:
      ValueError: those of `again` scored other tokens.
    """
    figures = draw_figures(results, folder)
    article = [label for label in ARTICLE if label in _rows(results)]
    others = [label for label in _rows(results) if label not in ARTICLE]
    parts = [
        f"# {results['run']['title']}",
        *text.opening(results),
        "## Has it learned to copy?",
        *text.gate(results),
        table(["model", "first copy", "second copy", "gain, points"], _gates(results)),
        "## The article's rows",
        *text.article(results),
        _article_table(results, article),
        "## The article's three claims",
        *_claims(results),
        "## Where the order differs",
        *_order(results, Path(folder), other_size),
        *_again([results, *map(load_results, again)]),
        "## Every other row",
        _others_table(results, others),
        *reading(Path(folder)),
        "## Does the feature gap predict who extrapolates?",
        *text.gaps(results),
        "## Pictures",
        *(picture(caption, path) for caption, path in figures.items()),
        "## Rows still missing",
        *text.missing(results),
        "## How it was made",
        *text.making(results),
        table(["model", "tokens", "epochs", "minutes, training", "minutes, rows"],
               text.costs(results)),
    ]  # fmt: skip
    path = Path(folder) / "README.md"
    path.write_text("\n\n".join(part for part in parts if part) + "\n", "utf-8")
    return path


def reading(folder: Path) -> list[str]:
    """The section that a person wrote, if there is one."""
    path = folder / READING
    return ["## Reading", path.read_text("utf-8").strip()] if path.exists() else []


def _rows(results: Results) -> dict[str, dict[str, Any]]:
    return {row["label"]: row for row in results["rows"]}


def _gates(results: Results) -> Iterable[list[str]]:
    for model in model_labels(results):
        found = claims.copying(results, model)
        if found is not None:
            first, later = (100 * found[part]["mean"] for part in ("first", "later"))
            values = [f"{first:.1f}", f"{later:.1f}", text.points(found["gain"])]
            yield [model, *values]


def _article_table(results: Results, labels: Sequence[str]) -> str:
    kinds, short = claims.kinds(results), results["train_length"]
    gaps = _mean_gaps(results)
    head = ["row", "article: 512", "4096 repeated", "4096 natural", f"here: {short}"]
    head += [f"{max(results['lengths'])} {kind}" for kind in kinds]
    lines = []
    for label in labels:
        published, row = ARTICLE[label], _rows(results)[label]
        line = [label, *(f"{value:.2f}" for value in published)]
        line.append(_accuracy(results, row, short, NATURAL))
        line += [_longest(results, row, kind) for kind in kinds]
        lines.append([*line, *_losses(results, row), gaps.get(label, "–")])
    head += ["loss", "beyond L: loss minus truncated", "feature gap"]
    return table(head, lines)


def _others_table(results: Results, labels: Sequence[str]) -> str:
    kinds, short = claims.kinds(results), results["train_length"]
    gaps = _mean_gaps(results)
    head = ["row", "trained as", str(short)]
    head += [f"{max(results['lengths'])} {kind}" for kind in kinds]
    head += ["loss", "beyond L: loss minus truncated", "feature gap"]
    lines = []
    for label in labels:
        row = _rows(results)[label]
        line = [label, row["model"], _accuracy(results, row, short, NATURAL)]
        line += [_longest(results, row, kind) for kind in kinds]
        lines.append([*line, *_losses(results, row), gaps.get(label, "–")])
    return table(head, lines)


def _mean_gaps(results: Results) -> dict[str, str]:
    gaps = row_gaps(results)
    return {label: f"{np.mean(values):.3f}" for label, values in gaps.items()}


def _longest(results: Results, row: dict[str, Any], kind: str) -> str:
    return _accuracy(results, row, max(results["lengths"]), kind)


def _accuracy(results: Results, row: dict[str, Any], length: int, kind: str) -> str:
    found = claims.accuracy_of(results, row, length, kind)
    if found is None:
        return "–"
    return f"{100 * found[0]:.2f} {text.interval(found[1], 100, 1)}"


def _losses(results: Results, row: dict[str, Any]) -> list[str]:
    found = cell(row, max(results["lengths"]), NATURAL)
    gap = (found["minus_truncated"] or {}).get("beyond")
    told = "–" if gap is None or row["truncated"] else text.nats(gap)
    return [f"{found['loss']:.3f}", told]


def _claims(results: Results) -> list[str]:
    parts = []
    for claim, comparisons in text.CLAIMS.items():
        found = comparisons(results)
        parts += [f"### {claim}", text.verdict(found), _comparisons(found)]
    return parts


def _order(results: Results, folder: Path, other_size) -> list[str]:
    found = claims.order(results)
    reversed_ = [c for c in found if c.verdict == claims.REVERSED]
    parts = [text.order(found)]
    if not other_size or not reversed_:
        parts.append(_comparisons(reversed_))
    else:
        other = load_results(other_size)
        there = claims.compare_again(other, reversed_)
        page = os.path.relpath(Path(other_size).with_name("README.md"), folder)
        parts.append(text.other_size(other, page, there))
        parts.append(_comparisons(reversed_, there))
    return [*parts, text.causes(results, reversed_)]


def _again(trainings: Sequence[Results]) -> list[str]:
    """How much of the numbers and answers is one training's."""
    if len(trainings) < 2:
        return []
    if any(table["targets"] != trainings[0]["targets"] for table in trainings):
        raise ValueError(
            "config.again has results of other text than this study's, so their rows "
            "cannot be put together: measure both with the same config.extrapolate"
        )
    asked = text.CLAIMS | {"Every pair that the article tells apart": claims.order}
    answers = claims.answers_again(trainings, asked)
    length = max(trainings[0]["lengths"])
    heads = [f"{length} {kind}" for kind in claims.kinds(trainings[0])]
    return [
        "## Trained again",
        text.again(trainings),
        table(
            ["claim", "above", *["again"] * (len(trainings) - 1)],
            ([name, *map(text.tally, found)] for name, found in answers.items()),
        ),
        table(["row", *heads], _spreads(claims.rows_again(trainings))),
        *_resonance(claims.resonance_again(trainings), heads),
    ]


def _resonance(found: dict[str, list[list[float] | None]], heads) -> list[str]:
    if not found:
        return []
    head = ["Resonance minus plain, points", *heads]
    return [text.resonance_again(), table(head, _spreads(found, "+"))]


def _spreads(
    found: dict[str, list[list[float] | None]], sign: str = ""
) -> Iterable[list[str]]:
    """A line for each row: what its trainings gave, by kind of text."""
    for label, cells in found.items():
        yield [
            label,
            *("–" if one is None else text.spread(one, sign) for one in cells),
        ]


def _comparisons(
    found: Sequence[Comparison], there: Sequence[Comparison | None] | None = None
) -> str:
    """Their table; `there` are the same ones at the other size, where it has them."""
    if not found:
        return ""
    head = ["text", "upper", "lower", "article, points", "here, points", "verdict"]
    lines = [
        [
            one.kind,
            one.upper,
            one.lower,
            "–" if one.published is None else text.minus(f"{100 * one.published:+.2f}"),
            text.points(one.accuracy),
            one.verdict,
        ]
        for one in found
    ]
    if there is not None:
        head += ["other size, points", "verdict there"]
        lines = [
            line
            + (["–", "–"] if two is None else [text.points(two.accuracy), two.verdict])
            for line, two in zip(lines, there, strict=True)
        ]
    return table(head, lines)


def picture(caption: str, path: Path) -> str:
    """Markdown of a picture beside the page, light or dark as the reader has it."""
    query = 'media="(prefers-color-scheme: dark)"'
    return (
        f'<picture><source {query} srcset="{dark_path(path).name}">'
        f'<img src="{path.name}" alt="{caption}"></picture>\n\n{caption}'
    )


def table(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """Markdown of a table."""
    rows = [head, ["---"] * len(head), *lines]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)
