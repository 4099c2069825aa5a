"""A plan as a Markdown table, with the numbers of the chips that it was made with."""

from __future__ import annotations

from typing import Any

from rope_lab.planning.chips import Chip
from rope_lab.planning.here import HERE

_GIB = 2**30
_MEMORY = {
    "parameters": "parameters",
    "optimizer": "optimizer state",
    "average": "moving average",
    "arguments": "arguments: state and batch",
    "temporary": "temporary: activations, gradients, gathered layers",
    "outputs": "outputs beside them",
    "code": "program",
    "total": "**at once**",
}
_PARTS = {
    "compute": "compute",
    "memory": "main memory (HBM)",
    "links": "links within a slice (ICI)",
    "network": "network between slices (DCN)",
}


def page(plan: dict[str, Any]) -> str:
    """Markdown, of one device and one step."""
    chip = Chip(**plan["chip"])
    lines = [f"# {_title(plan)}", "", *_memory_table(plan, chip), ""]
    if not plan["fits"]:
        lines += [f"**Does not fit**: {plan['memory']['refusal']}", ""]
        lines += ["What helps, what costs least first:", ""]
        lines += [*(f"- {one}" for one in plan["advice"]), ""]
    if "seconds" in plan:
        lines += [*_work_table(plan, chip), "", *_exchange_table(plan), ""]
        lines += _notes(plan)
    if "measured" in plan:
        lines += ["", *_measured_table(plan, chip)]
    return "\n".join([*lines, "", *_chip_lines(chip), ""])


def _title(plan: dict[str, Any]) -> str:
    slices = plan["num_slices"]
    several = f"{slices} times " if slices > 1 else ""
    mesh = ", ".join(f"{name} {n}" for name, n in plan["mesh"].items() if n > 1)
    return (
        f"{plan['model_parameters']:,} parameters on {several}{plan['topology']} "
        f"({plan['chips']} chips: {mesh or 'one device'}), batch {plan['batch_size']} "
        f"of {plan['length']} tokens"
    )


def _memory_table(plan: dict[str, Any], chip: Chip) -> list[str]:
    memory = plan["memory"]
    rows = [
        (said, memory[name])
        for name, said in _MEMORY.items()
        if memory.get(name) or name in ("parameters", "optimizer")
    ]
    lines = ["| memory of a device | GiB |", "|---|---|"]
    lines += [f"| {said} | {size / _GIB:.2f} |" for said, size in rows]
    return [*lines, f"| there is | {chip.memory / _GIB:.0f} |"]


def _work_table(plan: dict[str, Any], chip: Chip) -> list[str]:
    amounts = {
        "compute": f"{plan['model_flops'] / 1e12:.1f} TFLOP of the model",
        "memory": f"{plan['memory_traffic'] / 1e9:.1f} GB",
        "links": f"{_sent(plan, False) / 1e9:.2f} GB sent",
        "network": f"{_sent(plan, True) / 1e9:.2f} GB sent",
    }
    lines = ["| a step, at least | amount | seconds |", "|---|---|---|"]
    for name, said in _PARTS.items():
        seconds = f"{plan['seconds'][name]:.3f}"
        if name == plan["bottleneck"]:
            said, seconds = f"**{said}**", f"**{seconds}**"
        lines.append(f"| {said} | {amounts[name]} | {seconds} |")
    share = plan["model_flops_utilisation"]
    return [*lines, "", f"Bottleneck: {_PARTS[plan['bottleneck']]}; with it alone, "
            f"{share:.0%} of the chip's peak are the model's FLOPs."]  # fmt: skip


def _measured_table(plan: dict[str, Any], chip: Chip) -> list[str]:
    """What the step took, beside the plan's figures."""
    found, planned = plan["measured"], plan["memory"]["total"] / _GIB
    lines = [
        f"| tried here, {found['steps']} steps | planned | measured | ratio |",
        "|---|---|---|---|",
    ]
    if found["peak_memory"] is None:
        lines.append(f"| GiB of a device | {planned:.2f} | keeps no statistics | |")
    else:
        peak = found["peak_memory"] / _GIB
        lines.append(
            f"| GiB of a device | {planned:.2f} | {peak:.2f} | {peak / planned:.2f} |"
        )
    seconds = found["seconds"]
    if "seconds" in plan:
        least = plan["seconds"]["step"]
        lines.append(
            f"| seconds of a step | {least:.4f} at least | {seconds:.4f} | "
            f"{seconds / least:.2f} |"
        )
        share = plan["model_flops"] / seconds / chip.peak
        return [*lines, "", f"{share:.0%} of the device's peak are the model's FLOPs."]
    rate = plan["model_flops"] / seconds / 1e9
    return [
        *lines,
        f"| seconds of a step | no numbers of this device | {seconds:.4f} | |",
        "",
        f"{rate:.1f} GFLOP/s of the model on each device.",
    ]


def _exchange_table(plan: dict[str, Any]) -> list[str]:
    lines = ["| exchange | where | times | GB sent |", "|---|---|---|---|"]
    for one in plan["collectives"]:
        where = "between slices" if one["between_slices"] else "within a slice"
        sent = one["sent_bytes"] / 1e9
        lines.append(f"| {one['kind']} | {where} | {one['count']} | {sent:.3f} |")
    return lines if plan["collectives"] else ["Nothing is exchanged."]


def _notes(plan: dict[str, Any]) -> list[str]:
    cost = plan["compilation"]
    notes = [
        f"attention: {plan['attention']}. Compiled in {cost['seconds']:.0f} s "
        f"({cost['processor_seconds']:.0f} s of processor time) and "
        f"{cost['peak_memory'] / 1e9:.1f} GB."
    ]
    if plan["loops_of_unknown_length"]:
        notes.append(
            f"{plan['loops_of_unknown_length']} loops do not say how often they run "
            "and are counted once: exchanges and memory traffic may be more."
        )
    return notes


def _chip_lines(chip: Chip) -> list[str]:
    if chip.memory_bandwidth is None:
        return [f"{chip.kind}: no speeds are known of this kind of device."]
    here = chip.name == HERE
    name, source = (
        (chip.kind, "nvidia.com")
        if here
        else (chip.name, f"cloud.google.com/tpu/docs/{chip.name}")
    )
    return [
        f"{name}: {chip.peak / 1e12:.0f} TFLOP/s in bfloat16, "
        f"{chip.memory / _GIB:.0f} GiB at {chip.memory_bandwidth / 1e9:.0f} GB/s, "
        f"sends {chip.link_bandwidth / 1e9:.0f} GB/s over its links and "
        f"{chip.network_bandwidth / 1e9:.3g} GB/s to other slices "
        f"({source}).",
        "Seconds are bounds from these numbers, every part at its peak and all of them "
        f"side by side{'' if here else '; nothing was measured'}.",
    ]


def _sent(plan: dict[str, Any], between: bool) -> float:
    return sum(
        one["sent_bytes"]
        for one in plan["collectives"]
        if one["between_slices"] == between
    )
