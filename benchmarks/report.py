"""Tables and pictures of the attention benchmark's record."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from benchmarks import rows
from benchmarks.targets import ON_CPU, ON_GPU, measured_row, table
from benchmarks.timing import describe, markdown
from rope_lab.plots.style import save, series

Record = Mapping[str, Any]
OURS, PEERS = (rows.REROPE, rows.ROPE), (rows.SDPA, rows.JAX_OWN)
DRAWN = (*OURS, *PEERS, rows.SEED_JAX, rows.SEED_TORCH)
MARKERS = "osD^vP"
MIB = 2**20


def text(record: Record) -> str:
    """The committed Markdown: targets, times, shares and memory of every row."""
    gpu = record["platform"] == "gpu"
    base = "RoPE, cuDNN" if gpu else rows.ROPE
    parts = [
        "# Attention, measured",
        describe(record),
        _setting(record),
        "## Targets",
        table(ON_GPU if gpu else ON_CPU, record),
    ]
    for mode in rows.MODES:
        parts += [f"## Milliseconds, {mode} (in brackets: over `{base}`)"]
        parts += [_grid(record, mode, lambda case, label: _time(case, label, base))]
    for mode in rows.MODES:
        parts += [f"## Rate, {mode}", _grid(record, mode, _rate)]
    for mode in rows.MODES:
        parts += [f"## Temporary memory, {mode}, MiB", _grid(record, mode, _memory)]
    return "\n\n".join(parts) + "\n"


def _setting(record: Record) -> str:
    lines = [
        f"Batch 1, head dim {record['head_dim']}, {record['dtype']}, causal; heads as "
        "the columns say; windows and chunks are T/4. Every round calls each row once, "
        "in an order that rotates; medians. Backward is with respect to q, k and v.",
        "Rate: products of the pairs a query may see (a causal half; less under a "
        "window) over the time, and its share of "
        + (
            f"{record['peak_tflops']:g} TFLOP/s."
            if record["platform"] == "gpu"
            else "the rate of the products of the same tiles alone, in the same run."
        ),
        "Memory: JAX, what the compiled program plans beyond inputs and outputs; "
        "PyTorch, growth of resident memory at its peak, with outputs and gradients.",
    ]
    for name, rate in record["matrix_product_gflops"].items():
        lines.append(f"A 1024-cube float32 product through {name}: {rate:.1f} GFLOP/s.")
    return "\n".join(f"- {line}" for line in lines)


def _grid(record: Record, mode: str, cell: Callable) -> str:
    cases = [case for case in record["cases"] if case["mode"] == mode]
    labels = list(dict.fromkeys(label for case in cases for label in case["rows"]))
    heads = [f"T={case['length']}, H={case['heads']}" for case in cases]
    lines = [[label, *(cell(case, label) for case in cases)] for label in labels]
    return markdown(["", *heads], lines)


def _time(case: Record, label: str, base: str) -> str:
    row = measured_row(case, label)
    if row is None:
        return case["rows"].get(label, {}).get("absent", "-")
    reference = measured_row(case, base)
    if reference is None:
        return f"{row['ms']:.2f}"
    return f"{row['ms']:.2f} ({row['ms'] / reference['ms']:.2f})"


def _rate(case: Record, label: str) -> str:
    row = measured_row(case, label)
    if row is None:
        return "-"
    for share in ("share_of_peak", "share_of_products"):
        if share in row:
            return f"{row['gflops']:.1f} GFLOP/s, {100 * row[share]:.0f} %"
    return f"{row['gflops']:.1f} GFLOP/s"


def _memory(case: Record, label: str) -> str:
    row = measured_row(case, label)
    if row is None:
        return "-"
    if row["temporary_bytes"] is None:
        return "not measured"
    return f"{row['temporary_bytes'] / MIB:.1f}"


def draw_time(record: Record, path: Path) -> Path:
    """Time against length, both modes; of one head, since long lengths have one."""
    return _draw(record, path, lambda row: row["ms"], "milliseconds per head")


def draw_memory(record: Record, path: Path) -> Path:
    """Temporary memory against length, both modes, of one head."""

    def mebibytes(row: Record) -> float | None:
        return row["temporary_bytes"] / MIB if row["temporary_bytes"] else None

    return _draw(record, path, mebibytes, "temporary memory per head, MiB")


def _draw(record: Record, path: Path, value: Callable, quantity: str) -> Path:
    def draw(figure: Figure) -> None:
        panels = figure.subplots(1, 2, sharey=True, sharex=True)
        for axes, mode in zip(panels, rows.MODES, strict=True):
            for label, marker, color in zip(DRAWN, MARKERS, series(), strict=False):
                points = _points(record, mode, label, value)
                axes.plot(
                    *points, color=color, marker=marker, markersize=4, label=label
                )
            axes.set_title(mode)
            axes.set_xscale("log", base=2)
            axes.set_yscale("log")
            axes.xaxis.set_major_formatter(lambda x, _: _tokens(x))
            axes.set_xlabel("tokens")
        panels[0].set_ylabel(quantity)
        lines = panels[0].get_lines()
        figure.legend(lines, DRAWN, loc="outside lower center", ncols=1)

    return save(draw, path, 4.8)


def _points(record: Record, mode: str, label: str, value: Callable):
    """Lengths and values of a row per head, where both are known."""
    found = []
    for case in record["cases"]:
        row = measured_row(case, label) if case["mode"] == mode else None
        number = None if row is None else value(row)
        if number is not None:
            found.append((case["length"], number / case["heads"]))
    return [x for x, _ in found], [y for _, y in found]


def _tokens(length: float) -> str:
    return f"{length / 1024:g}k" if length >= 1024 else f"{length:g}"
