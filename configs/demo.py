"""The demo: pretrain at 128 tokens, extend eightfold, fine-tune, measure, report.

    make demo
    python -m experiments.demo --config=configs/demo.py --workdir=runs/demo

RECORD

What is fixed here was fixed before the run: windows of L/2 and L/4, Leaky's and
Self-Extend's far positions 16 times slower, scale 8 elsewhere. The decoder is
pretrained with log n scaling, as the best rows of the ReRoPE article are, so every row
keeps it; YaRN's own temperature, which makes up for the same lack, is therefore 1.

Source: arXiv 2403.00071 (Resonance-YaRN), kexue.fm 9708 (ReRoPE).
"""

from ml_collections import ConfigDict

TRAIN_LENGTH = 128  # tokens
SCALE = 8  # target length / train length, of every method that takes one
FAR_STEP = 16  # tokens per position beyond the window
LOG_N = {"log_n": "train", "train_length": "trained"}


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
                "num_windows": 32,  # one of each held-out document, then a second
                "num_repeated_windows": 12,
            },
        }
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
            "logic": {"name": "rope", "log_n": "train", "train_length": TRAIN_LENGTH},
        },
        "data": {
            "corpus": "sotu",
            "tokenizer": "bpe:1024",  # 2.9 bytes per token: three times the context
            "length": TRAIN_LENGTH,
            "batch_size": 16,
            "repeat_fraction": 0.2,  # so that copying from the context pays
        },
        "training": {
            "num_steps": 1800,
            "learning_rate": 4e-3,
            "final_learning_rate_fraction": 0.05,
            "warmup_steps": 180,
            "log_every": 50,
            "checkpoint_every": 200,
        },
        "validation": {"every": 600, "num_windows": 32},
        "seed": 0,
    }


def _finetune(resonance: bool) -> dict:
    return {
        "logic": _yarn(resonance),
        "data": {
            "corpus": "sotu",
            "tokenizer": "bpe:1024",
            "length": TRAIN_LENGTH * SCALE,  # few steps at the long length
            "batch_size": 2,
            "repeat_fraction": 0.2,
            "seed": 1,
        },
        "training": {
            "num_steps": 40,
            "learning_rate": 1e-3,
            "warmup_steps": 4,
            "log_every": 5,
            "checkpoint_every": 20,
        },
        "validation": {"every": 40, "num_windows": 8},
    }


def _yarn(resonance: bool) -> dict:
    options = {"scale": SCALE, "logit_scale": 1.0, "resonance": resonance}
    return {"name": "yarn", **LOG_N, **options}


def _encodings() -> list[dict]:
    scaled = {"scale": SCALE}
    half, quarter = {"window": "trained/2"}, {"window": "trained/4"}
    rows = {
        "RoPE": {"name": "rope"},
        "Resonance RoPE": {"name": "rope", "resonance": True},
        "PI": {"name": "interpolated", **scaled},
        "NTK-aware": {"name": "ntk_aware", **scaled},
        "NTK-old": {"name": "ntk_old", **scaled},
        "NTK-fixed": {"name": "ntk_fixed", **scaled},
        "NTK-mixed": {"name": "ntk_mixed", **scaled},
        "Dynamic NTK": {"name": "dynamic_ntk", "length": "measured"},
        "YaRN": _yarn(resonance=False),
        "Resonance-YaRN": _yarn(resonance=True),
        "Llama 3": {"name": "llama3", **scaled},
        "ReRoPE w=L/2": {"name": "rerope", **half},
        "ReRoPE w=L/4": {"name": "rerope", **quarter},
        "Leaky ReRoPE w=L/4": {"name": "leaky_rerope", **quarter, "step": FAR_STEP},
        "Self-Extend w=L/4": {"name": "self_extend", **quarter, "group": FAR_STEP},
        "YaRN, fine-tuned": {**_yarn(resonance=False), "model": "YaRN"},
        "Resonance-YaRN, fine-tuned": {
            **_yarn(resonance=True),
            "model": "Resonance-YaRN",
        },
    }
    return [{"label": label, **LOG_N, **row} for label, row in rows.items()]
