"""Table and picture of the weak scaling of bytes and exchanges."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from benchmarks.timing import markdown
from rope_lab.planning import CHIPS
from rope_lab.plots.style import save, series

Plan = Mapping[str, Any]
GIB, GB = 2**30, 1e9
MARKERS = "osD^"
ABOUT = """# 7B fine-tuning steps on 16 to 1024 chips, from compilation alone

`rope-lab plan` of Llama 2 7B (float32 parameters and AdamW, bfloat16 products, layers
rematerialised), 32,768 tokens on every chip. Nothing was run: bytes are the compiler's,
exchanges are read from the compiled program, seconds are bounds from the numbers of the
chips. Written by `python -m benchmarks.weak_scaling`.

fsdp: chips that share the parameters; others share the sequences only. Between slices
there is the data centre's network, and only gradients cross it.
"""


def write_page(rows: Mapping[str, Plan], folder: Path) -> None:
    """folder/weak_scaling.md, .png and its twin for dark pages."""
    ordered = sorted(
        rows.values(), key=lambda x: (x["length"], x["topology"][:3], x["chips"])
    )
    parts = [
        ABOUT,
        "## Memory of a chip, GiB",
        markdown(
            ["chips", "tokens", "fsdp", "parameters", "optimizer", "temporary",
             "at once", "there is"],
            [_memory(row) for row in ordered],
        ),
        "## Sent by a chip in a step, GB",
        markdown(
            ["chips", "tokens", *KINDS, "within a slice", "between slices"],
            [_sent(row) for row in ordered],
        ),
        "## Seconds of a step, at least",
        markdown(
            ["chips", "tokens", "compute", "memory", "links", "network", "bottleneck"],
            [_bounds(row) for row in ordered],
        ),
        "## Cost of compiling",
        "On two cores that did other work too where the load says so (processes that "
        "wanted to run, before and after).",
        markdown(
            ["chips", "tokens", "seconds", "of processor time", "GB", "load"],
            [_cost(row) for row in ordered],
        ),
        "![Sent by a chip, against the number of chips](weak_scaling.png)",
    ]  # fmt: skip
    (folder / "weak_scaling.md").write_text("\n\n".join(parts) + "\n")
    _draw(ordered, folder / "weak_scaling.png")


KINDS = ("all-gather", "reduce-scatter", "all-reduce", "collective-permute")


def _names(row: Plan) -> list[str]:
    several = f" x {row['num_slices']}" if row["num_slices"] > 1 else ""
    divided = [f"context {row['mesh']['context']}"] * (row["mesh"]["context"] > 1)
    divided += [f"{row['accumulation_steps']} parts"] * (row["accumulation_steps"] > 1)
    name = ", ".join([f"{row['topology']}{several}", *divided])
    return [f"{row['chips']} ({name})", f"{row['length']:,}"]


def _memory(row: Plan) -> list[str]:
    memory = row["memory"]
    names = "parameters", "optimizer", "temporary", "total", "chip"
    sizes = [f"{memory[name] / GIB:.2f}" if name in memory else "-" for name in names]
    if not row["fits"]:
        sizes[3] = f"{memory['needed'] / GIB:.2f}, does not fit"
    return [*_names(row), str(row["mesh"]["fsdp"]), *sizes]


def _sent(row: Plan) -> list[str]:
    if "collectives" not in row:
        return [*_names(row), *["-"] * (len(KINDS) + 2)]
    found = row["collectives"]

    def gigabytes(**wanted) -> str:
        chosen = [x for x in found if all(x[k] == v for k, v in wanted.items())]
        return f"{sum(x['sent_bytes'] for x in chosen) / GB:.2f}"

    kinds = [gigabytes(kind=kind) for kind in KINDS]
    places = [gigabytes(between_slices=between) for between in (False, True)]
    return [*_names(row), *kinds, *places]


def _bounds(row: Plan) -> list[str]:
    if "seconds" not in row:
        return [*_names(row), *["-"] * 4, "does not fit"]
    names = "compute", "memory", "links", "network"
    seconds = [f"{row['seconds'][name]:.3f}" for name in names]
    said = row["bottleneck"] + ("" if row["fits"] else ", does not fit")
    return [*_names(row), *seconds, said]


def _cost(row: Plan) -> list[str]:
    cost, load = row["compilation"], row["load"]
    return [
        *_names(row),
        f"{cost['seconds']:.0f}",
        f"{cost['processor_seconds']:.0f}",
        f"{cost['peak_memory'] / GB:.1f}",
        f"{load['before']:.0f} and {load['after']:.0f}",
    ]


def _draw(rows: list[Plan], path: Path) -> None:
    chips = [name for name in CHIPS if any(_chip(row) == name for row in rows)]
    lengths = sorted({row["length"] for row in rows})

    def draw(figure: Figure) -> None:
        panels = figure.subplots(1, 2, sharex=True)
        values = (
            ("sent by a chip in a step, GB", _all_sent),
            ("memory at once, GiB", lambda row: row["memory"]["total"] / GIB),
        )
        for axes, (quantity, value) in zip(panels, values, strict=True):
            keys = [(chip, length) for chip in chips for length in lengths]
            for key, marker, color in zip(keys, MARKERS, series(), strict=False):
                mine = [r for r in rows if (_chip(r), r["length"]) == key and r["fits"]]
                axes.plot(
                    [row["chips"] for row in mine],
                    [value(row) for row in mine],
                    marker=marker,
                    color=color,
                    label=f"{key[0]}, {key[1]:,} tokens",
                )
            axes.set_xscale("log", base=2)
            axes.xaxis.set_major_formatter(lambda x, _: f"{x:g}")
            axes.set_xlabel("chips")
            axes.set_ylabel(quantity)
            axes.set_ylim(0, 1.1 * axes.get_ylim()[1])
        labels = panels[0].get_legend_handles_labels()
        figure.legend(*labels, loc="outside lower center", ncols=2)

    save(draw, path, 3.6)


def _chip(row: Plan) -> str:
    return row["topology"].partition(":")[0]


def _all_sent(row: Plan) -> float:
    return sum(one["sent_bytes"] for one in row["collectives"]) / GB
