"""The page of the wavelength search: README.md and a plot, from results alone.

A person may add a reading, without numbers, as reading.md beside it.
"""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import Any

import numpy as np

from rope_lab import plots
from rope_lab.evaluation import save_results
from rope_lab.rotary.planes import make_frequencies
from rope_lab.training.progress import format_seconds

Results = dict[str, Any]
PICTURE = "wavelengths.png"
SWITCHED, TRAINED = "switched", "trained"
LEARNED = 0.95
_TITLES = {
    SWITCHED: "Models trained with RoPE, measured under each row",
    TRAINED: "Models trained with each row from the start",
}

INTRODUCTION = """\
# Are there better wavelengths than rounded ones?

Resonance rounds RoPE's wavelengths to whole tokens
([2403.00071](https://arxiv.org/abs/2403.00071)) and leaves open whether other ones
extrapolate better still. Here the frequencies of small PosGen decoders are searched for
the lowest loss beyond the training length, the models' parameters staying as they are:
by gradient (Adam in the logarithm of the frequencies, several starts at and about
RoPE's) and by evolution (a population of arrays, self-adapted step sizes). Scores come
from validation sequences of the searched tasks alone; what was found is judged on tasks
that are held out, whose models have other seeds.

This page is written by `rope-lab wavelengths` from results.json beside it.
"""


def write_page(folder: str | os.PathLike, results: Results) -> Path:
    """Puts results, plot and README.md into the folder."""
    folder = Path(folder)
    save_results(folder / "results.json", results)
    plots.found_wavelengths(
        _frequencies(results), results["train_length"], folder / PICTURE
    )
    path, reading = folder / "README.md", folder / "reading.md"
    text = reading.read_text(encoding="utf-8") if reading.exists() else ""
    path.write_text(page(results, text), encoding="utf-8")
    return path


def _frequencies(results: Results) -> dict[str, Any]:
    """Of RoPE, of its rounded wavelengths, and of what was found."""
    shown = [
        0,
        1,
        *range(len(results["rows"]) - len(results["found"]), len(results["rows"])),
    ]
    rows = [results["rows"][n] for n in shown]
    return {
        row["label"]: make_frequencies(2 * np.pi / np.array(row["wavelengths"]))
        for row in rows
    }


def page(results: Results, reading: str = "") -> str:
    """README.md, from results."""
    held_out = [task for task in results["tasks"] if task["kind"] == "held out"]
    searched = [task for task in results["tasks"] if task["kind"] == "searched"]
    parts = [INTRODUCTION, _design(searched, held_out), _verdicts(results, held_out)]
    if reading:
        parts += ["## Reading", reading]
    parts += ["## Held-out tasks", _explanation(results)]
    for task in held_out:
        for kind in (SWITCHED, TRAINED):
            parts += [f"### {_title(task)}. {_TITLES[kind]}", table(task[kind])]
    parts.append(
        "## Searched tasks\n\nThe models that the search scored, on test sequences it "
        "has not seen: how far it got, and not whether what it found is better."
    )
    for task in searched:
        parts += [f"### {_title(task)}", table(task[SWITCHED])]
    parts += ["## What was found", _found(results), _gaps(results)]
    parts += [f"![Wavelengths by plane]({PICTURE})", "## Run", _run(results)]
    return "\n\n".join(part.strip("\n") for part in parts if part) + "\n"


def _design(searched: list[dict[str, Any]], held_out: list[dict[str, Any]]) -> str:
    """Which tasks are searched and which judge, and what they share."""
    lines = [
        f"Searched: {_list(searched)}.",
        f"Held out: {_list(held_out) or 'none yet'}.",
    ]
    kinds = [{task["subtask"] for task in tasks} for tasks in (searched, held_out)]
    if held_out and kinds[1] <= kinds[0]:
        lines.append(
            "Another modulus is another function with data of its own, but the "
            "sub-tasks are those searched: the page shows transfer to other functions, "
            "models and sequences, and not to another kind of task."
        )
    return " ".join(lines)


def _list(tasks: list[dict[str, Any]]) -> str:
    return "; ".join(
        f"{_title(task)}, models of seeds {', '.join(map(str, task['seeds']))}"
        for task in tasks
    )


