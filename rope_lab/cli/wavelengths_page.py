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
from rope_lab.evaluation.posgen_findings import Difference, difference
from rope_lab.rotary.planes import make_frequencies
from rope_lab.training.progress import format_seconds

Results = dict[str, Any]
Titled = tuple[str, list[dict[str, Any]]]  # title of a task, its rows
PICTURE = "wavelengths.png"
SWITCHED, TRAINED = "switched", "trained"
LEARNED = 0.95
REFERENCES = (0, 1)  # places of the rows compared with: the search's start, Resonance
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
    plain, reference = (results["rows"][place]["label"] for place in REFERENCES)
    lengths = (results["train_length"], results["test_length"])
    return (
        f"Trained on {lengths[0]} tokens, measured on {lengths[1]}. Accuracies in "
        "percent and losses in nats per token, means over models. The differences are "
        f"the loss beyond the training length minus that of {plain} or of {reference} "
        "on the same sequences, below 0 where the row is better. *Over models* is the "
        "95 % interval by Student's t of the single models' differences, which the "
        "verdicts go by; *over sequences* is a 95 % bootstrap interval over test "
        "sequences, for these models alone; the last column is how many of them agree "
        f"that the difference from {reference} is below 0. † marks a row below "
        f"{LEARNED:.0%} within the training length, which has not learned the task."
    )


def table(rows: list[dict[str, Any]]) -> str:
    """A line per row of one task."""
    plain, reference = (rows[place] for place in REFERENCES)
    header = ["", "within, %", "beyond, %", "loss beyond"]
    header += [f"minus {row['label']} [over models]" for row in (plain, reference)]
    header += ["[over sequences]", "models below 0"]
    lines = [header, ["---"] * len(header)]
    for row in rows:
        low, high = row["minus_reference"]["interval"]
        models = row["minus_reference"]["models"]
        below = f"{sum(value < 0 for value in models)} of {len(models)}"
        own = row is reference
        lines.append(
            [
                _marked(row),
                f"{100 * np.mean(row['within']):.1f}",
                f"{100 * np.mean(row['beyond']):.1f}",
                f"{np.mean(row['loss']):.3f}",
                "" if row is plain else _shown(difference(row, plain, "loss")),
                "" if own else _shown(difference(row, reference, "loss")),
                "" if own else f"[{low:+.3f}, {high:+.3f}]",
                "" if own else below,
            ]
        )
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _marked(row: dict[str, Any]) -> str:
    """The label, with a dagger where the task is not learned."""
    return row["label"] + ("" if np.mean(row["within"]) >= LEARNED else " †")


def _shown(found: Difference) -> str:
    if found.interval is None:
        return f"{found.mean:+.3f} [one model]"
    low, high = found.interval
    return f"{found.mean:+.3f} [{low:+.3f}, {high:+.3f}]"


def _verdicts(results: Results, held_out: list[dict[str, Any]]) -> str:
    """Each found row against RoPE, against Resonance, and beside the best row."""
    if not held_out:
        return ""
    lines = [
        "What was found on the held-out tasks, by the loss beyond the training length. "
        "*Below* and *above* need the 95 % interval over models to exclude 0.\n"
    ]
    for label in results["found"]:
        for kind, name in ((SWITCHED, "same models"), (TRAINED, "trained with")):
            tasks = [(_title(task), task[kind]) for task in held_out]
            sides = "; ".join(_sides(tasks, label, place) for place in REFERENCES)
            lines.append(f"- {label}, {name}: {sides}. {_best(tasks, label)}")
    return "\n".join(lines)


def _sides(tasks: list[Titled], label: str, place: int) -> str:
    """In how many tasks the row is below, above and undecided against another."""
    signs = [
        difference(_row(rows, label), rows[place], "loss").side for _, rows in tasks
    ]
    name = tasks[0][1][place]["label"]
    return (
        f"below {name} in {signs.count(-1)} of {len(signs)} tasks, above in "
        f"{signs.count(1)}, undecided in {signs.count(0)}"
    )


def _best(tasks: list[Titled], label: str) -> str:
    """The row of the lowest mean loss of each task, beside the one called `label`."""
    told = []
    for title, rows in tasks:
        own = _row(rows, label)
        best = min(rows, key=lambda row: np.mean(row["loss"]))
        loss = f"{np.mean(best['loss']):.3f}"
        against = "" if best is own else f" against {np.mean(own['loss']):.3f}"
        told.append(f"{_marked(best)} in {title} ({loss}{against})")
    return f"Lowest mean loss: {'; '.join(told)}."


def _row(rows: list[dict[str, Any]], label: str) -> dict[str, Any]:
    (row,) = (row for row in rows if row["label"] == label)
    return row


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
