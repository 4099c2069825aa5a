"""How long a step takes at least, if nothing but one part of a chip limits it.

The parts work side by side at best, so the step takes at least as long as the slowest
of them. Figures are of one device; none of them was measured.
"""

from __future__ import annotations

import dataclasses

from rope_lab.model import ModelConfig
from rope_lab.planning.chips import Chip
from rope_lab.planning.collectives import Traffic
from rope_lab.training.clock import training_flops


@dataclasses.dataclass(frozen=True)
class Roofline:
    """Seconds of a step."""

    compute: float  # model FLOPs, and the forward pass again where it is repeated
    memory: float  # HBM
    links: float  # ICI, all links busy
    network: float  # DCN
    model_flops: float  # of one device; causal half counted, nothing repeated

    @property
    def seconds(self) -> float:
        """At least."""
        return max(self.parts.values())

    @property
    def parts(self) -> dict[str, float]:
        """Name -> seconds."""
        names = "compute", "memory", "links", "network"
        return {name: getattr(self, name) for name in names}

    @property
    def bottleneck(self) -> str:
        """The part that takes longest."""
        return max(self.parts, key=self.parts.__getitem__)


def roofline(
    chip: Chip,
    model: ModelConfig,
    parameters: int,
    length: int,
    tokens: float,
    moved: float,
    traffic: list[Traffic],
) -> Roofline:
    """Of a step.

    Args:
      parameters: of the whole model.
      length: tokens of a sequence.
      tokens: of a step, divided by the number of devices.
      moved: bytes of `memory_traffic`.
      traffic: from `collectives`.
    """
    flops = training_flops(model, parameters, length) * tokens
    repeated = 4 / 3 if model.remat == "full" else 1.0
    sent = {between: 0.0 for between in (False, True)}
    for one in traffic:
        sent[one.between_slices] += one.sent_bytes
    return Roofline(
        compute=repeated * flops / chip.peak,
        memory=moved / chip.memory_bandwidth,
        links=sent[False] / chip.link_bandwidth,
        network=sent[True] / chip.network_bandwidth,
        model_flops=flops,
    )