def _explanation(results: Results) -> str:
    reference = results["rows"][1]["label"]
    lengths = (results["train_length"], results["test_length"])
    return (
        f"Trained on {lengths[0]} tokens, measured on {lengths[1]}. Accuracies in "
        "percent and losses in nats per token, means over models. The difference is "
        f"the loss beyond the training length minus that of {reference} on the same "
        "sequences, below 0 where the row is better, with a 95 % bootstrap interval "
        "over test sequences, for these models; beside it, how many of them agree "
        f"that it is below 0. † marks a row below {LEARNED:.0%} within the training "
        "length, which has not learned the task."
    )


def table(rows: list[dict[str, Any]]) -> str:
    """A line per row of one task."""
    lines = [
        "| | within, % | beyond, % | loss beyond | difference | models below 0 |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        difference = row["minus_reference"]
        low, high = difference["interval"]
        models = difference["models"]
        own = low == high == difference["mean"] == 0
        below = sum(value < 0 for value in models)
        learned = np.mean(row["within"]) >= LEARNED
        cells = [
            row["label"] + ("" if learned else " †"),
            f"{100 * np.mean(row['within']):.1f}",
            f"{100 * np.mean(row['beyond']):.1f}",
            f"{np.mean(row['loss']):.3f}",
            "" if own else f"{difference['mean']:+.3f} [{low:+.3f}, {high:+.3f}]",
            "" if own else f"{below} of {len(models)}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _verdicts(results: Results, held_out: list[dict[str, Any]]) -> str:
    """A sentence for each found row: where its interval lies against the reference."""
    reference, lines = results["rows"][1]["label"], []
    for label in results["found"]:
        for kind in (SWITCHED, TRAINED):
            counts = {"below": 0, "above": 0, "undecided": 0}
            for task in held_out:
                counts[_side(task[kind], label)] += 1
            lines.append(
                f"- {label}, {'same models' if kind == SWITCHED else 'trained with'}: "
                f"loss beyond below that of {reference} in {counts['below']} of "
                f"{len(held_out)} held-out tasks, above in {counts['above']}, "
                f"undecided in {counts['undecided']}."
            )
    return "\n".join(lines) if held_out else ""


def _side(rows: list[dict[str, Any]], label: str) -> str:
    (row,) = (row for row in rows if row["label"] == label)
    low, high = row["minus_reference"]["interval"]
    return "below" if high < 0 else "above" if low > 0 else "undecided"


def _title(task: dict[str, Any]) -> str:
    return f"{task['subtask']}, modulus {task['modulus']}"


def _found(results: Results) -> str:
    lines = [
        f"- {name}: {found['score_of_start']:.4f} nats with RoPE's frequencies, "
        f"{found['score']:.4f} with those found."
        for name, found in results["found"].items()
    ]
    return "Scores on all validation sequences of the search:\n\n" + "\n".join(lines)


def _gaps(results: Results) -> str:
    lines = [
        "The feature gap is the largest distance on the unit circle from an angle "
        "beyond the training length to the nearest trained one, here the mean over "
        "planes: for models trained with RoPE, and for models trained with the row.",
        "",
        "| | gap, RoPE's models | gap, own models |",
        "|---|---|---|",
    ]
    for row in results["rows"]:
        lines.append(
            f"| {row['label']} | {row['gap_switched']:.3f} | {row['gap']:.3f} |"
        )
    return "\n".join(lines)


def _run(results: Results) -> str:
    run, settings = results["run"], results["settings"]
    parts = shlex.split(run["command"])
    command = shlex.join(p for p in parts if not p.startswith("--workdir"))
    machine, seconds = run["machine"], sum(run["seconds"].values())
    devices = ", ".join(sorted(set(machine["devices"])))
    commit = (run["commit"] or "unknown")[:12]
    return (
        f"`{command}` at commit {commit}; {machine['cores']} cores, "
        f" {machine['architecture']}, {devices}; {format_seconds(seconds)} in "
        f"all. Seeds {settings['search_seeds']} for the search, "
        f"{settings['report_seeds']} for the report; "
        f"{settings['training']['num_steps']} updates of {settings['batch_size']} "
        "sequences."
    )
