"""Su's 100M model: 24 gated attention units, trained by Tiger at 512 tokens.

    python -m experiments.pretrain --config=configs/gau_100m.py --workdir=runs/gau \\
        --config.data.corpus=FOLDER_OF_TEXTS

For an accelerator; not run here. 96.5 million parameters with 12,000 tokens: 24 layers
of 3,637,504 and the embedding.

The trained rows of the ReRoPE articles differ from this by a value:

    log n             --config.model.logic.log_n=train \\
                      --config.model.logic.train_length=512
    HWFA              --config.model.logic.name=hwfa --config.model.logic.window=16 \\
                      --config.model.logic.train_length=512
    HWFA2, w64, f2    --config.model.logic.name=hwfa2 --config.model.logic.window=64 \\
                      --config.model.logic.full_layers=2
    KeyNorm (KNA)     --config.model.qk_norm=keys
    QueryNorm (QNA)   --config.model.qk_norm=queries

The articles give layers, widths, length, optimizer and initialisation. They do not give
corpus, steps, batch or learning rate: batch 512 is that of a run of the same model in
kexue.fm 9577, the rate is the lower end of what 9512 advises for Tiger, and steps,
schedule and vocabulary are ours. The corpus that the project brings is much too small
for this model; give one of your own.

Source: kexue.fm 9708 (study), 8934 and 9052 (model), 9512 (Tiger), 9603 (HWFA), 9731
(HWFA2), 9859 (KeyNorm).
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """Sections of `PretrainConfig`."""
    return ConfigDict(
        {
            "model": {
                "block": "gau",
                "num_layers": 24,
                "width": 768,
                "ff_width": 1536,  # values
                "num_heads": 1,
                "num_kv_heads": 1,
                "head_dim": 128,  # queries and keys, all of it rotated
                "dtype": "bfloat16",
                "logic": {"name": "rope"},
            },
            "data": {
                "corpus": "sotu",
                "tokenizer": "bpe:12000",
                "length": 512,  # tokens
                "batch_size": 512,
            },
            "training": {
                "optimizer": "tiger",
                "num_steps": 30_000,
                "learning_rate": 1e-3,  # relative to each matrix's own size
                "warmup_steps": 1_000,
                "schedule": "linear",
                "clip_norm": None,
                "accumulation_steps": 8,
                "log_every": 100,
                "checkpoint_every": 1_000,
            },
            "validation": {"every": 1_000, "num_windows": 256},
            "seed": 0,
        },
    )
