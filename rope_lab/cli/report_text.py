"""The sentences of report.html, made from the numbers of results.json.

Every function returns plain text, to be escaped by whoever writes HTML. A number comes
with its 95 % interval over documents in square brackets.
"""

from typing import Any

from rope_lab.evaluation import findings, published
from rope_lab.evaluation.results import NATURAL, Results, cell, truncated_row


def minus(text: str) -> str:
    """Numbers with the minus sign of print."""
    return text.replace("-", "\N{MINUS SIGN}")


def interval(bounds: list[float] | None, scale: float = 1, digits: int = 3) -> str:
    """Bounds in brackets, signs as they are; a dash where one document gave none."""
    if bounds is None:
        return "[no interval: one document]"
    low, high = (f"{scale * x:.{digits}f}" for x in bounds)
    return minus(f"[{low}, {high}]")


def signed(statistic: dict[str, Any]) -> str:
    """A difference of losses with its interval."""
    mean = minus(f"{statistic['mean']:+.3f}")
    return f"{mean} nats {interval(statistic['interval'])}"


def points(statistic: dict[str, Any]) -> str:
    """A difference of accuracies, in percentage points, with its interval."""
    mean = minus(f"{100 * statistic['mean']:+.2f}")
    return f"{mean} points {interval(statistic['interval'], 100, 2)}"


def title(results: Results) -> str:
    """One sentence: what happened at the longest length."""
    length, times = _reach(results)
    plain, rows = findings.plain_row(results), findings.without_training(results)
    if times <= 1 or plain is None:
        return f"{len(results['rows'])} position encodings at {length} tokens"
    gaps = [cell(r, length)["minus_truncated"]["beyond"] for r in (plain, *rows[:1])]
    sentence = (
        f"At {times:g} times its training length, plain RoPE is {_versus(gaps[0])} "
        "truncated context"
    )
    if rows:
        best = f"the best of {len(rows)} changes of encoding on the same weights"
        sentence += f"; {rows[0]['label']}, {best}, is {_versus(gaps[1])} it"
    return sentence


def _versus(gap: dict[str, Any]) -> str:
    return {
        1: f"{gap['mean']:.2f} nats per token worse than",
        0: "not measurably different from",
        -1: f"{-gap['mean']:.2f} nats per token better than",
    }[findings.sign(gap)]


def headline(results: Results) -> list[str]:
    """The findings in plain words."""
    makers = (_plain, _truncated, _zero_shot, _tuned, _order, _context)
    return [sentence for make in makers if (sentence := make(results))]


def _plain(results: Results) -> str | None:
    row, (length, times) = findings.plain_row(results), _reach(results)
    if row is None or times <= 1:
        return None
    found = cell(row, length)
    change = found["beyond_minus_inside"]
    train_length = results["train_length"]
    verdict = {
        1: "It fails outside its training length",
        0: "Whether it changes outside its training length stays open",
        -1: "It improves outside its training length",
    }[findings.sign(change)]
    if findings.sign(change) > 0 and change["interval"][0] < findings.FAILURE:
        verdict = "It gets worse outside its training length"
    return (
        f"{verdict}: {row['label']} has a loss of {found['inside']['loss']:.3f} nats "
        f"on the first {train_length} tokens and {found['beyond']['loss']:.3f} on the "
        f"tokens after them, a difference of {signed(change)}."
    )


def _truncated(results: Results) -> str | None:
    row, (length, times) = truncated_row(results), _reach(results)
    if row is None or times <= 1:
        return None
    found, size = cell(row, length), results["train_length"]
    return (
        f"Reading the same text in windows of {size} tokens, which needs no method, "
        f"gives {found['beyond']['loss']:.3f} nats "
        f"{interval(found['beyond']['loss_interval'])} on the tokens after the first "
        f"{size}: {row['label']} is the row that every method has to beat."
    )


def _zero_shot(results: Results) -> str | None:
    rows, (length, times) = findings.without_training(results), _reach(results)
    if not rows or times <= 1 or truncated_row(results) is None:
        return None
    gaps = [cell(row, length)["minus_truncated"]["beyond"] for row in rows]
    names = [row["label"] for row in rows]
    better = [n for n, gap in zip(names, gaps, strict=True) if findings.sign(gap) < 0]
    near = [
        name
        for name, gap in zip(names, gaps, strict=True)
        if gap["mean"] <= findings.TOLERANCE
    ]
    text = (
        f"Without any training, {len(near)} of {len(rows)} changed encodings stay "
        f"within {findings.TOLERANCE} nats of truncated context over those tokens"
    )
    text += f" ({', '.join(near)})." if near else "."
    text += (
        f" Better than truncated context by more than their interval: "
        f"{', '.join(better)}."
        if better
        else " None is better than truncated context by more than its interval."
    )
    return f"{text} The best, {names[0]}, differs from it by {signed(gaps[0])}."


