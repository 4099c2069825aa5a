"""Which modulus a small decoder learns: 5, 7, 11 or 17, on all three sub-tasks.

    python -m experiments.posgen --config=configs/posgen_modulus.py \\
        --workdir=runs/posgen_modulus --config.page=experiments/posgen

The model and the updates are those of configs/posgen_small.py; RoPE alone and one seed.
Each modulus trains on the prefixes that validation and test leave, 10,000 at most.
Twelve cells of 500 updates took 2.4 minutes of training on one core of an AMD EPYC, and
19 on two slower ones that did much else. Every modulus is learned in 100 to 250 updates
on recursive and cot, none on semi_recursive: so nothing speaks against the published
17. See experiments/posgen/README.md.
"""

from ml_collections import ConfigDict

TRAIN = {5: 500, 7: 2_272, 11: 10_000, 17: 10_000}  # 5**4 = 625, 7**4 = 2401


def get_config() -> ConfigDict:
    """Sections of `PosGenStudyConfig`."""
    return ConfigDict(
        {
            "size": "modulus",
            "data": {"num_validation": 61, "num_test": 64},
            "cells": [
                {"subtask": subtask, "modulus": modulus, "num_train": count}
                for subtask in ("recursive", "cot", "semi_recursive")
                for modulus, count in TRAIN.items()
            ],
            "model": {
                "num_layers": 2,
                "width": 64,
                "ff_width": 170,
                "num_heads": 1,
                "num_kv_heads": 1,
                "head_dim": 64,
            },
            "training": {
                "num_steps": 500,
                "learning_rate": 3e-3,
                "warmup_steps": 50,
                "final_learning_rate_fraction": 0.0,
                "weight_decay": 0.01,
                "log_every": 50,
                "checkpoint_every": 100,
                "tensorboard": False,
            },
            "batch_size": 32,
            "encodings": [{"label": "RoPE", "name": "rope"}],
            "seeds": [0],
            "validation_every": 50,
        }
    )
