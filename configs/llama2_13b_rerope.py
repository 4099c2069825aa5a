"""Llama 2 13B (the base model) read far beyond 4,096 tokens: RoPE, NTK-mixed, ReRoPE.

    rope-lab import Llama-2-13b-hf --workdir=runs/llama2_13b
    python -m experiments.perplexity --config=configs/llama2_13b_rerope.py \\
        --workdir=runs/llama2_13b_rerope --documents=FOLDER_OF_LONG_TEXTS

For an accelerator; not run here. The same last 4,096 tokens of every text are scored,
under more and more context before them. Published, mean loss in nats:

                                  4,096    8,192   16,384
    RoPE                         1.4967   8.8615
    NTK-mixed, k=12, log n       1.6081   1.5417   1.5163
    ReRoPE w=1024, log n         1.4996   1.4267   1.4001

The article's texts, about 200 of 15 thousand tokens, are not to be had, so its losses
cannot be repeated, only their order and their differences. It took shorter texts whole;
here all have 16,385 tokens. Results hold perplexities: exp(loss).

The same code path with a model of random numbers, in a minute, behind
configs/tiny_llama.py: --config=configs/llama2_13b_rerope.py:smoke

Source: kexue.fm 9708, and eval_loss.py of its released code.
"""

from ml_collections import ConfigDict

from rope_lab.cli.published_sizes import smoke_perplexity


def get_config(kind: str = "") -> ConfigDict:
    """Keys of `PerplexityConfig`; kind "smoke": of a tiny model of random numbers."""
    log_n = {"log_n": "test", "train_length": "trained"}
    config = {
        "checkpoint": "runs/llama2_13b",
        "own": False,
        "encodings": [
            {"label": "RoPE", "name": "rope"},
            {
                "label": "NTK-mixed, k=12, log n",
                "name": "ntk_mixed",
                "exponent": 0.75,
                "scale": 12,
                **log_n,
            },
            {
                "label": "ReRoPE w=1024, log n",
                "name": "rerope",
                "window": "trained/4",
                **log_n,
            },
        ],
        "lengths": [4_096, 8_192, 16_384],  # tokens
        "documents": "data/long_texts",
        "count": 200,
        "convention": "last",
        "targets": 4_096,
    }
    return ConfigDict(smoke_perplexity(config) if kind == "smoke" else config)
