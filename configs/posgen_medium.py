"""PosGen at twice the width and the heads of configs/posgen_small.py.

    python -m experiments.posgen --config=configs/posgen_medium.py \\
        --workdir=runs/posgen_medium --config.page=experiments/posgen

One size more than configs/posgen_small.py, to see which of its orders are those of one
size: width 128 and two heads in place of 64 and one, four times the parameters. Killed
at any moment, the same command continues.

Took 1:41 hours on a core of an AMD EPYC, of which other programs had about half. Beyond
64 tokens, in percent, recursive / cot / semi_recursive: RoPE 53 / 62 / 24, with
Resonance 54 / 64 / 24, YaRN 69 / 69 / 30, with Resonance 70 / 74 / 31, with 1 to 17
between seeds; semi_recursive is not learned. Source: arXiv:2403.00071, section 6.1.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """Sections of `PosGenStudyConfig`."""
    yarn = {"name": "yarn", "scale": 4, "train_length": "trained"}
    return ConfigDict(
        {
            "size": "medium",
            "data": {"modulus": 17, "num_validation": 64, "num_test": 256},
            "cells": [
                {"subtask": "recursive"},
                {"subtask": "cot"},
                {"subtask": "semi_recursive"},
            ],
            "model": {
                "num_layers": 2,
                "width": 128,
                "ff_width": 341,
                "num_heads": 2,
                "num_kv_heads": 2,
                "head_dim": 64,
            },
            "training": {
                "num_steps": 500,
                "learning_rate": 2e-3,
                "warmup_steps": 50,
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
        }
    )
