"""What a training step needs of devices that are not there, and of those that are."""

from rope_lab.planning.chips import CHIPS, Topology, topology
from rope_lab.planning.compiled import Work
from rope_lab.planning.here import local_topology, made_up, measured
from rope_lab.planning.plan import make_plan

__all__ = [
    "CHIPS",
    "Topology",
    "Work",
    "local_topology",
    "made_up",
    "make_plan",
    "measured",
    "topology",
]
