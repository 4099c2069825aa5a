"""The sentences of a study's page, made from the numbers of its results."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from rope_lab.cli.report_text import interval, minus, points
from rope_lab.evaluation import claims
from rope_lab.evaluation.article import LENGTH, TRAIN_LENGTH
from rope_lab.evaluation.claims import AGREES, OPEN, REVERSED, Comparison
from rope_lab.evaluation.combine import model_labels
from rope_lab.evaluation.findings import sign
from rope_lab.evaluation.gaps import FEWEST, gap_correlations
from rope_lab.evaluation.results import FAR_REPEATED, Results, document_ids

__all__ = ["interval", "minus", "points"]

CLAIMS = {
    "ReRoPE is above every NTK variant": claims.rerope_above_ntk,
    "Log n helps ReRoPE": claims.log_n_helps,
    "A window of the training length fails": claims.whole_window_fails,
}


def nats(statistic: dict[str, Any]) -> str:
    """A difference of losses with its interval, without a unit."""
    mean = minus(f"{statistic['mean']:+.3f}")
    return f"{mean} {interval(statistic['interval'])}"


def opening(results: Results) -> list[str]:
    """Which size each number comes from, and how to read the tables."""
    models = results["run"]["models"].values()
    tokens = sorted({model["tokens"] for model in models})
    epochs = max(model["epochs"] for model in models)
    length = max(results["lengths"])
    return [
        "Two sizes stand on this page. Columns that say *article* are published: a "
        f"GAU model of 100 million parameters, trained on {TRAIN_LENGTH} tokens and "
        f"read at {LENGTH}. **Everything else was measured here with models of "
        f"{_sizes(results)} parameters**, trained on {results['train_length']} tokens "
        f"and read at {length}, {length / results['train_length']:g} times as many. "
        "Each saw "
        f"{' to '.join(f'{n:,}' for n in (tokens[0], tokens[-1])[: len(tokens)])} "
        f"tokens, {epochs:.2f} epochs at most; one seed.",
        "Accuracies are next-token accuracies in percent over all positions of a "
        "sample, with the true text before each token, as in the article; losses are "
        "nats per token on natural text. Brackets are 95 % intervals of a bootstrap "
        "over documents: they cover the choice of text, not of seeds. All rows score "
        "the same tokens, and differences are paired. *Truncated* is the model's own "
        "encoding in windows of the training length, where a token sees its last "
        "half to whole training length: the row that every method has to beat.",
        _texts(results),
    ]


def _sizes(results: Results) -> str:
    """Parameters of the smallest model, and of the largest."""
    sizes = sorted({one["parameters"] for one in results["run"]["models"].values()})
    return f"{sizes[0]:,}" if len(sizes) == 1 else f"{sizes[0]:,} to {sizes[-1]:,}"


def _texts(results: Results) -> str:
    length, found = max(results["lengths"]), []
    for kind in claims.kinds(results):
        target = results["targets"][str(length)][kind]
        documents = len(set(document_ids(results, length, kind)))
        passage = _passage(results, kind)
        repeated = f", one passage of {passage} tokens repeated" if passage else ""
        found.append(
            f"{kind}: {target['windows']} windows of {documents} held-out documents, "
            f"{target['tokens']:,} tokens{repeated}"
        )
    told = "Kinds of text at the longest length: " + "; ".join(found) + "."
    if FAR_REPEATED in claims.kinds(results):
        told += (
            " In far repeated text the copy before lies beyond the training length, so "
            "that only a model which reads further than it was trained can use it. The "
            "article's repeated set mixes repeated and ordinary texts; here every "
            "window of the kind is repeated."
        )
    return told


def _passage(results: Results, kind: str) -> int | None:
    cells = results["rows"][0]["cells"][str(max(results["lengths"]))]
    return cells[kind].get("copies", {}).get("repeat_length")


def gate(results: Results) -> list[str]:
    """Whether numbers of repeated text may be shown, model by model."""
    names = model_labels(results)
    passed = [name for name in names if claims.has_learned_to_copy(results, name)]
    limit = f"{100 * claims.GATE:.0f} points"
    told = (
        "Numbers of repeated text say something about length only if a model copies "
        "within its training length. The gate, set before: in "
        f"{results['train_length']} tokens it must predict the second copy of a "
        f"passage at least {limit} better than the first."
    )
    if not passed:
        return [
            f"{told} **No model does: this size is too small to count on repeated "
            "text, and no number of it is shown.**"
        ]
    failed = [name for name in names if name not in passed]
    told += f" {len(passed)} of {len(names)} models pass."
    if failed:
        told += (
            " Too small to count, and without numbers of repeated text: "
            f"{', '.join(failed)}."
        )
    return [told]


def article(results: Results) -> list[str]:
    """What the suffixes of the labels mean."""
    return [
        "† is the article's dagger: log n scaling at test alone. *log n*: trained with "
        "it. Rows without either, and with †, are of the model trained without log n. "
        "Windows and steps are the article's, as shares of the training length L."
    ]


def verdict(found: Sequence[Comparison]) -> str:
    """How many comparisons agree, in words and numbers."""
    if not found:
        return "Not answered yet: its rows are not measured."
    agree, against, undecided = (
        sum(one.verdict == kind for one in found) for kind in (AGREES, REVERSED, OPEN)
    )
    answer = {
        (True, True): "In part",
        (True, False): "Yes, where the intervals decide",
        (False, True): "No, where the intervals decide",
        (False, False): "Open",
    }[agree > 0, against > 0]
    if len(found) in (agree, against):
        answer = "Yes, in all" if agree else "No, in none"
    return (
        f"**{answer}**: of {len(found)} comparisons {agree} agree, {against} are "
        f"reversed, and the intervals of {undecided} hold zero."
    )


def order(found: Sequence[Comparison]) -> str:
    """The count of all pairs that the article tells apart."""
    return (
        "Every pair of rows of one use of log n that the article sets at least "
        f"{claims.CLEAR:g} point apart. {verdict(found)}"
    )


def other_size(results: Results, page: str, there: Sequence[Comparison | None]) -> str:
    """What becomes of the reversed pairs at another size, whose results these are."""
    verdicts = [one.verdict if one else None for one in there]
    agree, against, undecided, absent = (
        verdicts.count(kind) for kind in (AGREES, REVERSED, OPEN, None)
    )
    told = (
        f"The last columns are the same comparison on [another page]({page}), "
        f"*{results['run']['title']}*, with models of {_sizes(results)} parameters: of "
        f"the {len(there)} pairs that are reversed here {agree} agree with the article "
        f"there, {against} are reversed there too, and the intervals of {undecided} "
        "hold zero."
    )
    if absent:
        told += (
            f" {absent} have no number there: a row was not measured, or its model did "
            "not learn to copy."
        )
    return told


def again(trainings: Sequence[Results]) -> str:
    """Which trainings are put together, and what their spread means."""
    made = "; ".join(
        f"with {_seeds(table['run'])}, commit {', '.join(_commits(table['run']))}"
        for table in trainings[1:]
    )
    return (
        "Intervals over documents say nothing of another training. The models of these "
        f"rows were trained {len(trainings)} times: as in the tables above, and again "
        f"{made}. Equal seeds on another machine, or on other cores of one, give "
        "another model too: sums are rounded otherwise, and training makes much of "
        "little. First, of the comparisons that all trainings have, how many agree, "
        "are reversed, and hold zero in their intervals; then accuracies, mean ± "
        "standard deviation over the trainings."
    )


def tally(found: Sequence[Comparison]) -> str:
    """How many comparisons agree, are reversed, and hold zero."""
    verdicts = [one.verdict for one in found]
    return " / ".join(str(verdicts.count(kind)) for kind in (AGREES, REVERSED, OPEN))


def spread(values: Sequence[float], sign: str = "") -> str:
    """Mean and standard deviation of fractions, in percent; `sign` is "+" or none."""
    mean, deviation = 100 * np.mean(values), 100 * np.std(values, ddof=1)
    return minus(f"{mean:{sign}.2f} ± {deviation:.2f}")


def resonance_again() -> str:
    """How to read the last of these tables."""
    return (
        "What rounding the wavelengths of a trained model changes, paired on each "
        "model: mean ± standard deviation over the trainings. It counts where it "
        "exceeds its standard error, the deviation over the root of their number."
    )


def causes(results: Results, reversed_: Sequence[Comparison]) -> str:
    """Which rows the reversals gather on: where to look for their cause."""
    if not reversed_:
        return ""
    names = [name for one in reversed_ for name in (one.upper, one.lower)]
    ranked = sorted(set(names), key=lambda name: (-names.count(name), name))[:5]
    told = ", ".join(f"{name} ({names.count(name)})" for name in ranked)
    return f"Rows that most of the reversed pairs have in common: {told}."


def gaps(results: Results) -> list[str]:
    """The rank correlations with their intervals."""
    found = gap_correlations(results)
    told = (
        "The feature gap of a plane is the largest chord, on the unit circle, from an "
        "angle beyond the training length to the nearest angle of training; the column "
        "gives its mean over the planes, for rows whose layers share one band."
    )
    if found["mean"] is None:
        return [told, f"{found['rows']} such rows do not suffice for a correlation."]
    answer = {
        1: "A larger mean gap goes with a larger loss.",
        0: "The interval of the mean gap holds zero: it predicts no loss here.",
        -1: "A larger mean gap goes with a smaller loss.",
    }[sign(found["mean"])]
    return [
        told,
        "Spearman's rank correlation with the loss beyond the training length (minus "
        f"truncated), over {found['rows']} rows of all models: {_correlations(found)}, "
        "with 95 % intervals of a bootstrap over the rows of each model. Rows of one "
        f"model with the same gap and the same loss count once. {answer}",
        *_single_models(found["models"]),
    ]


def _correlations(found: dict[str, Any]) -> str:
    """Of the mean and of the largest gap, each with its interval."""
    return "; ".join(
        f"{name} gap {minus(format(found[name]['mean'], '+.2f'))} "
        f"{interval(found[name]['interval'], 1, 2)}"
        for name in ("mean", "largest")
        if found[name] is not None
    )


def _single_models(models: dict[str, dict[str, Any]]) -> list[str]:
    """The correlations over the rows of each model that has enough of them."""
    if len(models) < 2:
        return []
    known = {name: found for name, found in models.items() if found["mean"]}
    clear = sum(sign(found["mean"]) != 0 for found in known.values())
    lines = [
        f"- {name} ({found['rows']} rows): {_correlations(found)}."
        for name, found in known.items()
    ]
    others = "; ".join(name for name in models if name not in known)
    if others:
        lines.append(
            f"- Fewer than {FEWEST} rows, or none that differ, so no correlation: "
            f"{others}."
        )
    return [
        "Over the rows of one model, where the interval of the mean gap excludes zero "
        f"in {clear} of {len(known)}:",
        "\n".join(lines),
    ]


def missing(results: Results) -> list[str]:
    """Every row of the article or of the config without a number, and why."""
    run = results["run"]
    absent = claims.absent_rows(results, [*run["planned"], *run["missing"]])
    if not absent:
        return ["None."]
    lines = [f"- {label}: {_why(run, label)}" for label in absent]
    return ["\n".join(lines)]


def _why(run: dict[str, Any], label: str) -> str:
    model = run["planned"].get(label)
    reason = run["missing"].get(label) or run["missing"].get(model or "")
    if reason:
        return reason
    if model:
        return f"planned, on the model {model!r}; not measured yet"
    return "a row of the article that is not in the config"


def making(results: Results) -> list[str]:
    """Command, commit, hardware, seeds, data."""
    run = results["run"]
    machine, data = run["machine"], run["data"]
    devices = ", ".join(sorted(set(machine["devices"])))
    seconds = sum(run["wall seconds"].values())
    return [
        f"```\n{run['command']}\n```",
        f"Commit {', '.join(_commits(run))}; {machine['cores']} cores, "
        f"{machine['architecture']}, JAX on {devices}; {seconds / 3600:.1f} hours in "
        f"all. Seeds: {_seeds(run)}. Corpus "
        f"{data['corpus']} ({data['corpus_checksum'][:12]}), "
        f"{data['tokens per epoch']:,} tokens per epoch. {_repeats(results)} "
        "Raw results: [results.json](results.json).",
    ]


def _seeds(run: dict[str, Any]) -> str:
    seeds = {tuple(model["seeds"].items()) for model in run["models"].values()}
    told = [", ".join(f"{what} {seed}" for what, seed in pairs) for pairs in seeds]
    return "; ".join(sorted(told))


def _commits(run: dict[str, Any]) -> list[str]:
    """At which the models were trained, each once."""
    models = run["models"].values()
    return list(dict.fromkeys(str(m.get("commit", run["commit"])) for m in models))


def _repeats(results: Results) -> str:
    """Which of the training sequences repeat one passage."""
    data = results["run"]["data"]
    share = max(model["repeated share"] for model in results["run"]["models"].values())
    told = (
        f"So that copying is learned at this size, a share of {share:.2f} of the "
        f"training sequences repeats one passage of {data['repeat_shortest']} to "
        f"{data['repeat_longest']} tokens within the training length: "
    )
    if data["repeat_first"]:
        length = data["length"]
        told += (
            f"the first {data['repeat_first']:,}, of random tokens, three fifths of "
            f"them of {3 * length // 8} to {length // 2}; then "
        )
    return told + (
        f"{data['repeat_fraction']:g} of them, {data['repeat_random']:g} of those of "
        "random tokens."
    )


def costs(results: Results) -> Iterable[list[str]]:
    """Per model: tokens, epochs and wall time."""
    run = results["run"]
    for label, model in run["models"].items():
        line = [label, f"{model['tokens']:,}", f"{model['epochs']:.2f}"]
        for what in ("train", "measure"):
            spent = [
                seconds
                for phase, seconds in run["wall seconds"].items()
                if phase.endswith(f" {what} {label}")
            ]
            line.append(f"{sum(spent) / 60:.1f}")
        yield line
