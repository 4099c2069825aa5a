"""Fine-tune Llama 2 7B Chat at 32,768 tokens, 8 times its length: 50 steps.

    rope-lab import Llama-2-7b-chat-hf --workdir=runs/llama2_7b_chat
    python -m experiments.finetune --config=configs/llama2_7b_32k.py \\
        --workdir=runs/llama2_7b_32k

The paper's first strategy, few steps at the long length, with Resonance-YaRN; YaRN by

    --config.logic.resonance=False

For an accelerator; not run here. The mesh is that of a TPU slice of 64 chips. On 8 GPUs
of 80 GB, one sequence at a time on each (9.4 GiB of state; not compiled for them):

    --config.mesh.fsdp=8 --config.training.accumulation_steps=8

Compiled for these 64 chips, each needs 20.0 GiB at once, 1.2 of them for parameters and
optimizer state; for 16 v5p chips that share the parameters, one sequence each, a chip
needs 26.7; for 1,024 of which 64 share them, 29.1. For others:

    rope-lab plan --config=configs/llama2_7b_32k.py --topology=v5p:4x4x4

Needs the weights, PG-19 as a folder with a text file for each book (data/pg19/train),
and the extra `hf`. Published, L-Eval's closed-ended tasks, after the fine-tuning:

                   Coursera    GSM  QuALITY  TOEFL  CodeU  SFiction  average
    YaRN              36.05  19.00    33.17  50.56   4.44     56.25    33.24
    Resonance-YaRN    36.48  22.00    34.16  55.76   0.00     57.03    34.24

The same code path with a model of random numbers, in seconds, behind
configs/tiny_llama.py: --config=configs/llama2_7b_32k.py:smoke

Source: arXiv 2403.00071, section 5.2, table 2 and appendix C.2.
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
