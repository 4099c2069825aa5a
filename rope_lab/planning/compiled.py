"""A training step compiled ahead of time, from shapes alone.

Legend: B sequences of a batch, T tokens of a sequence.
"""

from __future__ import annotations

import dataclasses
import math
import re
import resource
import sys
import time
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding

from rope_lab.model import ModelConfig, model_structure
from rope_lab.model.sharding import spec
from rope_lab.training import TrainingConfig, init_state, make_optimizer
from rope_lab.training.sharding import shardings_of
from rope_lab.training.step import lowered_train_step


@dataclasses.dataclass(frozen=True)
class Work:
    """A step of training: what is computed, on how much, and where."""

    model: ModelConfig
    logic: Any
    training: TrainingConfig
    batch_size: int
    length: int
    mesh: Mesh


@dataclasses.dataclass(frozen=True)
class Held:
    """Bytes that a device holds from step to step, from the shapes and the mesh."""

    parameters: int
    optimizer: int
    average: int  # of the parameters, where the run keeps one
    count: int  # parameters of the whole model


@dataclasses.dataclass(frozen=True)
class Compiled:
    """What the compiler says of the step; bytes are those of one device.

    text: the program; None where it did not fit, `refusal` then says what is missing.
    """

    text: str | None
    arguments: int = 0  # state and batch
    outputs: int = 0  # the new state, where it is not the old one's memory
    temporary: int = 0  # activations, gradients, gathered parameters
    code: int = 0
    refusal: str | None = None
    needed: float | None = None  # bytes, and those there are: of a refusal
    available: float | None = None
    seconds: float = 0.0  # of wall time, to trace, lower and compile
    processor_seconds: float = 0.0
    peak_memory: int = 0  # of this process until then

    @property
    def total(self) -> int:
        """Bytes at once."""
        return self.arguments + self.outputs + self.temporary + self.code


def held(work: Work) -> Held:
    """Parameters and optimizer state, of which each device has its part."""
    state = _state(work)
    shares = jax.tree.map(_share, state, shardings_of(state, work.mesh))
    return Held(
        parameters=sum(jax.tree.leaves(shares.params)),
        optimizer=sum(jax.tree.leaves(shares.opt_state)),
        average=sum(jax.tree.leaves(shares.ema)),
        count=sum(leaf.size for leaf in jax.tree.leaves(state.params)),
    )


def compiled(work: Work) -> Compiled:
    """Compiles the step that a run would take on the mesh's devices."""
    before = time.perf_counter(), time.process_time()
    state = _state(work)
    state = jax.tree.map(_placed, state, shardings_of(state, work.mesh))
    graphdef = model_structure(work.model, work.logic)[0]
    lowered = lowered_train_step(
        graphdef,
        make_optimizer(work.training),
        work.training,
        state,
        _batch(work),
        work.logic,
        work.mesh,
    )
    try:
        program = lowered.compile()
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        return Compiled(None, **refusal(str(error)), **_spent(*before))
    memory = program.memory_analysis()
    return Compiled(
        program.as_text(),
        arguments=memory.argument_size_in_bytes,
        outputs=memory.output_size_in_bytes - memory.alias_size_in_bytes,
        temporary=memory.temp_size_in_bytes,
        code=memory.generated_code_size_in_bytes,
        **_spent(*before),
    )


def slices_of(mesh: Mesh) -> list[int]:
    """The slice of each device, in the order of the mesh."""
    return [getattr(device, "slice_index", None) or 0 for device in mesh.devices.flat]


def _state(work: Work) -> Any:
    shapes = model_structure(work.model, work.logic)[1]
    optimizer = make_optimizer(work.training)
    return jax.eval_shape(lambda p: init_state(p, optimizer, work.training), shapes)


def _batch(work: Work) -> dict[str, jax.ShapeDtypeStruct]:
    sharding = NamedSharding(work.mesh, spec("batch", "tokens"))
    shape = work.batch_size, work.length
    tokens = jax.ShapeDtypeStruct(shape, jnp.int32, sharding=sharding)
    weights = jax.ShapeDtypeStruct(shape, jnp.float32, sharding=sharding)
    names = "inputs", "targets", "positions", "segment_ids"
    return {**dict.fromkeys(names, tokens), "weights": weights}


def _placed(leaf: Any, sharding: NamedSharding) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)


def _share(leaf: Any, sharding: NamedSharding) -> int:
    """Bytes of a leaf on one device."""
    return math.prod(sharding.shard_shape(leaf.shape)) * leaf.dtype.itemsize


def refusal(message: str) -> dict[str, Any]:
    """The compiler's own words, and the bytes it names: needed, then available."""
    line = next(x for x in message.splitlines() if "RESOURCE_EXHAUSTED" in x)
    units = {"K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
    sizes = re.findall(r"(\d+(?:\.\d+)?)([KMGT])\b", line)
    found = [float(number) * units[unit] for number, unit in sizes]
    needed, available = (*found, None, None)[:2]
    said = line.partition("RESOURCE_EXHAUSTED:")[2].strip()
    return {"refusal": said, "needed": needed, "available": available}


def _spent(wall: float, processor: float) -> dict[str, Any]:
    usage = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "seconds": time.perf_counter() - wall,
        "processor_seconds": time.process_time() - processor,
        "peak_memory": usage * (1 if sys.platform == "darwin" else 1024),
    }
