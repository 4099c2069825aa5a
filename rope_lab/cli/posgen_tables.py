"""The tables of the PosGen page, as markdown, from results alone."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from rope_lab.evaluation import posgen_findings as findings
from rope_lab.evaluation.posgen_findings import Difference
from rope_lab.evaluation.posgen_published import SUBTASKS, departures, published
from rope_lab.training.progress import format_seconds

Results = dict[str, Any]
NOT_RUN = "not run yet"
MODEL_SIZES = ("published", "medium", "small")  # as the tables have them
MARK = "†"

# Of the model and the protocol at every size; the sizes follow from the settings.
FIXED_DEPARTURES = (
    "a gated SiLU block in place of ReLU, logits over sqrt(head_dim), no dropout and "
    "all weights trained, where the released T5 leaves its feed-forward blocks at "
    "their random start; a linear warm-up and cosine decay to nothing with Adam's b1 "
    "at 0.9, where the released one-cycle schedule begins at 1/25 of the learning rate "
    "and moves b1 between 0.85 and 0.95; the parameters of the last step, not of the "
    "best validation; 64 tokens are read in training, the start token included"
)


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def percent(values: Sequence[float]) -> str:
    """Mean ± standard deviation of fractions, as percent."""
    mean, deviation = findings.spread(list(values))
    if deviation is None:
        return f"{100 * mean:.2f}"
    return f"{100 * mean:.2f} ± {100 * deviation:.2f}"


def points(value: float | None, error: float | None = None) -> str:
    """A difference of fractions in points, with its standard error."""
    if value is None:
        return ""
    text = f"{100 * value:+.2f}".replace("-", "\N{MINUS SIGN}")
    return text if error is None else f"{text} ± {100 * error:.2f}"


def interval(difference: Difference) -> str:
    """The 95 % interval of a difference of fractions, in points."""
    bounds = difference.interval
    return "" if bounds is None else "[" + ", ".join(points(x) for x in bounds) + "]"


def entry_of(results: Results, subtask: str) -> dict[str, Any] | None:
    """The cell of a sub-task with disjoint prefixes, or None."""
    for entry in results["cells"]:
        data = entry["settings"]["data"]
        if (data["subtask"], data["prefixes"]) == (subtask, "disjoint"):
            return entry
    return None


def main_table(studies: dict[str, Results]) -> str:
    """Published beside measured, sub-task by sub-task and encoding by encoding."""
    header = ["sub-task", "encoding", "published, beyond 64 (variance)"]
    for size in MODEL_SIZES:
        header += [f"{size} size, within 64", "beyond 64"]
    rows = []
    for subtask in SUBTASKS:
        for name, resonance, label in _encodings(studies):
            said = published(name, resonance, subtask)
            text = f"{said.mean:.2f} ({said.variance:.2f})" if said else ""
            row = [subtask, label, text]
            for size in MODEL_SIZES:
                row += _accuracies(studies.get(size), subtask, label)
            rows.append(row)
    return table(header, rows)


def _encodings(studies: dict[str, Results]) -> list[tuple[str, bool, str]]:
    """(name, Resonance, label) of all rows that some study has, in their order."""
    known = {"RoPE": ("rope", False), "Resonance RoPE": ("rope", True)}
    known |= {"YaRN": ("yarn", False), "Resonance-YaRN": ("yarn", True)}
    for results in studies.values():
        for entry in results["cells"]:
            for place, row in enumerate(entry["rows"]):
                known.setdefault(row["label"], findings.kind(entry, place))
    return [(name, resonance, label) for label, (name, resonance) in known.items()]


def _accuracies(results: Results | None, subtask: str, label: str) -> list[str]:
    entry = entry_of(results, subtask) if results else None
    for row in entry["rows"] if entry else ():
        if row["label"] == label:
            mark = "" if findings.learned(row) else f" {MARK}"
            return [percent(row["within"]) + mark, percent(row["beyond"]) + mark]
    return [NOT_RUN, NOT_RUN]


def missing(studies: dict[str, Results]) -> list[str]:
    """What a complete page would hold beside this."""
    lines = []
    names = {size: f"the {size} size" for size in MODEL_SIZES}
    names["modulus"] = "the sweep over moduli"
    for size, name in names.items():
        if size not in studies:
            lines.append(f"{name}, all rows")
            continue
        done = [entry["name"] for entry in studies[size]["cells"]]
        left = [cell for cell in studies[size]["planned"] if cell not in done]
        if left:
            lines.append(f"of {name} {', '.join(left)}")
    return lines


def claims_table(results: Results) -> str:
    """Resonance minus its counterpart beyond the training length, and the answer."""
    header = ["sub-task", "comparison", "published", "measured ± standard error"]
    header += ["95 % interval", "is it so?"]
    rows, counting = [], {}
    for subtask in SUBTASKS:
        entry = entry_of(results, subtask)
        for claim in findings.claims(entry) if entry else ():
            comparison = f"{claim.resonant} minus {claim.plain}"
            measured = points(claim.difference.mean, claim.difference.error)
            row = [subtask, comparison, points(claim.published), measured]
            rows.append([*row, interval(claim.difference), claim.answer])
            if claim.counts:
                counting[f"{subtask}, {comparison}"] = claim.difference
    return table(header, rows) + _doubts(counting)


def _doubts(counting: Mapping[str, Difference]) -> str:
    """A sentence on the differences that count: which of them exclude 0 at 95 %."""
    if not counting:
        return ""
    open_ = [name for name, difference in counting.items() if not difference.side]
    if not open_:
        return "\n\nEvery difference that counts excludes 0 at 95 %."
    return (
        f"\n\nDifferences that count: {len(counting)}, of which {len(open_)} with 0 in "
        f"the 95 % interval: {'; '.join(open_)}."
    )


def data_table(results: Results) -> str:
    """Overlap of test and training, and the accuracy of the first computed token."""
    header = [
        "cell",
        "prefixes",
        "states up to 64",
        "states beyond",
        "first target right",
    ]
    rows = []
    for entry in results["cells"]:
        shares = [f"{100 * value:.1f} %" for value in entry["overlap"].values()]
        first = [percent(row["first"]) for row in entry["rows"]]
        rows.append([entry["name"], *shares, f"{'; '.join(first)}"])
    return table(header, rows)


def prefixes_table(results: Results) -> str | None:
    """What the released code's overlapping prefixes change, or None if not run."""
    header = ["sub-task", "encoding"]
    for part in ("within", "beyond"):
        header += [f"{part}: released minus disjoint ± standard error", "95 % interval"]
    rows, counting = [], {}
    for entry in results["cells"]:
        data = entry["settings"]["data"]
        other = entry_of(results, data["subtask"])
        if data["prefixes"] != "released" or other is None:
            continue
        for a, b in zip(entry["rows"], other["rows"], strict=True):
            row = [data["subtask"], a["label"]]
            for part in ("within", "beyond"):
                gap = findings.difference(a, b, part)
                row += [points(gap.mean, gap.error), interval(gap)]
                if gap.sign:
                    counting[f"{data['subtask']}, {a['label']}, {part}"] = gap
            rows.append(row)
    return table(header, rows) + _doubts(counting) if rows else None


