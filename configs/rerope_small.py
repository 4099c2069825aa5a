"""Length extrapolation at a small size: every row of the ReRoPE article, and more.

    rope-lab extrapolate --config=configs/rerope_small.py --workdir=runs/rerope_small
    python -m experiments.extrapolate --config=configs/rerope_small.py --workdir=...

Models are trained at 128 tokens on State of the Union addresses and read at 1,024;
each then serves all of its rows. On two cores of an AMD EPYC a model trains at 27,000
tokens/s, in 4 minutes; measuring takes 2 minutes for the one with 38 rows, of one row
less than half: about 2 hours for the 22 models. On one core of older ones it is 13 to
20 minutes and 1 to 15. Killed and started again, it continues, and
`--config.earlier=experiments/rerope/results.json` goes on from the page alone. Results:
experiments/rerope, RoPE, NTK-mixed, YaRN and ReRoPE w=L/2 at 32, 27, 86 and 87 % of
repeated text at 8 times the length. At a learning rate of 5e-3 most models hardly learn
text, and the order of the rows is another one.

The two models of all untuned rows with other seeds, to see what they vary by:

    --config=configs/rerope_small.py:plain --config.seed=1 --config.data.seed=1

With MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=2147483647 MALLOC_ARENA_MAX=1 in the
environment, so that glibc keeps its memory, it trains a fourth faster.

Sources: kexue.fm 9603, 9675, 9706, 9708, 9728, 9859; arXiv 2403.00071 (Resonance).
"""

import math

from ml_collections import ConfigDict

from rope_lab.cli import article_rows as rows

TRAIN_LENGTH = 128  # tokens
SCALE = 8  # length it is read at / training length
HEAD_DIM = 32
HEADS = 4
LOG_N = {"log_n": "train", "train_length": TRAIN_LENGTH}
SHAPE = (SCALE, HEAD_DIM, TRAIN_LENGTH)
PAGE = "experiments/rerope"
AGAIN = ()  # names of other trainings, experiments/rerope/again


def get_config(kind: str = "") -> ConfigDict:
    """Keys of `StudyConfig`; kind "plain": of the two models with RoPE alone."""
    plain = kind == "plain"
    return ConfigDict(
        {
            "title": "Length extrapolation, the ReRoPE article at a small size",
            "other_size": None if plain else f"{PAGE}/smaller/results.json",
            "again": [] if plain else [f"{PAGE}/again/{name}.json" for name in AGAIN],
            "model": {
                "num_layers": 4,
                "width": 128,
                "ff_width": 320,
                "num_heads": HEADS,
                "num_kv_heads": HEADS,
                "head_dim": HEAD_DIM,
            },
            "data": {
                "corpus": "sotu",
                "tokenizer": "bpe:1024",
                "length": TRAIN_LENGTH,
                "batch_size": 16,
                "repeat_first": 19_200,  # 1,200 steps of copying alone
                "repeat_fraction": 0.25,
                "repeat_random": 0.4,
                "repeat_shortest": 8,
                "repeat_longest": 112,  # copies at every distance: none by distance
            },
            "training": {
                "num_steps": 2700,
                "learning_rate": 3e-3,
                "final_learning_rate_fraction": 0.05,
                "warmup_steps": 120,
                "log_every": 50,
                "checkpoint_every": 300,
                "spike_factor": None,  # the first text after the copies is one
                "tensorboard": False,
            },
            "validation": {"every": 800, "num_windows": 32},
            "trained": models()[:2] if plain else models(),
            "extrapolate": {
                "lengths": [TRAIN_LENGTH, TRAIN_LENGTH * SCALE],
                "num_windows": 32,
                "num_repeated_windows": 16,
                "far_repeat_length": 2 * TRAIN_LENGTH,  # truncation cannot copy it
            },
        }
    )


def models() -> list[dict]:
    """The article's first; then Resonance, then encodings trained from the start."""
    rope, heads = {"name": "rope"}, {"num_heads": HEADS}
    keys, queries, cosine = (
        {"model": {"qk_norm": norm}} for norm in ("keys", "queries", "cosine")
    )
    scaled = rope | {"softmax_scale": 4 * math.log(TRAIN_LENGTH)}  # our choice
    inverse = {"name": "leaky_rerope", "window": TRAIN_LENGTH // 4, "step": 1 / 16}
    inverse |= LOG_N
    drawn = {"name": "randomized", "draw_from": 2 * SCALE * TRAIN_LENGTH}
    hwfa2 = {"name": "hwfa2", "window": 32}
    return [
        model("RoPE", rope, rows.without_log_n(*SHAPE)),
        model("RoPE, log n", rope | LOG_N, rows.with_log_n(*SHAPE)),
        model("HWFA", hwfa(), [
            {"label": "HWFA", "layers": hwfa()},
            {"label": "Resonance HWFA", "layers": hwfa(resonance=True)},
        ]),
        model("Inverse Leaky, log n", inverse, [
            {"label": "Inverse Leaky, log n", **rope, **LOG_N},
        ]),
        model("Inverse Leaky, base 80000, log n", inverse | {"base": 8e4}, [
            {"label": "Inverse Leaky, base 80000, log n", **rope, **LOG_N,
             "base": 8e4},
        ]),
        model("Resonance RoPE", rope | {"resonance": True},
              rows.resonant(*SHAPE, suffix=", from the start")),
        own("KeyNorm", rope, **keys),
        own("KeyNorm, log n", rope | LOG_N, **keys),
        own("QueryNorm", rope, **queries),
        own("QueryNorm, log n", rope | LOG_N, **queries),
        own("Cosine attention", scaled, **cosine),
        own("Cosine attention, log n", scaled | LOG_N, **cosine),
        model("HWFA, Resonance", hwfa(resonance=True), [
            {"label": "Resonance HWFA, from the start",
             "layers": hwfa(resonance=True)},
        ]),
        own("ALiBi", {"name": "alibi"} | heads),
        own("NoPE", {"name": "nope"}),
        own("T5", {"name": "t5"} | heads),
        own("FIRE", {"name": "fire"} | heads),
        own("KERPLE, logarithmic", {"name": "kerple_log"} | heads),
        own("xPos", {"name": "xpos"}),
        model("Randomized", drawn, [
            {"label": "Randomized, drawn at test", **drawn},
            {"label": "Randomized, even at test", **drawn, "at_test": "even"},
        ]),
        model("HWFA2", hwfa2, [
            {"label": "HWFA2, ReRoPE w=L/2", **hwfa2, "rerope_window": "trained/2"},
        ]),
        own("KERPLE, power", {"name": "kerple_power"} | heads),
    ]  # fmt: skip


def hwfa(**options) -> list[dict]:
    """Three layers that see 32 keys (94 tokens through all), a full one on top."""
    window = {"name": "rope", "sliding_window": 32, **options}
    return [window] * 3 + [{"name": "nope", **LOG_N}]


def model(label: str, logic: dict, of: list[dict], **changes) -> dict:
    """A `TrainedConfig`: how it is trained, its rows, what differs from the others."""
    return {"label": label, "logic": logic, "rows": of, **changes}


def own(label: str, logic: dict, **changes) -> dict:
    """A model that is read as it was trained, its only row."""
    return model(label, logic, [{"label": label, **logic}], **changes)
