"""PosGen at its published size (arXiv:2403.00071, section 6.1 and appendix C.1).

    python -m experiments.posgen --config=configs/posgen.py --workdir=runs/posgen \\
        --config.page=experiments/posgen

Two layers of width 512, modulus 17, 64 tokens in training and 256 in the test, 11,850
updates of 128 sequences, 5 seeds: 20 members of a cell in one program. The paper used a
V100; not run yet. Expected beyond 64 tokens, in percent, recursive / cot / semi: RoPE
65.3 / 69.6 / 18.0, with Resonance 62.6 / 75.3 / 29.8, YaRN 95.9 / 98.7 / 33.7, with
Resonance 98.3 / 99.6 / 48.5. The paper does not give YaRN's ramp; here it is YaRN's
own, from 1 to 32 turns in 64 tokens.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """Sections of `PosGenStudyConfig`."""
    yarn = {"name": "yarn", "scale": 4, "train_length": "trained"}
    return ConfigDict(
        {
            "size": "published",
            "data": {"modulus": 17},
            "cells": [
                {"subtask": "recursive"},
                {"subtask": "cot"},
                {"subtask": "semi_recursive"},
            ],
            "model": {
                "num_layers": 2,
                "width": 512,
                "ff_width": 1365,  # gated, with the parameters of 2048 plain ones
                "num_heads": 8,
                "num_kv_heads": 8,
                "head_dim": 64,
            },
            "training": {
                "num_steps": 11_850,
                "learning_rate": 2e-4,
                "warmup_steps": 1_185,
                "final_learning_rate_fraction": 0.0,
                "weight_decay": 0.01,
                "clip_norm": None,
                "b2": 0.999,
                "log_every": 79,
                "checkpoint_every": 790,
                "tensorboard": False,
            },
            "batch_size": 128,
            "encodings": [
                {"label": "RoPE", "name": "rope"},
                {"label": "Resonance RoPE", "name": "rope", "resonance": True},
                {"label": "YaRN", **yarn},
                {"label": "Resonance-YaRN", **yarn, "resonance": True},
            ],
            "seeds": [0, 1, 2, 3, 4],
            "validation_every": 158,  # two epochs
            "gain_steps": 10,
        }
    )
