"""The mesh of devices that a run is spread over, with its four named axes."""

import dataclasses
import math

import jax
import numpy as np
from jax.experimental import mesh_utils
from jax.sharding import AxisType, Mesh

from rope_lab.model import ModelConfig
from rope_lab.model.sharding import AXES, parts


@dataclasses.dataclass(frozen=True)
class MeshConfig:
    """Devices along each axis; a run may continue on another mesh.

    Sequences are divided among data times fsdp. fsdp also divides parameters and
    optimizer state, tensor the heads and hidden units of each layer; what a device
    lacks of a layer it fetches when it comes to it. context divides the tokens of each
    sequence, and 2 * context has to divide their number.

    Raises:
      ValueError: a value outside its range, said with the range.
    """

    data: int | None = None  # None: all devices that the others leave
    fsdp: int = 1
    tensor: int = 1
    context: int = 1

    def __post_init__(self):
        for axis in AXES:
            size = getattr(self, axis)
            if size is not None and size < 1:
                raise ValueError(f"mesh.{axis} is {size}; it must be at least 1")


def make_mesh(config: MeshConfig, devices: list[jax.Device] | None = None) -> Mesh:
    """The mesh over all devices of all processes; one process may use fewer.

    Raises:
      ValueError: the axes do not multiply to the number of devices.
    """
    if devices is None:
        devices = jax.devices()
    given = dataclasses.asdict(config)
    rest = math.prod(size for size in given.values() if size is not None)
    if config.data is None:
        given["data"] = max(1, len(devices) // rest)
    wanted = math.prod(given.values())
    left = len(devices) - wanted
    if left < 0 or (left and (config.data is None or jax.process_count() > 1)):
        raise ValueError(
            f"the mesh {given} needs {wanted} devices and there are {len(devices)}: "
            "change mesh.data, mesh.fsdp, mesh.tensor and mesh.context so that their "
            "product is the number of devices"
        )
    sizes, types = tuple(given[axis] for axis in AXES), (AxisType.Auto,) * len(AXES)
    if left:
        return Mesh(np.array(devices[:wanted]).reshape(sizes), AXES, axis_types=types)
    slices = len({getattr(device, "slice_index", 0) for device in devices})
    if slices > 1:
        return Mesh(_over_slices(sizes, devices, slices), AXES, axis_types=types)
    return jax.make_mesh(sizes, AXES, axis_types=types, devices=devices)


def _over_slices(
    sizes: tuple[int, ...], devices: list[jax.Device], slices: int
) -> np.ndarray:
    """Devices of several TPU slices: only the axis `data` reaches from one to another.

    Between slices there is the data centre's network, and data exchanges least.
    """
    data, *others = sizes
    if data % slices:
        raise ValueError(
            f"mesh.data is {data}, which does not divide by the {slices} slices that "
            "the devices are in; parameters are not divided among slices: change "
            "mesh.data, mesh.fsdp, mesh.tensor and mesh.context"
        )
    return mesh_utils.create_hybrid_device_mesh(
        (data // slices, *others),
        (slices, 1, 1, 1),
        devices,
        allow_split_physical_axes=True,
    )


def check_fits(
    mesh: Mesh,
    model: ModelConfig,
    batch_size: int,
    length: int,
    accumulation_steps: int = 1,
) -> None:
    """Raises ValueError unless all that the mesh divides divides evenly."""
    width_parts, head_parts = parts(mesh, "width"), parts(mesh, "heads")
    asked = [
        ("model.num_heads", model.num_heads, head_parts, "mesh.tensor"),
        ("model.num_kv_heads", model.num_kv_heads, head_parts, "mesh.tensor"),
        ("model.ff_width", model.ff_width, parts(mesh, "ff"), "mesh.tensor"),
        ("model.width", model.width, width_parts, "mesh.fsdp"),
    ]
    if (context := parts(mesh, "tokens")) > 1:
        asked.append(("data.length", length, 2 * context, "2 * mesh.context"))
        if model.context_exchange == "heads":
            heads = "model.num_kv_heads", model.num_kv_heads, head_parts * context
            asked.append((*heads, "mesh.tensor * mesh.context"))
    each = "data.batch_size"
    if accumulation_steps > 1:
        each += " / training.accumulation_steps"
    microbatch, remainder = divmod(batch_size, accumulation_steps)
    if not remainder:  # else the step itself says so
        batch_parts = parts(mesh, "batch")
        asked.append((each, microbatch, batch_parts, "mesh.data * mesh.fsdp"))
    for name, size, divisor, axes in asked:
        if size % divisor:
            raise ValueError(
                f"{name} is {size}, which does not divide by {axes} = {divisor}; "
                "change one of the two"
            )
