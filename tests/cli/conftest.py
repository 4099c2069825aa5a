"""A corpus of small documents and configs that train on it in seconds."""

import random

import pytest

WORDS = ("the", "of", "union", "state", "congress", "people", "year", "peace")


@pytest.fixture(scope="session")
def corpus(tmp_path_factory):
    """A folder of 24 text files of about 1,000 bytes."""
    folder = tmp_path_factory.mktemp("corpus")
    rng = random.Random(0)
    for number in range(24):
        text = " ".join(rng.choice(WORDS) for _ in range(160))
        (folder / f"{number}.txt").write_text(text)
    return folder


@pytest.fixture
def settings(corpus, tmp_path):
    """Nested dicts of a `PretrainConfig`, to change and to write down."""
    return {
        "model": {
            "num_layers": 1,
            "width": 16,
            "ff_width": 32,
            "num_heads": 2,
            "num_kv_heads": 1,
            "head_dim": 8,
            "logic": {"name": "rope"},
        },
        "data": {
            "corpus": str(corpus),
            "tokenizer": "bytes",
            "length": 16,
            "batch_size": 2,
            "data_dir": str(tmp_path / "data"),
        },
        "training": {
            "num_steps": 6,
            "learning_rate": 0.01,
            "log_every": 2,
            "checkpoint_every": 3,
            "tensorboard": False,
        },
        "validation": {"every": 6, "num_windows": 2},
    }


@pytest.fixture
def write_config(tmp_path):
    """Nested dicts -> path of a config file that returns them."""

    def write(values, name="config"):
        path = tmp_path / f"{name}.py"
        path.write_text(
            "from ml_collections import ConfigDict\n\n\n"
            f"def get_config():\n    return ConfigDict({values!r})\n"
        )
        return path

    return write
