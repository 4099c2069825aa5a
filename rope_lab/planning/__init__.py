"""What a training step needs of devices that are not there, from compilation alone."""

from rope_lab.planning.chips import CHIPS, Topology, topology
from rope_lab.planning.compiled import Work
from rope_lab.planning.plan import make_plan

__all__ = ["CHIPS", "Topology", "Work", "make_plan", "topology"]
