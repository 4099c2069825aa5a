"""Fine-tune that decoder with Resonance-YaRN at eight times its length.

    python -m experiments.finetune --config=configs/finetune.py --workdir=runs/long

The paper's first strategy, few steps at the long length. Its second, the same number of
tokens in more steps at the short one:

    --config.data.length=128 --config.training.num_steps=160

Took 3 minutes on two busy CPU cores. Source: arXiv 2403.00071, appendix C.2.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """Sections of `FinetuneConfig`."""
    return ConfigDict(
        {
            "checkpoint": "runs/base",
            "logic": {
                "name": "yarn",
                "scale": 8,  # target length / training length
                "train_length": "trained",
                "resonance": True,
            },
            "data": {
                "corpus": "sotu",
                "tokenizer": "bpe:1024",
                "length": 1024,  # tokens
                "batch_size": 2,
                "seed": 1,
            },
            "training": {
                "num_steps": 20,
                "learning_rate": 1e-3,
                "warmup_steps": 2,
                "log_every": 5,
                "checkpoint_every": 10,
            },
            "validation": {"every": 20, "num_windows": 4},
        },
    )
