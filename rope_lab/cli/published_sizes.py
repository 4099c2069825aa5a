"""Models of the published sizes, and how arXiv 2403.00071 fine-tunes them.

The configs of these sizes say what differs. Each has a `smoke` kind, of the same code
path with a model of random numbers: `--config=configs/llama2_7b_32k.py:smoke`.
"""

from __future__ import annotations

from typing import Any

_LLAMA = {"head_dim": 128, "tied_embeddings": False, "norm_epsilon": 1e-5}
MODELS = {
    "llama2_7b": {
        "vocab_size": 32_000, "num_layers": 32, "width": 4096, "ff_width": 11_008,
        "num_heads": 32, "num_kv_heads": 32, **_LLAMA,
    },
    "llama2_13b": {
        "vocab_size": 32_000, "num_layers": 40, "width": 5120, "ff_width": 13_824,
        "num_heads": 40, "num_kv_heads": 40, **_LLAMA,
    },
    "llama3_8b": {
        "vocab_size": 128_256, "num_layers": 32, "width": 4096, "ff_width": 14_336,
        "num_heads": 32, "num_kv_heads": 8, **_LLAMA,
    },
}  # fmt: skip
TINY = "runs/tiny_llama"  # what configs/tiny_llama.py trains
TINY_LENGTH = 64  # tokens
TINY_MODEL = {
    "num_layers": 2, "width": 64, "ff_width": 160, "num_heads": 4, "num_kv_heads": 2,
    "head_dim": 16, "tied_embeddings": False, "norm_epsilon": 1e-5,
}  # fmt: skip


def finetuned(
    model: str,
    checkpoint: str,
    length: int,
    num_steps: int,
    scale: int,
    mesh: dict[str, int],
    train_length: int = 4096,
    base: float = 10_000.0,
    tokenizer: str = "tokenizer.model",
) -> dict[str, Any]:
    """Keys of `FinetuneConfig`, with the hyper-parameters of appendix C.2.

    Betas and the batch, 4 devices times 16 microbatches of one sequence, are those of
    the released zero3.json, which does not clip. Where the learning rate falls after
    the warm-up the paper does not say; here it falls linearly.

    Args:
      model: of `MODELS`.
      checkpoint: folder under runs/ that `rope-lab import` wrote, with its tokenizer.
      scale: target length / train_length.
      base: of the rotation.
    """
    return {
        "checkpoint": f"runs/{checkpoint}",
        "model": {**MODELS[model], "dtype": "bfloat16", "remat": "full"},
        "logic": {
            "name": "yarn",
            "base": base,
            "scale": scale,
            "train_length": train_length,
            "resonance": True,  # False: YaRN
        },
        "data": {
            "corpus": "data/pg19/train",  # a text file for each book
            "tokenizer": f"runs/{checkpoint}/{tokenizer}",
            "length": length,
            "batch_size": 64,
            "seed": 42,
        },
        "training": {
            "num_steps": num_steps,
            "learning_rate": 2e-5,
            "warmup_steps": num_steps // 20,
            "schedule": "linear",
            "final_learning_rate_fraction": 0.0,
            "weight_decay": 1e-2,
            "b1": 0.9,
            "b2": 0.95,
            "clip_norm": None,
            "log_every": 5,
            "checkpoint_every": 25,
        },
        "validation": {"every": 25, "num_windows": 16},
        "mesh": mesh,
    }


def smoke_finetuned(config: dict[str, Any]) -> dict[str, Any]:
    """The same run of configs/tiny_llama.py's model, in seconds."""
    longer = config["data"]["length"] > config["logic"]["train_length"]
    scale = config["logic"]["scale"]
    tiny = {"vocab_size": 257, **TINY_MODEL}
    return config | {
        "checkpoint": TINY,
        "model": {**tiny, "dtype": "bfloat16", "remat": "full"},
        "logic": config["logic"] | {"base": 10_000.0, "train_length": TINY_LENGTH},
        "data": {
            "corpus": "sotu",
            "tokenizer": "bytes",
            "length": TINY_LENGTH * (scale if longer else 1),
            "batch_size": 4,
        },
        "training": config["training"]
        | {"num_steps": 4, "warmup_steps": 1, "accumulation_steps": 2, "log_every": 1}
        | {"checkpoint_every": 2},
        "validation": {"every": 2, "num_windows": 2},
        "mesh": {"fsdp": 1},
    }


def smoke_evaluated(config: dict[str, Any]) -> dict[str, Any]:
    """The same evaluation of configs/tiny_llama.py's model; without L-Eval's files."""
    few = {"documents": "held_out", "minimum_tokens": None, "count": 2, "stride": 32}
    few |= {"maximum_tokens": 2 * TINY_LENGTH}
    return config | {
        "checkpoint": TINY,
        "lengths": [TINY_LENGTH, 2 * TINY_LENGTH],
        "perplexity": [config["perplexity"][0] | few],
        "retrieval": {"tasks": ["passkey"], "count": 2},
        "leval": {},
    }


def smoke_perplexity(config: dict[str, Any]) -> dict[str, Any]:
    """The same rows and convention on configs/tiny_llama.py's model."""
    return config | {
        "checkpoint": TINY,
        "lengths": [TINY_LENGTH, 2 * TINY_LENGTH],
        "documents": "held_out",
        "count": 2,
        "targets": TINY_LENGTH,
    }
