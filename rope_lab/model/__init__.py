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
from rope_lab.model.generate import Generated, generate, stream

__all__ = [
    "Decoder",
    "Generated",
    "ModelConfig",
    "apply_model",
    "build_logic",
    "count_parameters",
    "generate",
    "init_model",
    "model_structure",
    "stream",
]
