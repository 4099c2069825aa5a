"""What every function of the catalogue gets, whatever the encoding."""

from __future__ import annotations

import dataclasses

from rope_lab import rotary
from rope_lab.logic.options import DEFAULT_BASE
from rope_lab.rotary import Frequencies


@dataclasses.dataclass(frozen=True)
class Setting:
    """What every builder gets: head_dim, base, whether to round, and options of all."""

    name: str
    head_dim: int
    base: float
    resonance: bool
    log_n: str
    sliding_window: int | None = None

    def finish(self, frequencies: Frequencies) -> Frequencies:
        """Scale first, then round: the last step of every rotary builder."""
        return rotary.resonance(frequencies) if self.resonance else frequencies

    def plain_or(self, frequencies: Frequencies | None) -> Frequencies:
        """The user's frequencies in place of RoPE's own, or RoPE's own."""
        if frequencies is None:
            return self.finish(rotary.rope(self.head_dim, self.base))
        if not isinstance(frequencies, Frequencies):
            raise ValueError(
                f"{self.name}: frequencies must be a rope_lab.rotary.Frequencies, as "
                "the functions of rotary return, got "
                f"{type(frequencies).__name__}; a config cannot spell one"
            )
        if self.base != DEFAULT_BASE:
            raise ValueError(
                f"{self.name}: base={self.base} means nothing beside frequencies=; "
                "build the frequencies with that base"
            )
        if 2 * frequencies.planes > self.head_dim:
            raise ValueError(
                f"{self.name}: {frequencies.planes} planes need head_dim >= "
                f"{2 * frequencies.planes}, got {self.head_dim}"
            )
        return self.finish(frequencies)
