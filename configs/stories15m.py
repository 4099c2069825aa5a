"""The ReRoPE article's experiment on a small language model that others trained.

    python -m experiments.fetch_weights weights stories15M
    rope-lab import weights/stories15M/stories15M.bin --workdir=runs/stories/model
    python -m experiments.sample_stories --output=runs/stories/sampled \\
        --checkpoint=weights/stories15M/stories15M.bin
    python -m experiments.extrapolate --config=configs/stories15m.py \\
        --workdir=runs/stories/untuned --config.page=experiments/stories

stories15M (llama2.c, trained on TinyStories at 256 tokens) without fine-tuning, at 1,
2, 4, 8 and 16 times that length: loss and accuracy on stories packed one after the
other, and on one story repeated. TinyStories itself is not here: give a folder of its
texts by `--config.documents=FOLDER`, or measure on 200 stories that the model wrote
itself. Not run whole yet.

Published, on Llama-2 13B: loss at 4,096, 8,192 and 16,384 tokens, see the page.
"""

from ml_collections import ConfigDict

TRAINED = {"train_length": "trained"}
SCALED = {"length": "measured", **TRAINED}
PLAIN = [
    {"label": "RoPE", "name": "rope"},
    {"label": "PI", "name": "interpolated", **SCALED},
    {"label": "NTK-aware", "name": "ntk_aware", **SCALED},
    {"label": "NTK-old", "name": "ntk_old", **SCALED},
    {"label": "NTK-fixed", "name": "ntk_fixed", **SCALED},
    {"label": "NTK-mixed", "name": "ntk_mixed", **SCALED},
    {"label": "Dynamic NTK", "name": "dynamic_ntk", **SCALED},
    {"label": "YaRN", "name": "yarn", **SCALED},
    {"label": "Resonance RoPE", "name": "rope", "resonance": True},
    {"label": "Resonance-YaRN", "name": "yarn", "resonance": True, **SCALED},
    {"label": "ReRoPE w=L/4", "name": "rerope", "window": "trained/4"},
    {"label": "ReRoPE w=L/2", "name": "rerope", "window": "trained/2"},
    {"label": "ReRoPE w=L", "name": "rerope", "window": "trained"},
    {"label": "Leaky ReRoPE w=L/2 k=16", "name": "leaky_rerope", "window": "trained/2",
     "step": 16},
    {"label": "Self-Extend w=L/4", "name": "self_extend", "window": "trained/4",
     "group": 16},
    {"label": "Dual chunk", "name": "dual_chunk", "chunk_length": "trained/2",
     "local_window": "trained/4"},
]  # fmt: skip


def get_config() -> ConfigDict:
    """Keys of `ExtrapolateConfig`."""
    at_test = {"log_n": "test", **TRAINED}
    return ConfigDict(
        {
            "title": "stories15M beyond the length it was trained at",
            "models": {"pretrained": "runs/stories/model"},
            "documents": "runs/stories/sampled",
            "packed": True,
            "encodings": PLAIN
            + [
                row | at_test | {"label": f"{row['label']} †"}
                for row in PLAIN
                if "Resonance" not in row["label"]
            ],
            "lengths": [256, 512, 1024, 2048, 4096],
            "num_windows": 9,  # of the longest; as many more of the shorter
            "num_repeated_windows": 6,
        }
    )
