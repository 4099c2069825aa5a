"""README.md of one checkpoint under many encodings, beside the article's Llama-2.

Made from the results alone. Losses are nats per token, accuracies percent; brackets are
95 % intervals, of a bootstrap over documents, or over windows where these are packed.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from rope_lab import plots
from rope_lab.cli.config import PRETRAINED
from rope_lab.cli.report_text import interval, minus
from rope_lab.cli.study_page import picture, reading, table
from rope_lab.evaluation.claims import GATE
from rope_lab.evaluation.findings import plain_row
from rope_lab.evaluation.published import LLAMA2_13B, LLAMA2_LENGTHS, LLAMA2_TOLD
from rope_lab.evaluation.results import (
    NATURAL,
    REPEATED,
    Results,
    cell,
    truncated_row,
)


def write_page(folder: Path, results: Results) -> Path:
    """Write folder/README.md and its pictures; returns its path.

    A `reading.md` in the folder becomes a section of the page.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lengths, run = results["lengths"], results["run"]
    what = "short documents packed" if run["packed"] else "documents"
    parts = [
        f"# {run['title']}",
        f"A model of {run['parameters']:,} parameters, trained at "
        f"{results['train_length']} tokens{_tuned(results)}, under every encoding at "
        f"{', '.join(f'{n:,}' for n in lengths)} tokens. † is log n scaling at test "
        "alone. *Truncated* is its own encoding in windows of the training length: the "
        "row to beat. All rows score the same tokens, and differences are paired.",
        f"## Loss on {what}",
        table(["row", *map(_tokens, lengths), "beyond: minus truncated"],
              _losses(results, NATURAL)),
        f"## Accuracy on {what}",
        table(["row", *map(_tokens, lengths)], _accuracies(results, NATURAL)),
        *_repeated(results),
        *_answers(results),
        "## Beside Llama-2 13B",
        LLAMA2_TOLD,
        table(["row", *map(_tokens, LLAMA2_LENGTHS)],
              ([row, *map(_published, values)]
               for row, values in LLAMA2_13B.items())),
        *reading(folder),
        "## Pictures",
        *_pictures(results, folder),
        "## How it was made",
        _making(results),
    ]  # fmt: skip
    path = folder / "README.md"
    path.write_text("\n\n".join(part for part in parts if part) + "\n")
    return path


def _tuned(results: Results) -> str:
    """Which rows are of models that were fine-tuned from it, if any."""
    tuned = [row["label"] for row in results["rows"] if row["model"] != PRETRAINED]
    if not tuned:
        return " and not fine-tuned"
    return f" and, in the rows {'; '.join(tuned)}, fine-tuned from there"


def _published(loss: float | None) -> str:
    return "–" if loss is None else f"{loss:.4f}"


def _tokens(length: int) -> str:
    return f"{length:,}"


def _losses(results: Results, kind: str) -> Iterable[list[str]]:
    for row in results["rows"]:
        cells = [cell(row, length, kind) for length in results["lengths"]]
        beyond = (cells[-1].get("minus_truncated") or {}).get("beyond")
        yield [row["label"], *(f"{one['loss']:.3f}" for one in cells), _nats(beyond)]


def _accuracies(results: Results, kind: str) -> Iterable[list[str]]:
    for row in results["rows"]:
        cells = [cell(row, length, kind) for length in results["lengths"]]
        yield [row["label"], *(f"{100 * one['accuracy']:.1f}" for one in cells)]


def _nats(statistic: dict[str, Any] | None) -> str:
    if not statistic:
        return ""
    mean = minus(f"{statistic['mean']:+.3f}")
    return f"{mean} {interval(statistic['interval'])}"


def _repeated(results: Results) -> list[str]:
    targets = results["targets"]
    lengths = [n for n in results["lengths"] if REPEATED in targets[str(n)]]
    if not lengths:
        return []
    return [
        "## One passage repeated",
        "Accuracy, and loss in brackets: half the training length, over and over. "
        + _copies(results),
        table(
            ["row", *map(_tokens, lengths)],
            (
                [
                    row["label"],
                    *(
                        f"{100 * one['accuracy']:.1f} ({one['loss']:.3f})"
                        for one in (cell(row, n, REPEATED) for n in lengths)
                    ),
                ]
                for row in results["rows"]
            ),
        ),
    ]


def _copies(results: Results) -> str:
    """Whether the model copies at all within its training length."""
    kinds = truncated_row(results)["cells"].get(str(results["train_length"]), {})
    copies = kinds.get(REPEATED, {}).get("copies")
    if copies is None:
        return ""
    gain = copies["gain"]["mean"]
    told = (
        "Within the training length the second copy is predicted "
        f"{minus(f'{100 * gain:+.1f}')} points "
        f"{interval(copies['gain']['interval'], 100, 1)} better than the first"
    )
    if gain >= GATE:
        return f"{told}, so the model copies."
    return (
        f"{told}, less than {100 * GATE:.0f}: the model does not copy, and these rows "
        "say how well it reads such text, not how far back it looks."
    )


def _answers(results: Results) -> list[str]:
    """How far beyond the training length each row stays as it was within."""
    lengths, trained = results["lengths"], results["train_length"]
    beyond = [n for n in lengths if n > trained]
    own = plain_row(results)
    if not beyond or trained not in lengths or own is None:
        return []
    inside = cell(truncated_row(results), trained)["loss"]

    def least(allowed: float) -> Iterable[str]:
        for row in results["rows"]:
            losses = [cell(row, n)["loss"] - inside for n in beyond]
            if not row["truncated"] and max(losses) <= allowed:
                yield f"{row['label']} ({max(losses):+.3f})"

    worst = cell(own, beyond[-1])["loss"] - inside
    stay = ", ".join(least(0.2)) or "none"
    return [
        "## What it says",
        f"The encoding the model was trained with loses {worst:+.3f} nats at "
        f"{beyond[-1]:,} tokens against its own {inside:.3f} at {trained}. Rows whose "
        f"loss stays within 0.2 nats of that at every longer length: {stay}.",
    ]


def _pictures(results: Results, folder: Path) -> Iterable[str]:
    yield picture(
        "Loss by position at the longest length, one panel for each row.",
        plots.loss_by_position(results, folder / "loss-by-position.png"),
    )
    yield picture(
        "Loss by position minus that of truncated context on the same tokens, of the "
        "rows that stay near it.",
        plots.excess_by_position(results, folder / "excess-by-position.png"),
    )


def _making(results: Results) -> str:
    run = results["run"]
    machine = run["machine"]
    seconds = sum(row["seconds"] for row in results["rows"])
    devices = ", ".join(sorted(set(machine["devices"])))
    return (
        f"```\n{run['command']}\n```\n\nCommit {run['commit']}; {machine['cores']} "
        f"cores, {machine['architecture']}, JAX on {devices}; {seconds / 60:.0f} "
        f"minutes of measuring; parameters {run['identity']}; windows of seed "
        f"{run['seed']}. Raw results: [results.json](results.json)."
    )
