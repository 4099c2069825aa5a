"""Position logics: what attention calls."""

from rope_lab.logic.bands import (
    Band,
    PositionLogic,
    relative_positions,
)
from rope_lab.logic.catalogue import CATALOGUE, position_logic
from rope_lab.logic.hybrid import (
    PATTERNS,
    hwfa,
    hwfa2,
    largest_window,
    receptive_field,
)
from rope_lab.logic.maps import PositionMap
from rope_lab.logic.serialise import logic_from_dict
from rope_lab.logic.temperature import Temperature

__all__ = [
    "CATALOGUE",
    "PATTERNS",
    "Band",
    "PositionLogic",
    "PositionMap",
    "Temperature",
    "hwfa",
    "hwfa2",
    "largest_window",
    "logic_from_dict",
    "position_logic",
    "receptive_field",
    "relative_positions",
]
