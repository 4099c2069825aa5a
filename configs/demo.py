"""The demo: pretrain at 128 tokens, extend eightfold, fine-tune, measure, report.

    make demo
    python -m experiments.demo --config=configs/demo.py --workdir=runs/demo

Took 14 to 16 minutes on 2 cores of an AMD EPYC without AVX-512, installation aside
(pretraining 8:20 to 9:40, the fine-tunings 0:47 each, measuring 4:10). Seed 0; results
at commit fea9d51 in docs/demo_results.json; two runs of one commit agree to six digits.
Loss in nats per token at 128 and at 1024 tokens, and the paired difference to truncated
context beyond 128:

    truncated                   3.089  3.029
    ReRoPE w=L/2                3.089  3.036  +0.008 [+0.004, +0.012]
    Leaky ReRoPE w=L/4          3.090  3.036  +0.008 [+0.004, +0.012]
    Self-Extend w=L/4           3.091  3.036  +0.008 [+0.004, +0.011]
    ReRoPE w=L/4                3.091  3.043  +0.016 [+0.010, +0.021]
    YaRN, fine-tuned            3.153  3.090  +0.061 [+0.054, +0.069]
    Resonance-YaRN, fine-tuned  3.151  3.092  +0.063 [+0.055, +0.071]
    YaRN                        3.144  3.112  +0.086 [+0.078, +0.095]
    Resonance-YaRN              3.144  3.117  +0.092 [+0.085, +0.101]
    Llama 3                     3.146  3.154  +0.134 [+0.125, +0.143]
    NTK-mixed                   3.204  3.280  +0.271 [+0.259, +0.285]
    NTK-fixed                   3.122  3.364  +0.378 [+0.360, +0.398]
    NTK-aware                   3.106  3.401  +0.421 [+0.401, +0.443]
    Dynamic NTK                 3.089  3.401  +0.421 [+0.401, +0.443]
    NTK-old                     3.105  3.431  +0.456 [+0.436, +0.478]
    Resonance RoPE              3.090  3.719  +0.789 [+0.759, +0.821]
    RoPE                        3.089  3.720  +0.790 [+0.762, +0.822]
    PI                          3.941  3.974  +0.965 [+0.932, +1.000]

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
