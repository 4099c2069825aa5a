"""Fine-tune Llama 2 7B Chat with Resonance-YaRN at 32,768 tokens, 8 times its length.

python -m experiments.finetune --config=configs/llama2_7b_32k.py --workdir=runs/llama2_7b_32k
"""

from ml_collections import ConfigDict

from rope_lab.cli.published_sizes import finetuned, smoke_finetuned


def get_config(kind: str = "") -> ConfigDict:
    """Keys of `FinetuneConfig`; kind "smoke": of a tiny model of random numbers."""
    config = finetuned(
        model="llama2_7b",
        checkpoint="llama2_7b_chat",
        length=32_768,
        num_steps=50,
        scale=8,
        mesh={"fsdp": 64},
    )
    return ConfigDict(smoke_finetuned(config) if kind == "smoke" else config)
