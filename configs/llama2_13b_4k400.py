"""Fine-tune Llama 2 13B Chat for 16,384 tokens at its own 4,096: 400 steps.

    rope-lab import Llama-2-13b-chat-hf --workdir=runs/llama2_13b_chat
    python -m experiments.finetune --config=configs/llama2_13b_4k400.py \\
        --workdir=runs/llama2_13b_4k400

The paper's second strategy, the same number of tokens in more steps at the short
length, with Resonance-YaRN; YaRN by

    --config.logic.resonance=False

For an accelerator; not run here. The mesh is that of a TPU slice of 64 chips. On 8 GPUs
of 80 GB, one sequence at a time on each (18.2 GiB of state; not compiled for them):

    --config.mesh.fsdp=8 --config.training.accumulation_steps=8

Compiled for these 64 chips, each needs 8.3 GiB at once, 2.3 of them for parameters and
optimizer state. For others:

    rope-lab plan --config=configs/llama2_13b_4k400.py --topology=v5p:4x4x4

Needs the weights, PG-19 as a folder with a text file for each book (data/pg19/train),
and the extra `hf`. Published, L-Eval's closed-ended tasks, after the fine-tuning:

                   Coursera    GSM  QuALITY  TOEFL  CodeU  SFiction  average
    YaRN              41.72  34.00    41.09  66.91   2.22     48.44    39.06
    Resonance-YaRN    41.86  35.00    42.57  65.80   5.56     48.44    39.87

The same code path with a model of random numbers, in seconds, behind
configs/tiny_llama.py: --config=configs/llama2_13b_4k400.py:smoke

Source: arXiv 2403.00071, section 5.2, table 2 and appendix C.2.
"""

from ml_collections import ConfigDict

from rope_lab.cli.published_sizes import finetuned, smoke_finetuned


def get_config(kind: str = "") -> ConfigDict:
    """Keys of `FinetuneConfig`; kind "smoke": of a tiny model of random numbers."""
    config = finetuned(
        model="llama2_13b",
        checkpoint="llama2_13b_chat",
        length=4096,
        num_steps=400,
        scale=4,
        mesh={"fsdp": 64},
    )
    return ConfigDict(smoke_finetuned(config) if kind == "smoke" else config)
