"""Fine-tune Llama 3 8B Instruct at 32,768 tokens, 4 times its length: 50 steps.

    rope-lab import Meta-Llama-3-8B-Instruct --workdir=runs/llama3_8b_instruct
    python -m experiments.finetune --config=configs/llama3_8b_32k.py \\
        --workdir=runs/llama3_8b_32k

The paper's first strategy, few steps at the long length, with Resonance-YaRN; YaRN by

    --config.logic.resonance=False

For an accelerator; not run here. The mesh is that of a TPU slice of 64 chips. On 8 GPUs
of 80 GB, one sequence at a time on each (11.2 GiB of state; not compiled for them):

    --config.mesh.fsdp=8 --config.training.accumulation_steps=8

Compiled for these 64 chips, each needs 39.8 GiB at once, 1.4 of them for parameters and
optimizer state:

    rope-lab plan --config=configs/llama3_8b_32k.py --topology=v5p:4x4x4

Needs the weights, PG-19 as a folder with a text file for each book (data/pg19/train),
and the extra `hf`. Nothing is published for this model: the recipe is that of Llama 2
7B, with as many tokens in a step.

The same code path with a model of random numbers, in seconds, behind
configs/tiny_llama.py: --config=configs/llama3_8b_32k.py:smoke

Source: arXiv 2403.00071, appendix C.2, for the recipe; the model is Meta's.
"""

from ml_collections import ConfigDict

from rope_lab.cli.published_sizes import finetuned, smoke_finetuned


def get_config(kind: str = "") -> ConfigDict:
    """Keys of `FinetuneConfig`; kind "smoke": of a tiny model of random numbers."""
    config = finetuned(
        model="llama3_8b",
        checkpoint="llama3_8b_instruct",
        length=32_768,
        num_steps=50,
        scale=4,
        train_length=8192,
        base=500_000.0,
        tokenizer="tokenizer.json",
        mesh={"fsdp": 64},
    )
    return ConfigDict(smoke_finetuned(config) if kind == "smoke" else config)
