"""TPU chips and the slices of them that can be had, as their maker states them.

From cloud.google.com/tpu/docs/{v5e,v5p,v6e}, read in 2026. Bandwidths of links are
stated for both directions together; here they are halved, since the bytes of
`collectives` are those sent. That of a data centre is stated for a pod of 256 v5e or
v6e chips, for a chip of v5p.
"""

from __future__ import annotations

import dataclasses
import math

from rope_lab.training.clock import PEAK


@dataclasses.dataclass(frozen=True)
class Chip:
    """One generation; bytes, and bytes a second, None where its maker states none."""

    name: str
    kind: str  # JAX's name of the device
    memory: int  # HBM
    memory_bandwidth: float | None
    link_bandwidth: float | None  # sent over all of a chip's links (ICI)
    network_bandwidth: float | None  # sent to other slices (DCN)
    slices: tuple[str, ...]  # topologies that exist, smallest first

    @property
    def peak(self) -> float | None:
        """Dense bfloat16 products, FLOP/s."""
        return PEAK.get(self.kind)


_FLAT = ("1x1", "2x2", "2x4", "4x4", "4x8", "8x8", "8x16", "16x16")
_CUBES = (
    "2x2x1", "2x2x2", "2x2x4", "2x4x4", "4x4x4", "4x4x8", "4x8x8", "8x8x8", "8x8x16",
    "8x16x16", "16x16x16", "16x16x24",
)  # fmt: skip
_GB, _GIB = 1e9, 2**30
CHIPS = {
    chip.name: chip
    for chip in (
        Chip("v5e", "TPU v5 lite", 16 * _GIB, 819 * _GB, 200 * _GB, 3.125 * _GB, _FLAT),
        Chip("v5p", "TPU v5", 95 * _GIB, 2765 * _GB, 600 * _GB, 6.25 * _GB, _CUBES),
        Chip("v6e", "TPU v6 lite", 32 * _GIB, 1600 * _GB, 400 * _GB, 12.5 * _GB, _FLAT),
    )
}


@dataclasses.dataclass(frozen=True)
class Topology:
    """Slices of one size, joined by the data centre's network where there are several.

    Raises:
      ValueError: there is no such slice; names the nearest that exist.
    """

    chip: Chip
    shape: str  # chips along each axis, such as 4x4x4
    num_slices: int = 1

    def __post_init__(self):
        if self.num_slices < 1:
            raise ValueError(f"num_slices is {self.num_slices}; it must be at least 1")
        if self.shape not in self.chip.slices:
            raise ValueError(_refusal(self.chip, self.shape))

    @property
    def chips(self) -> int:
        """Of all slices together."""
        return self.num_slices * _size(self.shape)

    @property
    def name(self) -> str:
        """As `--topology` takes it."""
        return f"{self.chip.name}:{self.shape}"


def topology(name: str, num_slices: int = 1) -> Topology:
    """From "v5p:4x4x4".

    Raises:
      ValueError: no such chip, or no such slice; names those that exist.
    """
    chip, _, shape = name.partition(":")
    if chip not in CHIPS or not shape:
        raise ValueError(
            f"--topology={name}: give a chip of {', '.join(CHIPS)} and the shape of a "
            "slice, such as v5p:4x4x4; or here, for the devices of this machine"
        )
    return Topology(CHIPS[chip], shape, num_slices)


def _refusal(chip: Chip, shape: str) -> str:
    sizes = shape.split("x")
    if not all(size.isdigit() and int(size) for size in sizes):
        return f"{shape!r} is no shape of a slice; give one such as {chip.slices[3]}"
    wanted, largest = _size(shape), chip.slices[-1]
    said = f"there is no slice {chip.name}:{shape}"
    if wanted > _size(largest):
        return (
            f"{said}: {chip.name} ends at {largest}, {_size(largest)} chips. For "
            f"{wanted} chips take --topology={chip.name}:{largest} "
            f"--num_slices={math.ceil(wanted / _size(largest))}"
        )
    below = [one for one in chip.slices if _size(one) <= wanted][-1:]
    above = [one for one in chip.slices if _size(one) > wanted][:1]
    nearest = " and ".join(f"{chip.name}:{one}" for one in below + above)
    return f"{said} of {wanted} chips; the nearest that exist: {nearest}"


def _size(shape: str) -> int:
    return math.prod(int(size) for size in shape.split("x"))