def modulus_table(results: Results) -> str:
    """Who learns what under which modulus, and how fast."""
    header = ["modulus", "sub-task", "encoding", "within 64", "beyond 64"]
    header += ["first target right", "step of 95 %"]
    rows = []
    for entry in results["cells"]:
        data = entry["settings"]["data"]
        for row in entry["rows"]:
            step = findings.steps_to_learn(row)
            rows.append(
                [str(data["modulus"]), data["subtask"], row["label"]]
                + [percent(row[key]) for key in ("within", "beyond", "first")]
                + ["never" if step is None else f"{step:,}"]
            )
    return table(header, rows)


def gain_table(results: Results) -> str:
    """Seconds of one mapped program against one member after another."""
    gain = results["gain"]
    header = [f"{gain['members']} members", "compiling, s", "all members one step, s"]
    together, apart = gain["together"], gain["one_by_one"]
    rows = [
        [name, f"{part['compile_seconds']:.1f}", f"{part['step_seconds']:.3f}"]
        for name, part in (("one program", together), ("one by one", apart))
    ]
    ratio = apart["step_seconds"] / together["step_seconds"]
    said = (
        f"On {gain['devices']} device(s), cell {gain['cell']}, median of "
        f"{gain['steps']} steps: one program takes {1 / ratio:.2f} of the time."
    )
    return table(header, rows) + "\n\n" + said


def run_lines(size: str, results: Results) -> str:
    """Command, commit, hardware, wall time, seeds, and every departure."""
    run, first = results["run"], results["cells"][0]
    machine = run["machine"]
    seconds = sum(entry["train_seconds"] for entry in results["cells"])
    devices = ", ".join(sorted(set(machine["devices"])))
    steps = [
        f"{entry['name']} {entry['settings']['training']['num_steps']:,}"
        for entry in results["cells"]
    ]
    seeds = ", ".join(map(str, first["settings"]["seeds"]))
    lines = [
        f"**{size.capitalize()}.** `{_command(run['command'])}` at commit "
        f"{_short(run['commit'])}; {machine['cores']} cores, "
        f"{machine['architecture']}, {devices}; {format_seconds(seconds)} of training; "
        f"seeds {seeds}; {first['parameters']:,} parameters; rows "
        f"{_encoding_at(results)}. Updates: {', '.join(steps)}.",
        f"Departures from the published size, in brackets: {_departures(results)}.",
        f"At every size: {FIXED_DEPARTURES}.",
        _prefixes(results),
    ]
    return "\n\n".join(lines)


def _command(command: str) -> str:
    """Without the folders of the machine it ran on."""
    kept = [part for part in shlex.split(command) if not part.startswith("--workdir")]
    return shlex.join(kept)


def _short(commit: str | None) -> str:
    """Twelve digits, and whether the checkout had changes that are not committed."""
    if commit is None:
        return "unknown"
    dirty = ", with changes" if commit.endswith("-dirty") else ""
    return commit[:12] + dirty


def _encoding_at(results: Results) -> str:
    if results["encoding_at"] == "training":
        return "trained with their encoding, as the paper says"
    return "switched to their encoding after training, as the released code does"


def _prefixes(results: Results) -> str:
    """Which cells have disjoint prefixes, and which the released ones."""
    told, total = [], len(results["cells"])
    for kind, text in (
        ("disjoint", "Prefixes that no two splits share, as the paper says"),
        ("released", "Prefixes as the released code draws them, shared between splits"),
    ):
        names = [
            entry["name"]
            for entry in results["cells"]
            if entry["settings"]["data"]["prefixes"] == kind
        ]
        if names:
            cells = "every cell" if len(names) == total else ", ".join(names)
            told.append(f"{text}: {cells}.")
    return " ".join(told)


def _departures(results: Results) -> str:
    cells = [departures(entry["settings"]) for entry in results["cells"]]
    shared = [line for line in cells[0] if all(line in lines for lines in cells)]
    own = [
        f"{entry['name']}: " + ", ".join(line for line in lines if line not in shared)
        for entry, lines in zip(results["cells"], cells, strict=True)
        if set(lines) - set(shared)
    ]
    return "; ".join([", ".join(shared) or "none", *own])
