"""The ReRoPE article's experiment on a small language model that others trained.

    python -m experiments.fetch_weights weights stories15M
    rope-lab import weights/stories15M/stories15M.bin --workdir=runs/stories/model
    python -m experiments.sample_stories --output=runs/stories/sampled \\
        --checkpoint=weights/stories15M/stories15M.bin
    python -m experiments.extrapolate --config=configs/stories15m.py \\
        --workdir=runs/stories/untuned --config.page=experiments/stories

stories15M (llama2.c, trained on TinyStories at 256 tokens) without fine-tuning, at 1,
2, 4, 8 and 16 times that length: loss and accuracy on stories packed one after the
other, and on one story repeated. TinyStories itself is not here: give a folder of its
texts by `--config.documents=FOLDER`, or measure on 200 stories that the model wrote
itself. Took 2.6 hours on a core of an AMD EPYC, half of them shared with another run;
all results: experiments/stories. Loss in length and at 4, 8 and 16 times the length:

                            256   1,024   2,048   4,096
    RoPE                  1.269   4.402   5.168   5.416
    NTK-mixed             1.269   2.005   2.940   3.667
    YaRN                  1.269   1.427   1.680   2.058
    ReRoPE w=128          1.271   1.248   1.291   1.363
    ReRoPE w=128, log n   1.271   1.259   1.314   1.405

Published, on Llama-2 13B: loss at 4,096, 8,192 and 16,384 tokens, see the page.
"""

from ml_collections import ConfigDict

from rope_lab.cli import article_rows as rows


def get_config() -> ConfigDict:
    """Keys of `ExtrapolateConfig`."""
    return ConfigDict(
        {
            "title": "stories15M beyond the length it was trained at",
            "models": {"pretrained": "runs/stories/model"},
            "documents": "runs/stories/sampled",
            "packed": True,
            "encodings": rows.untuned(),
            "lengths": [256, 512, 1024, 2048, 4096],
            "num_windows": 9,  # of the longest; as many more of the shorter
            "num_repeated_windows": 6,
        }
    )
