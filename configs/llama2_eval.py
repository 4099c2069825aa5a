"""Llama 2 7B Chat beyond its length without fine-tuning: dynamic NTK and NTK.

    rope-lab import Llama-2-7b-chat-hf --workdir=runs/llama2_7b_chat
    python -m experiments.evaluate --config=configs/llama2_eval.py \\
        --workdir=runs/llama2_eval

For an accelerator; not run here. 13B, which the paper takes to 16,384 tokens only:

    --config.checkpoint=runs/llama2_13b_chat --config.leval.length=16000

and NTK then has the scale 4. A fine-tuned model is read under its own encoding with

    --config.checkpoint=runs/llama2_7b_32k --config.encodings=[] --config.own=True

Needs L-Eval's files in data/leval, and GovReport and Proof-pile as `rope_lab.data`
exports them. L-Eval counts 1,000 tokens for what it calls 1k, so documents are cut to
32,000 tokens (13B: 16,000) less 512 for the answer. One departure: its own code rounds
the scale of dynamic NTK up, ceil((tokens + 512) / 4096); here the row "Dynamic NTK" has
tokens of prompt and answer / 4096. Published, L-Eval's closed-ended tasks:

                       Coursera    GSM  QuALITY  TOEFL  CodeU  SFiction  average
    7B, Dynamic NTK       31.98  32.00    34.65  59.11   1.11     36.72    32.59
    7B, NTK s=8           36.77   3.00    26.73  34.20   1.11     50.78    25.43
    13B, Dynamic NTK      29.22  39.00    40.59  63.94   1.11     39.84    35.62
    13B, NTK s=4          40.26  21.00    38.12  65.43   1.11     46.88    35.47

Perplexity is published as curves alone (figure 4). It is that of the released code: the
first 50 documents, windows with a stride of 256 that count alike.

The same code path with a model of random numbers, in a minute, behind
configs/tiny_llama.py: --config=configs/llama2_eval.py:smoke

Source: arXiv 2403.00071, section 5.2, table 2, figure 4 and the released code.
"""

from ml_collections import ConfigDict

from rope_lab.cli.published_sizes import smoke_evaluated


def get_config(kind: str = "") -> ConfigDict:
    """Keys of `EvaluateConfig`; kind "smoke": of a tiny model of random numbers."""
    windows = {"convention": "sliding", "stride": 256, "weights": "windows"}
    config = {
        "checkpoint": "runs/llama2_7b_chat",
        "own": False,
        "encodings": [
            {
                "label": "Dynamic NTK",
                "name": "dynamic_ntk",
                "train_length": "trained",
                "length": "measured",
            },
            {"label": "NTK s=8", "name": "ntk_aware", "scale": 8},
        ],
        "lengths": [4_096, 8_192, 16_384, 32_768],  # tokens
        "perplexity": [
            {"documents": "govreport", "minimum_tokens": 16_384, "count": 50} | windows,
            {"documents": "proof_pile", "minimum_tokens": 32_768, "count": 50}
            | windows,
        ],
        "leval": {"folder": "data/leval", "length": 32_000, "new_tokens": 512},
    }
    return ConfigDict(smoke_evaluated(config) if kind == "smoke" else config)
