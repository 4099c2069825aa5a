"""Position logics: what attention calls."""

from rope_lab.logic.bands import (
    Band,
    PositionLogic,
    PositionMap,
    relative_positions,
)
from rope_lab.logic.catalogue import CATALOGUE, position_logic
from rope_lab.logic.serialise import logic_from_dict
from rope_lab.logic.temperature import Temperature

__all__ = [
    "CATALOGUE",
    "Band",
    "PositionLogic",
    "PositionMap",
    "Temperature",
    "logic_from_dict",
    "position_logic",
    "relative_positions",
]
