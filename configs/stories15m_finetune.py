"""stories15M, fine-tuned to 8 times its length as the Resonance paper does.

    python -m experiments.sample_stories --output=runs/stories/training \\
        --checkpoint=weights/stories15M/stories15M.bin --seed=1000 --count=800
    python -m experiments.finetune --config=configs/stories15m_finetune.py \\
        --workdir=runs/stories/resonance_yarn_long

The first strategy, few steps at the long length, with Resonance-YaRN. The second, the
same number of tokens in more steps at the short one, in runs/stories/..._short:

    --config.data.length=256 --config.training.num_steps=200

YaRN, in runs/stories/yarn_long and runs/stories/yarn_short:

    --config.logic.resonance=False

The text is what the model wrote itself, from other seeds than the stories that
configs/stories15m.py measures on; on TinyStories, --config.data.corpus=FOLDER. Such
text has nothing to teach but the new positions. configs/stories15m_finetuned.py
measures the four models.

On one core of an AMD EPYC sampling took 7 minutes, a model 6 to 9. The loss at 2,048
tokens falls by 0.18 nats in long steps and by 0.07 in short ones. Results:
experiments/stories/finetuned.

Source: arXiv 2403.00071, section 5.2 and appendix C.2, at a learning rate for a model
of this size.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """Keys of `FinetuneConfig`."""
    return ConfigDict(
        {
            "checkpoint": "runs/stories/model",
            "logic": {
                "name": "yarn",
                "scale": 8,  # target length / training length
                "train_length": "trained",
                "resonance": True,
            },
            "data": {
                "corpus": "runs/stories/training",
                "tokenizer": "runs/stories/model/tokenizer.model",
                "length": 2048,  # tokens
                "batch_size": 4,
                "seed": 1,
            },
            "training": {
                "num_steps": 25,
                "learning_rate": 1e-4,
                "warmup_steps": 5,
                "log_every": 5,
                "checkpoint_every": 5,
                "tensorboard": False,
            },
            "validation": {"every": 25, "num_windows": 4, "packed": True},
        }
    )
