"""Better wavelengths than rounded ones? A search on PosGen at a size for two CPU cores.

    python -m experiments.wavelengths --config=configs/wavelengths_small.py \\
        --workdir=runs/wavelengths --config.page=experiments/wavelengths

Two-layer decoders of width 64, two heads of 32 dims (16 planes), learn 64 tokens and
are measured on 256. The search scores candidates on the sub-tasks recursive and cot of
modulus 7, two models each; the report is on modulus 11, three models of other seeds
each, for every row trained with RoPE and with the row. Semi-recursive is left out: no
model of this size learns it (experiments/posgen). 40 models train on 0.4 million tokens
each: at 20,000 tokens a second, what two free cores do, a run with both searches takes
25 minutes. That is an estimate; the page says what its run took. Killed at any moment,
the same command continues.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """Sections of `WavelengthsConfig`."""
    yarn = {"name": "yarn", "scale": 4, "train_length": "trained"}
    searched = {"modulus": 7, "num_train": 2_000, "num_validation": 64}
    held_out = {"modulus": 11, "num_train": 10_000, "num_validation": 16}
    return ConfigDict(
        {
            "data": {"num_test": 128},
            "search": [
                {"subtask": "recursive", **searched},
                {"subtask": "cot", **searched},
            ],
            "held_out": [
                {"subtask": "recursive", **held_out},
                {"subtask": "cot", **held_out},
            ],
            "model": {
                "num_layers": 2,
                "width": 64,
                "ff_width": 170,
                "num_heads": 2,
                "num_kv_heads": 2,
                "head_dim": 32,
            },
            "training": {
                "num_steps": 400,
                "learning_rate": 3e-3,
                "warmup_steps": 50,
                "final_learning_rate_fraction": 0.0,
                "weight_decay": 0.01,
                "log_every": 20,
                "checkpoint_every": 100,
                "tensorboard": False,
            },
            "batch_size": 16,
            "encodings": [
                {"label": "RoPE", "name": "rope"},
                {"label": "Resonance RoPE", "name": "rope", "resonance": True},
                {"label": "YaRN", **yarn},
                {"label": "Resonance-YaRN", **yarn, "resonance": True},
            ],
            "search_seeds": [0, 1],
            "report_seeds": [2, 3, 4],
            "gradient": {"steps": 150, "learning_rate": 3e-3, "starts": 4},
            "evolution": {"steps": 100, "population": 16, "parents": 4},
            "validation_every": 200,
        }
    )
