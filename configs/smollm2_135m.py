"""SmolLM2-135M read beyond its 8,192 tokens without fine-tuning.

    python -m experiments.fetch_weights weights smollm2
    rope-lab import weights/smollm2/SmolLM2-135M-Instruct.Q4_1.gguf \\
        --workdir=runs/smollm2/model
    python -m experiments.extrapolate --config=configs/smollm2_135m.py \\
        --workdir=runs/smollm2/untuned --config.page=experiments/smollm2

The rows of configs/stories15m.py at once and at twice the context length, on long
documents (State of the Union addresses). For an accelerator; on two cores of an AMD
EPYC a window of 16,384 tokens takes every row 2 minutes when they are free, and this
does one a row, 2 hours beside other work:

    --config.num_windows=1 --config.num_repeated_windows=0

Results of that: experiments/smollm2. Loss beyond 8,192 tokens minus that of truncated
context: RoPE 1.36, PI 0.75, NTK 0.04 to 0.05, YaRN 0.03, ReRoPE w=L/2 0.01.

Source: kexue.fm 9708; the model is Hugging Face's.
"""

from ml_collections import ConfigDict

from rope_lab.cli import article_rows as rows


def get_config() -> ConfigDict:
    """Keys of `ExtrapolateConfig`."""
    return ConfigDict(
        {
            "title": "SmolLM2-135M beyond the length it was trained at",
            "models": {"pretrained": "runs/smollm2/model"},
            "documents": "sotu",
            "encodings": rows.untuned(),
            "lengths": [8192, 16384],
            "num_windows": 16,
            "num_repeated_windows": 4,
        }
    )
