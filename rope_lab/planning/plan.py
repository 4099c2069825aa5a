"""A plan: what a training step needs of every device, before there is one."""

from __future__ import annotations

import dataclasses
from typing import Any

from rope_lab.planning.chips import Topology
from rope_lab.planning.collectives import collectives
from rope_lab.planning.compiled import Compiled, Held, Work, compiled, held, slices_of
from rope_lab.planning.hlo import parse
from rope_lab.planning.memory_traffic import memory_traffic
from rope_lab.planning.roofline import roofline
from rope_lab.training.clock import training_flops

SCHEMA_VERSION = 1
_KERNELS = "tpu_custom_call", "__gpu$xla.gpu.triton", "mosaic_gpu"  # of Pallas


def make_plan(work: Work, topology: Topology) -> dict[str, Any]:
    """Compiles the step and reads off what it needs; plain values, for JSON.

    Bytes, FLOPs and seconds are those of one device and one step.
    """
    resident, program = held(work), compiled(work)
    plan: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "topology": topology.name,
        "num_slices": topology.num_slices,
        "chips": topology.chips,
        "chip": dataclasses.asdict(topology.chip),
        "mesh": dict(work.mesh.shape),
        "batch_size": work.batch_size,
        "length": work.length,
        "accumulation_steps": work.training.accumulation_steps,
        "model": dataclasses.asdict(work.model),
        "model_parameters": resident.count,
        "memory": _memory(resident, program, topology),
        "compilation": _compilation(program),
    }
    plan["fits"] = "refusal" not in plan["memory"]
    if not plan["fits"]:
        plan["advice"] = advice(work, topology.num_slices)
    if program.text is None:
        return plan
    return plan | _running(work, topology, resident, program.text)


def advice(work: Work, num_slices: int) -> list[str]:
    """What makes a step smaller that does not fit, what costs least first."""
    mesh, found = dict(work.mesh.shape), []
    least = num_slices  # which the data axis joins
    if (more := mesh["data"] // least) > 1:
        found.append(
            f"fsdp: mesh.fsdp={mesh['fsdp'] * more} and mesh.data={least} divide "
            f"parameters and optimizer state {more} times more"
        )
    each = work.batch_size // (mesh["data"] * mesh["fsdp"])
    if each > work.training.accumulation_steps:
        found.append(
            f"accumulation: training.accumulation_steps={each} leaves one sequence on "
            "a device at once"
        )
    if work.model.remat != "full":
        found.append(
            "rematerialisation: model.remat=full keeps of each layer its input alone, "
            "for a third more FLOPs"
        )
    if work.length > 4096:
        found.append(
            f"context: mesh.context={2 * mesh['context']} divides the tokens of each "
            "sequence among more devices"
        )
    found.append("more chips: a larger slice, with a larger mesh.fsdp")
    return found


def _memory(resident: Held, program: Compiled, topology: Topology) -> dict[str, Any]:
    found = {
        "parameters": resident.parameters,
        "optimizer": resident.optimizer,
        "average": resident.average,
        "chip": topology.chip.memory,
    }
    if program.text is None:
        return found | {
            "refusal": program.refusal,
            "needed": program.needed,
            "available": program.available,
        }
    found |= {
        "arguments": program.arguments,
        "temporary": program.temporary,
        "outputs": program.outputs,
        "code": program.code,
        "total": program.total,
    }
    return found | too_large(program.total, topology.chip.memory)


def too_large(total: int, memory: int) -> dict[str, Any]:
    """A refusal where the compiler's figures add up to more than a chip has.

    The compiler itself does not refuse every such step.
    """
    if total <= memory:
        return {}
    said = (
        f"the compiled step needs {total / 2**30:.2f} GiB at once by the compiler's "
        f"figures, and a chip has {memory / 2**30:.0f}; the compiler did not refuse it"
    )
    return {"refusal": said, "needed": total, "available": memory}


def _compilation(program: Compiled) -> dict[str, float]:
    return {
        "seconds": round(program.seconds, 1),
        "processor_seconds": round(program.processor_seconds, 1),
        "peak_memory": program.peak_memory,
    }


def _running(
    work: Work, topology: Topology, resident: Held, text: str
) -> dict[str, Any]:
    tokens = work.batch_size * work.length / topology.chips
    kernels = any(f'custom_call_target="{name}' in text for name in _KERNELS)
    flops = training_flops(work.model, resident.count, work.length) * tokens
    found = {
        "attention": "kernels" if kernels else "tiled",
        "tokens": tokens,
        "model_flops": flops,
    }
    if topology.chip.memory_bandwidth is None:  # no numbers to make seconds from
        return found
    program = parse(text)
    traffic = collectives(program, slices_of(work.mesh))
    moved = memory_traffic(program)
    needs = roofline(
        topology.chip, work.model, resident.count, work.length, tokens, moved, traffic
    )
    return found | {
        "memory_traffic": moved,
        "collectives": [dataclasses.asdict(one) for one in traffic],
        "loops_of_unknown_length": program.unknown_loops(),
        "seconds": {**needs.parts, "step": needs.seconds},
        "bottleneck": needs.bottleneck,
        "model_flops_utilisation": flops / (needs.seconds * topology.chip.peak),
    }
