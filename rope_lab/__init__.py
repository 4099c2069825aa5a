"""rope_lab: position encodings and length extrapolation, in JAX and Flax."""

from rope_lab import rotary
from rope_lab.attention import attend
from rope_lab.logic import (
    PositionLogic,
    logic_from_dict,
    position_logic,
    relative_positions,
)
from rope_lab.model.generate import generate
from rope_lab.rotary import Frequencies

__version__ = "0.1.0"

__all__ = [
    "Frequencies",
    "PositionLogic",
    "attend",
    "generate",
    "logic_from_dict",
    "position_logic",
    "relative_positions",
    "rotary",
]
