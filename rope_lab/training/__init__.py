"""Training: from a model, a source of batches and a position logic to parameters."""

from rope_lab.model.trees import from_nested
from rope_lab.training.checkpoint import Checkpoints, load_parameters
from rope_lab.training.config import TrainingConfig
from rope_lab.training.loop import train
from rope_lab.training.losses import cross_entropy
from rope_lab.training.mesh import MeshConfig, check_fits, make_mesh
from rope_lab.training.meta import run_meta
from rope_lab.training.metrics import MetricsWriter, read_metrics
from rope_lab.training.monitor import TrainingDiverged
from rope_lab.training.optimizer import make_optimizer, make_schedule
from rope_lab.training.progress import Progress
from rope_lab.training.sharding import created, global_batch, own_rows, placed
from rope_lab.training.state import TrainState, init_state
from rope_lab.training.step import make_train_step

__all__ = [
    "Checkpoints",
    "MeshConfig",
    "MetricsWriter",
    "Progress",
    "TrainState",
    "TrainingConfig",
    "TrainingDiverged",
    "check_fits",
    "created",
    "cross_entropy",
    "from_nested",
    "global_batch",
    "init_state",
    "load_parameters",
    "make_mesh",
    "make_optimizer",
    "make_schedule",
    "make_train_step",
    "own_rows",
    "placed",
    "read_metrics",
    "run_meta",
    "train",
]
