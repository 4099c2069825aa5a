"""Length extrapolation at the published size: 100M gated attention units, 512 tokens.

    python -m experiments.extrapolate --config=configs/rerope_100m.py \\
        --workdir=runs/rerope_100m --config.data.corpus=FOLDER_OF_TEXTS

Every row of configs/rerope_small.py, on Su's model of configs/gau_100m.py: trained at
512 tokens, read at 4,096. For an accelerator; not run here. The article gives neither
corpus nor steps; both are choices of gau_100m.py, and the corpus that comes with the
project is much too small. No training text is repeated, as in the article.

Sources: kexue.fm 9603, 9675, 9706, 9708, 9728, 9731, 9859; arXiv 2403.00071.
"""

import math

from ml_collections import ConfigDict

from rope_lab.cli import article_rows as rows

TRAIN_LENGTH = 512  # tokens
SCALE = 8  # length it is read at / training length
HEAD_DIM = 128
LOG_N = {"log_n": "train", "train_length": TRAIN_LENGTH}
SHAPE = (SCALE, HEAD_DIM, TRAIN_LENGTH)


def get_config() -> ConfigDict:
    """Keys of `StudyConfig`."""
    return ConfigDict(
        {
            "title": "Length extrapolation, the ReRoPE article at its size",
            "model": {
                "block": "gau",
                "num_layers": 24,
                "width": 768,
                "ff_width": 1536,  # values
                "num_heads": 1,
                "num_kv_heads": 1,
                "head_dim": HEAD_DIM,
                "dtype": "bfloat16",
            },
            "data": {
                "corpus": "sotu",
                "tokenizer": "bpe:12000",
                "length": TRAIN_LENGTH,
                "batch_size": 512,
            },
            "training": {
                "optimizer": "tiger",
                "num_steps": 30_000,
                "learning_rate": 1e-3,  # relative to each matrix's own size
                "warmup_steps": 1_000,
                "schedule": "linear",
                "clip_norm": None,
                "accumulation_steps": 8,
                "log_every": 100,
                "checkpoint_every": 1_000,
            },
            "validation": {"every": 1_000, "num_windows": 256},
            "trained": models(),
            "extrapolate": {
                "lengths": [TRAIN_LENGTH, TRAIN_LENGTH * SCALE],
                "num_windows": 256,
                "num_repeated_windows": 64,
                "far_repeat_length": 2 * TRAIN_LENGTH,  # truncation cannot copy it
            },
        }
    )


def models() -> list[dict]:
    """Those of the small study; windows of HWFA and HWFA2 are the articles' own."""
    rope, head = {"name": "rope"}, {"num_heads": 1}
    keys, queries, cosine = (
        {"model": {"qk_norm": norm}} for norm in ("keys", "queries", "cosine")
    )
    scaled = rope | {"softmax_scale": 4 * math.log(TRAIN_LENGTH)}  # our choice
    hwfa = {"name": "hwfa", "window": 16, "train_length": TRAIN_LENGTH}
    hwfa2 = {"name": "hwfa2", "window": 64, "full_layers": 2}
    inverse = {"name": "leaky_rerope", "window": TRAIN_LENGTH // 4, "step": 1 / 16}
    inverse |= LOG_N
    drawn = {"name": "randomized", "draw_from": 2 * SCALE * TRAIN_LENGTH}
    return [
        model("RoPE", rope, rows.without_log_n(*SHAPE)),
        model("RoPE, log n", rope | LOG_N, rows.with_log_n(*SHAPE)),
        model("HWFA", hwfa, [
            {"label": "HWFA", **hwfa},
            {"label": "Resonance HWFA", **hwfa, "resonance": True},
        ]),
        model("Inverse Leaky, log n", inverse, [
            {"label": "Inverse Leaky, log n", **rope, **LOG_N},
        ]),
        model("Inverse Leaky, base 80000, log n", inverse | {"base": 8e4}, [
            {"label": "Inverse Leaky, base 80000, log n", **rope, **LOG_N,
             "base": 8e4},
        ]),
        own("KeyNorm", rope, **keys),
        own("KeyNorm, log n", rope | LOG_N, **keys),
        own("QueryNorm", rope, **queries),
        own("QueryNorm, log n", rope | LOG_N, **queries),
        own("Cosine attention", scaled, **cosine),
        own("Cosine attention, log n", scaled | LOG_N, **cosine),
        model("HWFA2", hwfa2, [
            {"label": "HWFA2, ReRoPE w=L/2", **hwfa2, "rerope_window": "trained/2"},
        ]),
        model("Resonance RoPE", rope | {"resonance": True},
              rows.resonant(*SHAPE, suffix=", from the start")),
        model("HWFA, Resonance", hwfa | {"resonance": True}, [
            {"label": "Resonance HWFA, from the start", **hwfa, "resonance": True},
        ]),
        own("ALiBi", {"name": "alibi"} | head),
        own("NoPE", {"name": "nope"}),
        own("T5", {"name": "t5"} | head),
        own("FIRE", {"name": "fire"} | head),
        own("KERPLE, logarithmic", {"name": "kerple_log"} | head),
        own("KERPLE, power", {"name": "kerple_power"} | head),
        own("xPos", {"name": "xpos"}),
        model("Randomized", drawn, [
            {"label": "Randomized, drawn at test", **drawn},
            {"label": "Randomized, even at test", **drawn, "at_test": "even"},
        ]),
    ]  # fmt: skip


def model(label: str, logic: dict, of: list[dict], **changes) -> dict:
    """A `TrainedConfig`: how it is trained, its rows, what differs from the others."""
    return {"label": label, "logic": logic, "rows": of, **changes}


def own(label: str, logic: dict, **changes) -> dict:
    """A model that is read as it was trained, its only row."""
    return model(label, logic, [{"label": label, **logic}], **changes)
