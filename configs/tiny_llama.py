"""A Llama of random numbers, for the smoke kinds of the configs of published sizes.

    python -m experiments.pretrain --config=configs/tiny_llama.py \\
        --workdir=runs/tiny_llama

One step, 20 seconds with what it compiles. What the others do with it is what they do
with the published weights, and says nothing of language.
"""

from ml_collections import ConfigDict

from rope_lab.cli.published_sizes import TINY_LENGTH, TINY_MODEL


def get_config() -> ConfigDict:
    """Sections of `PretrainConfig`."""
    return ConfigDict(
        {
            "model": {**TINY_MODEL, "logic": {"name": "rope"}},
            "data": {
                "corpus": "sotu",
                "tokenizer": "bytes",
                "length": TINY_LENGTH,
                "batch_size": 4,
            },
            "training": {"num_steps": 1, "learning_rate": 1e-3},
            "validation": {"every": 1, "num_windows": 2},
        },
    )
