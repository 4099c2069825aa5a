"""A config that a TPU's compiler takes, and whether there is one."""

import importlib.util
import sys
from pathlib import Path

import pytest


@pytest.fixture
def run_values():
    """Nested dicts of a `PretrainConfig` for four chips."""
    return {
        "model": {
            "num_layers": 2,
            "width": 256,
            "ff_width": 512,
            "num_heads": 2,
            "num_kv_heads": 2,
            "head_dim": 128,
            "dtype": "bfloat16",
            "remat": "full",
            "logic": {"name": "rerope", "window": 128},
        },
        "data": {"length": 512, "batch_size": 4, "tokenizer": "bytes"},
        "training": {"num_steps": 2, "learning_rate": 1e-3},
        "mesh": {"fsdp": 4},
    }


@pytest.fixture
def compiler():
    """Skips where libtpu is not installed."""
    beside = Path(sys.prefix) / "libtpu"  # where `make test` puts it
    if not beside.exists() and importlib.util.find_spec("libtpu") is None:
        pytest.skip("libtpu is not installed: `make test` does, on Linux")
