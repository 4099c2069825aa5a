"""report.html: one file that needs nothing else, for phones and desks, light and dark.

The page is plain HTML without scripts; pictures are inlined. What it says comes from
``report_text``, how it looks from ``report_style``.
"""

import os
from collections.abc import Iterable, Mapping
from html import escape
from pathlib import Path
from typing import Any

from rope_lab.cli import report_text as text
from rope_lab.cli.report_parts import (
    bullets,
    definition,
    document,
    inlined,
    png_size,
    table,
)
from rope_lab.evaluation import findings, published
from rope_lab.evaluation.results import (
    NATURAL,
    REPEATED,
    Results,
    cell,
    truncated_row,
)
from rope_lab.plots import dark_path

# In the order of the page; a figure of another name comes last, under its name.
CAPTIONS = {
    "overview": "Loss by position, chosen encodings. The vertical line is the training "
    "length.",
    "loss_by_position": "Loss by position, one panel for each encoding, with plain "
    "RoPE and truncated context in grey. Bands are 95 % "
    "intervals over documents; a curve that leaves a panel goes on above it.",
    "excess_by_position": "Loss by position minus that of truncated context on the "
    "same tokens: zero is truncated context, below zero is better. Rows that are far "
    "from it have no panel.",
    "accuracy": "Next-token accuracy at the longest length on natural text, and where "
    "one passage is repeated to fill it, so that copying pays.",
    "context_use": "Loss against context inside the training length, on windows that "
    "start inside documents.",
    "matrices": "Relative position of every key (across) for every query (down). "
    "Orange distances were never seen in training.",
    "wavelengths": "Wavelength of each plane against the training length, with the "
    "critical dimension; below, what rounding to whole tokens changes.",
    "training": "Training loss: single steps faint, running mean strong.",
}
MINUS = text.minus


def write_report(
    path: str | os.PathLike,
    results: Results,
    figures: Mapping[str, str | os.PathLike] | None = None,
) -> Path:
    """Writes the page.

    Args:
      path: the HTML file.
      results: from ``evaluate_rows``. ``results["run"]``, if there, is a nested
        dictionary of settings, shown as it is; of its keys, ``command`` (the shell line
        that reproduces everything) is shown apart.
      figures: name -> PNG file; names in ``CAPTIONS`` have a caption and a place. Where
        ``plots.dark_path`` of a file exists, dark pages show that one.

    Returns:
      path.

    Raises:
      FileNotFoundError: if a figure is missing.
    """
    body = "\n".join(
        [
            _opening(results),
            _figures(figures, ["overview"]),
            _tables(results),
            _ordering(results),
            _figures(figures, ["accuracy", "loss_by_position", "excess_by_position"]),
            _context(results),
            _figures(figures, ["context_use", "matrices", "wavelengths", "training"]),
            _figures(figures, sorted(set(figures or {}) - set(CAPTIONS))),
            _method(results),
            _settings(results.get("run", {})),
        ]
    )
    page = document(text.title(results), body)
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page, encoding="utf-8")
    return path


def _opening(results: Results) -> str:
    lengths = ", ".join(str(length) for length in results["lengths"])
    return (
        f'<p class="eyebrow">rope_lab · trained on {results["train_length"]} tokens · '
        f"read at {lengths}</p>\n<h1>{escape(text.title(results))}</h1>\n"
        f'<div class="card">{bullets(text.headline(results))}</div>\n'
        '<p class="note">Losses are nats per token. Brackets are 95 % intervals from a '
        "bootstrap over documents; differences are paired: same model or same text, "
        "same target tokens.</p>"
    )


def _tables(results: Results) -> str:
    lengths, longest = results["lengths"], max(results["lengths"])
    parts = ["<h2>Every encoding at every length</h2>", _overview_table(results)]
    for length in reversed(lengths):
        for kind in (NATURAL, REPEATED):
            targets = results["targets"][str(length)].get(kind)
            if targets is None:
                continue
            opened = " open" if (length, kind) == (longest, NATURAL) else ""
            parts.append(
                f"<details{opened}><summary>{length} tokens, {kind} text</summary>"
                f"{_length_table(results, length, kind)}"
                '<p class="note">All rows score the same '
                f"{targets['tokens']:,} target tokens in {targets['windows']} windows "
                f"of {targets['documents']} documents, sha256 "
                f"<code>{escape(targets['checksum'])}</code></p></details>"
            )
    return "\n".join(parts)


