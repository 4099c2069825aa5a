"""An encoding of your own beside plain RoPE: both trained, both measured.

    rope-lab extrapolate --config=configs/own_encoding.py --workdir=runs/mine
    python -m experiments.extrapolate --config=configs/own_encoding.py --workdir=...

A place to begin: copy it, change `mine`, and run it. The function below is the whole
encoding; the row makes it known wherever this config is read. Two decoders of 0.2
million parameters learn 64 tokens at a time and are read at 128 and 256. Killed and
started again, it continues; what was trained before `mine` changed belongs to another
workdir.

Source: none. Neighbours of three share a position here, so that the order of words
within a group is lost: worse than RoPE near by, and less new far away.
"""

from ml_collections import ConfigDict

from rope_lab.logic import CATALOGUE, Band, PositionMap
from rope_lab.logic.catalogue import Entry

TRAIN_LENGTH = 64  # tokens
GROUP = {"name": "mine", "group": 3}


def mine(setting, *, group, frequencies=None):
    """Position // group, for queries and for keys."""
    shared = PositionMap(divide=group)
    return (Band(setting.plain_or(frequencies), alpha=shared, beta=shared),)


CATALOGUE["mine"] = Entry(mine, "neighbours share a position", "from the start")


def get_config() -> ConfigDict:
    """Keys of `StudyConfig`."""
    return ConfigDict(
        {
            "title": "My encoding beside plain RoPE",
            "model": {
                "num_layers": 2,
                "width": 64,
                "ff_width": 160,
                "num_heads": 2,
                "num_kv_heads": 2,
                "head_dim": 32,
            },
            "data": {
                "corpus": "sotu",
                "tokenizer": "bpe:1024",
                "length": TRAIN_LENGTH,
                "batch_size": 16,
            },
            "training": {
                "num_steps": 400,
                "learning_rate": 5e-3,
                "warmup_steps": 40,
                "log_every": 50,
                "checkpoint_every": 200,
            },
            "validation": {"every": 200, "num_windows": 16},
            "trained": [
                trained("RoPE", {"name": "rope"}),
                trained("mine", GROUP),
            ],
            "extrapolate": {
                "lengths": [TRAIN_LENGTH, 2 * TRAIN_LENGTH, 4 * TRAIN_LENGTH],
                "num_windows": 16,
                "num_repeated_windows": 0,
            },
        }
    )


def trained(label: str, logic: dict) -> dict:
    """A model, and its one row: it is read as it was trained."""
    return {"label": label, "logic": logic, "rows": [{"label": label, **logic}]}
