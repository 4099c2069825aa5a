"""The Flax decoder and its pure functions."""

from rope_lab.model.config import ModelConfig
from rope_lab.model.decoder import (
    Decoder,
    apply_model,
    build_logic,
    count_parameters,
    init_model,
    model_structure,
)

__all__ = [
    "Decoder",
    "ModelConfig",
    "apply_model",
    "build_logic",
    "count_parameters",
    "init_model",
    "model_structure",
]
