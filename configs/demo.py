"""The demo (record to come)."""

from ml_collections import ConfigDict

TRAIN_LENGTH = 128  # tokens
SCALE = 8  # target length / train length, of every method that takes one


def get_config() -> ConfigDict:
    """Sections pretrain, finetune and extrapolate of `DemoConfig`."""
    return ConfigDict(
        {
            "pretrain": _pretrain(),
            "finetune": {
                "YaRN": _finetune(resonance=False),
                "Resonance-YaRN": _finetune(resonance=True),
            },
            "extrapolate": {
                "encodings": _encodings(),
                "lengths": [TRAIN_LENGTH * factor for factor in (1, 2, 4, SCALE)],
                "num_windows": 48,
                "num_repeated_windows": 24,
            },
        },
    )


def _pretrain() -> dict:
    return {
        "model": {
            "num_layers": 4,
            "width": 128,
            "ff_width": 320,
            "num_heads": 4,
            "num_kv_heads": 4,
            "head_dim": 32,
            "logic": {"name": "rope"},
        },
        "data": {
            "corpus": "sotu",
            "tokenizer": "bpe:1024",
            "length": TRAIN_LENGTH,
            "batch_size": 16,
            "repeat_fraction": 0.2,
        },
        "training": {
            "num_steps": 1800,
            "learning_rate": 4e-3,
            "warmup_steps": 150,
            "log_every": 50,
            "checkpoint_every": 300,
        },
        "validation": {"every": 600, "num_windows": 32},
        "seed": 0,
    }


def _finetune(resonance: bool) -> dict:
    return {
        "logic": {
            "name": "yarn",
            "scale": SCALE,
            "train_length": "trained",
            "resonance": resonance,
        },
        "data": {
            "corpus": "sotu",
            "tokenizer": "bpe:1024",
            "length": TRAIN_LENGTH * SCALE,
            "batch_size": 2,
            "repeat_fraction": 0.2,
            "seed": 1,
        },
        "training": {
            "num_steps": 60,
            "learning_rate": 1e-3,
            "warmup_steps": 6,
            "log_every": 10,
            "checkpoint_every": 30,
        },
        "validation": {"every": 60, "num_windows": 8},
    }


def _encodings() -> list[dict]:
    scaled = {"scale": SCALE}
    trained = {"train_length": "trained"}
    half, quarter = {"window": "trained/2"}, {"window": "trained/4"}
    yarn = {"name": "yarn", **scaled, **trained}
    resonance_yarn = {**yarn, "resonance": True}
    rows = {
        "RoPE": {"name": "rope"},
        "Resonance RoPE": {"name": "rope", "resonance": True},
        "PI": {"name": "interpolated", **scaled},
        "NTK-aware": {"name": "ntk_aware", **scaled},
        "NTK-old": {"name": "ntk_old", **scaled},
        "NTK-fixed": {"name": "ntk_fixed", **scaled},
        "NTK-mixed": {"name": "ntk_mixed", **scaled},
        "Dynamic NTK": {"name": "dynamic_ntk", **trained, "length": "measured"},
        "YaRN": yarn,
        "Resonance-YaRN": resonance_yarn,
        "Llama 3": {"name": "llama3", **scaled, **trained},
        "ReRoPE w=L/2": {"name": "rerope", **half},
        "ReRoPE w=L/4": {"name": "rerope", **quarter},
        "Leaky ReRoPE w=L/4": {"name": "leaky_rerope", **quarter, "step": 16},
        "Self-Extend w=L/4": {"name": "self_extend", **quarter, "group": 16},
        "YaRN, fine-tuned": {**yarn, "model": "YaRN"},
        "Resonance-YaRN, fine-tuned": {**resonance_yarn, "model": "Resonance-YaRN"},
    }
    return [{"label": label, **row} for label, row in rows.items()]
