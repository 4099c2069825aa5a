"""PosGen at a size that two CPU cores train in an evening: see configs/posgen.py.

    python -m experiments.posgen --config=configs/posgen_small.py \\
        --workdir=runs/posgen_small --config.page=experiments/posgen

4 encodings x 3 seeds in one program, sub-task by sub-task; 64 tokens in training, 256
in the test, head_dim 64 and modulus 17 as published, width 64 and one head. The modulus
is the largest of configs/posgen_modulus.py, since the small model learns recursive and
cot under it too, in 250 updates. Nothing of this size has learned semi_recursive: it
stays at the short cut that experiments/posgen describes. Killed at any moment, the same
command continues.

Took 2:07 hours on one core of an AMD EPYC that other programs shared (a step of all 12
members 1.4 s). Beyond 64 tokens, in percent, recursive / cot / semi_recursive: RoPE
63 / 54 / 34, with Resonance 62 / 61 / 34, YaRN 57 / 55 / 26, with Resonance 56 / 54 /
27, with 4 to 33 between seeds. Source: arXiv:2403.00071, section 6.1.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """Sections of `PosGenStudyConfig`."""
    yarn = {"name": "yarn", "scale": 4, "train_length": "trained"}
    return ConfigDict(
        {
            "size": "small",
            "data": {"modulus": 17, "num_validation": 64, "num_test": 256},
            "cells": [
                {"subtask": "recursive"},
                {"subtask": "cot"},
                {"subtask": "cot", "prefixes": "released"},
                {"subtask": "semi_recursive", "num_steps": 3_000},
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
                "num_steps": 1_000,
                "learning_rate": 3e-3,
                "warmup_steps": 100,
                "final_learning_rate_fraction": 0.0,
                "weight_decay": 0.01,
                "log_every": 20,
                "checkpoint_every": 100,
                "tensorboard": False,
            },
            "batch_size": 32,
            "encodings": [
                {"label": "RoPE", "name": "rope"},
                {"label": "Resonance RoPE", "name": "rope", "resonance": True},
                {"label": "YaRN", **yarn},
                {"label": "Resonance-YaRN", **yarn, "resonance": True},
            ],
            "seeds": [0, 1, 2],
            "validation_every": 100,
            "gain_steps": 10,
        }
    )