def _tuned(results: Results) -> str | None:
    rows, (length, times) = findings.fine_tuned(results), _reach(results)
    if not rows or times <= 1:
        return None
    parts = []
    if truncated_row(results) is not None:
        for row in rows:
            gap = cell(row, length)["minus_truncated"]["beyond"]
            parts.append(f"{row['label']} {signed(gap)}")
    text = "After fine-tuning, against truncated context: " + "; ".join(parts) + "."
    if len(rows) == 2:
        gap = findings.contrast(results, rows[0], rows[1])
        apart = {
            -1: "the first has the lower loss",
            0: "the interval holds zero, so these numbers do not tell them apart",
            1: "the second has the lower loss",
        }[findings.sign(gap)]
        text += f" {rows[0]['label']} minus {rows[1]['label']}: {signed(gap)}; {apart}."
    return text


def _order(results: Results) -> str | None:
    kinds = _kinds(results)
    counts = [_count(findings.order_steps(results, kind)) for kind in kinds]
    if not counts or not sum(counts[0]):
        return None
    parts = [
        f"on {kind} text {agree} of {agree + against + open_} comparisons agree, "
        f"{against} contradict it and {open_} stay open"
        for kind, (agree, against, open_) in zip(kinds, counts, strict=True)
    ]
    return f"The published order {' < '.join(published.ORDER)}: {'; '.join(parts)}."


def _context(results: Results) -> str | None:
    use = results.get("context_use")
    if not use:
        return None
    first, last = use["steps"][0], use["steps"][-1]
    start = (
        f"The model uses its context up to {use['used']} tokens: up to there each "
        "doubling of the context lowers the loss of the same targets by more than its "
        "interval."
    )
    if use["used"] == first["context"][1]:
        start = (
            f"Already the first doubling of the context, beyond {use['used']} tokens, "
            "does not lower the loss by more than its interval."
        )
    return (
        f"{start} The last doubling, to {last['context'][1]} tokens, lowers it by "
        f"{signed(last['gain'])}."
    )


def order_discussion(results: Results, kind: str) -> list[str]:
    """Where the measured order agrees with the published one, and where it does not."""
    length, _ = _reach(results)
    steps = findings.order_steps(results, kind)
    told = []
    for verdict, words in (
        (findings.AGREES, "The interval lies on the published side"),
        (findings.OPEN, "The interval holds zero, so these windows do not decide"),
    ):
        names = [_name(step) for step in steps if step.verdict == verdict]
        if names:
            told.append(f"{words} ({len(names)} of {len(steps)}): {', '.join(names)}.")
    for step in steps:
        if step.verdict == findings.REVERSED:
            pair = (step.lower, step.upper)
            rows = [published.measured_row(results, entry) for entry in pair]
            levels = " and ".join(_levels(row, length, kind) for row in rows)
            there = minus(f"{100 * step.published[kind]:+.2f}")
            told.append(
                f"Reversed: {_name(step)}. Published {there} points, measured "
                f"{points(step.accuracy)}. {levels}."
            )
    return told


def setting(results: Results) -> str:
    """How this experiment differs from the article's."""
    run = results.get("run", {})
    size = run.get("parameters")
    model = f"a decoder of {size:,} parameters" if size else "this decoder"
    return (
        "Not the same experiment: the article's model is one of 100 million "
        "parameters with 24 gated attention layers of one head; its corpus, number of "
        "steps and share of repeated texts are not published, and it gives one run "
        f"without intervals. Here: {model}, trained on {results['train_length']} "
        "tokens, one run. An order that differs may come from any of these."
    )


def _name(step: findings.Step) -> str:
    return f"{step.lower.label} < {step.upper.label}"


def _levels(row: dict[str, Any], length: int, kind: str) -> str:
    found = cell(row, length, kind)
    inside, beyond = found["inside"], found["beyond"] or found["inside"]
    return (
        f"{row['label']} is right on {100 * inside['accuracy']:.1f} % of the tokens "
        f"inside the training length and {100 * beyond['accuracy']:.1f} % beyond"
    )


def _count(steps: list[findings.Step]) -> tuple[int, int, int]:
    verdicts = [step.verdict for step in steps]
    kinds = (findings.AGREES, findings.REVERSED, findings.OPEN)
    agreeing, reversed_, open_ = (verdicts.count(verdict) for verdict in kinds)
    return agreeing, reversed_, open_


def _reach(results: Results) -> tuple[int, float]:
    """The longest length, tokens, and how many training lengths that is."""
    length = max(results["lengths"])
    return length, length / results["train_length"]


def _kinds(results: Results) -> list[str]:
    found = results["targets"][str(max(results["lengths"]))]
    return sorted(found, key=lambda kind: kind != NATURAL)