def _overview_table(results: Results) -> str:
    head = ["loss, natural text", *(f"{n} tokens" for n in results["lengths"])]
    lines = []
    for row in findings.ordered_rows(results):
        values = [f"{cell(row, n)['loss']:.3f}" for n in results["lengths"]]
        lines.append((row["label"], values, row["truncated"]))
    return table(head, lines)


def _length_table(results: Results, length: int, kind: str) -> str:
    head = ["encoding", "loss", "accuracy, %"]
    if length > results["train_length"]:
        head += ["beyond L: loss", "beyond L: against truncated"]
    lines = []
    for row in findings.ordered_rows(results):
        found = cell(row, length, kind)
        loss = _with(f"{found['loss']:.3f}", found["loss_interval"])
        values = [loss, _accuracy(found)]
        if found["beyond"]:
            beyond = found["beyond"]
            values.append(_with(f"{beyond['loss']:.3f}", beyond["loss_interval"]))
            values.append(_gap(found["minus_truncated"], row["truncated"]))
        lines.append((row["label"], values, row["truncated"]))
    return table(head, lines)


def _gap(minus_truncated: dict[str, Any] | None, is_reference: bool) -> str:
    if minus_truncated is None or is_reference:
        return "–"
    gap = minus_truncated["beyond"]
    tone = {-1: "good", 0: "", 1: "bad"}[findings.sign(gap)]
    if tone == "bad" and gap["mean"] <= findings.TOLERANCE:
        tone = ""
    value = _with(MINUS(f"{gap['mean']:+.3f}"), gap["interval"])
    return f'<span class="{tone}">{value}</span>' if tone else value


def _ordering(results: Results) -> str:
    longest = max(results["lengths"])
    kinds = [kind for kind in (NATURAL, REPEATED) if kind in _kinds(results)]
    short = results["train_length"]
    columns = {f"{longest} {kind}": (kind, longest, kind) for kind in kinds}
    if short in results["lengths"]:
        columns[str(short)] = ("in_length", short, NATURAL)
    head = ["accuracy, %"]
    for name, (field, *_) in columns.items():
        size = published.TRAIN_LENGTH if field == "in_length" else published.LENGTH
        head += [
            f"article, {' '.join([str(size), *name.split()[1:]])}",
            f"here, {name}",
        ]
    lines, notes = [], []
    for row in published.comparable_rows(results):
        measured, values = published.measured_row(results, row), []
        for field, length, kind in columns.values():
            values.append(f"{getattr(row, field):.2f}")
            values.append(_accuracy(cell(measured, length, kind)) if measured else "–")
        notes += [f"{row.label}: {row.note}."] if row.note else []
        lines.append((row.label + ("*" if row.note else ""), values, False))
    parts = ["<h2>The published order, and this one</h2>"]
    order = escape(" < ".join(published.ORDER))
    trained = "with" if published.trained_log_n(results) else "without"
    parts.append(
        "<p>The article reports next-token accuracies, in percent, of a model of 100 "
        f"million parameters trained on {published.TRAIN_LENGTH} tokens {trained} log "
        f"n scaling, as the one here, and read at {published.LENGTH}: {order}. Its "
        "repeated set mixes repeated and ordinary texts; here every repeated window is "
        "one. Each comparison below is paired.</p>"
    )
    parts.append(table(head, lines))
    parts += [_verdicts(results, kind) for kind in kinds]
    parts.append(f"<p>{escape(text.setting(results))}</p>")
    told = escape(" ".join(notes))
    links = ", ".join(f"<code>{escape(source)}</code>" for source in published.SOURCES)
    note = f'<p class="note">* {told} Published numbers: {links}.</p>'
    parts.append(note)
    return "\n".join(parts)


def _verdicts(results: Results, kind: str) -> str:
    steps = findings.order_steps(results, kind)
    if not steps:
        return ""
    head = [f"{kind} text", "published, points", "here, points", "verdict"]
    lines = []
    for step in steps:
        mean = MINUS(f"{100 * step.accuracy['mean']:+.2f}")
        tone = {findings.AGREES: "good", findings.REVERSED: "bad"}.get(step.verdict, "")
        values = [
            MINUS(f"{100 * step.published[kind]:+.2f}"),
            _with(mean, step.accuracy["interval"], 100, 2),
            f'<span class="{tone}">{step.verdict}</span>',
        ]
        lines.append((f"{step.lower.label} < {step.upper.label}", values, False))
    discussion = text.order_discussion(results, kind)
    return f"<h3>On {kind} text</h3>\n{table(head, lines)}\n{bullets(discussion)}"


def _context(results: Results) -> str:
    use = results.get("context_use")
    if not use:
        return ""
    lines = []
    for step in use["steps"]:
        least, most = step["context"]
        gain = step["gain"]
        values = [
            _with(f"{step['loss']:.3f}", step["loss_interval"]),
            _with(MINUS(f"{gain['mean']:+.4f}"), gain["interval"], 1, 4)
            if gain
            else "–",
        ]
        lines.append((f"{least} to {most} tokens", values, False))
    head = ["context", "loss", "gain"]
    return (
        "<h2>How much context the model uses</h2>\n<p>Inside the training length, on "
        "windows that start inside documents: the loss of the same target tokens as "
        "their context doubles, and what each doubling gains.</p>\n"
        f"{table(head, lines)}"
    )


def _method(results: Results) -> str:
    row = truncated_row(results)
    label = row["label"] if row else "truncated"
    return "<h2>How it was measured</h2>" + bullets(
        [
            "Held-out documents; windows start inside them, not at their openings.",
            "At one length all rows score exactly the same target tokens.",
            f"{label}: the training encoding in windows of the training length L at "
            "a stride of L/2, each scoring its second half, the first all of it; a "
            "target sees its last L/2 to L tokens, or all there are if fewer.",
            "Beyond L: targets with more than L tokens before them.",
            "Intervals: whole documents are drawn with replacement, 95 % "
            "percentiles widened for the number of documents. With many rows, one "
            "interval in twenty misses.",
            "One training run: intervals cover the choice of text, not of seeds.",
        ]
    )


def _settings(run: Mapping[str, Any]) -> str:
    if not run:
        return ""
    rest = {key: value for key, value in run.items() if key != "command"}
    parts = ["<h2>Settings, and how to repeat it</h2>"]
    if run.get("command"):
        parts.append(f"<pre>{escape(str(run['command']))}</pre>")
    for key, value in rest.items():
        name = escape(str(key).replace("_", " "))
        parts.append(f"<details><summary>{name}</summary>{definition(value)}</details>")
    return "\n".join(parts)


def _figures(figures: Mapping[str, Any] | None, names: Iterable[str]) -> str:
    return "\n".join(
        _figure(n, Path(figures[n])) for n in names if n in (figures or {})
    )


def _figure(name: str, path: Path) -> str:
    caption = escape(CAPTIONS.get(name, name.replace("_", " ")))
    dark = dark_path(path)
    source = ""
    if dark.exists():
        query = "(prefers-color-scheme: dark)"
        source = f'<source media="{query}" srcset="{inlined(dark)}">'
    width, height = png_size(path)
    return (
        f'<figure id="{escape(name)}"><picture>{source}<img src="{inlined(path)}" '
        f'alt="{caption}" width="{width}" height="{height}"></picture>'
        f"<figcaption>{caption}</figcaption></figure>"
    )


def _accuracy(found: Mapping[str, Any]) -> str:
    value = f"{100 * found['accuracy']:.2f}"
    return _with(value, found["accuracy_interval"], 100, 2)


def _kinds(results: Results) -> Mapping[str, Any]:
    return results["targets"][str(max(results["lengths"]))]


def _with(value: str, bounds, scale: float = 1, digits: int = 3) -> str:
    """A number with its interval in small type; both are HTML already."""
    return f"{value}<small>{escape(text.interval(bounds, scale, digits))}</small>"
