"""stories15M beyond its length after fine-tuning, YaRN beside Resonance-YaRN.

    python -m experiments.extrapolate --config=configs/stories15m_finetuned.py \\
        --workdir=runs/stories/finetuned --config.page=experiments/stories/finetuned

Needs the four models of configs/stories15m_finetune.py, and the text and lengths are
those of configs/stories15m.py, whose rows are not fine-tuned. 22 minutes on one core of
an AMD EPYC. Loss at 2,048 tokens, YaRN / Resonance-YaRN: untuned 1.680 / 1.675, long
steps 1.492 / 1.494, short ones 1.604 / 1.605. Results: experiments/stories/finetuned.

Source: arXiv 2403.00071, section 5.2; what it publishes there is of Llama-2.
"""

from ml_collections import ConfigDict

YARN = {"name": "yarn", "scale": 8, "train_length": "trained"}
ROWS = {"YaRN": YARN, "Resonance-YaRN": YARN | {"resonance": True}}
STRATEGIES = {"long": "25 steps of 2,048 tokens", "short": "200 steps of 256 tokens"}


def get_config() -> ConfigDict:
    """Keys of `ExtrapolateConfig`."""
    models = {"pretrained": "runs/stories/model"}
    encodings = [{"label": f"{label}, untuned", **row} for label, row in ROWS.items()]
    for strategy, what in STRATEGIES.items():
        for label, row in ROWS.items():
            name = f"{label.lower().replace('-', '_')}_{strategy}"
            models[name] = f"runs/stories/{name}"
            encodings.append({"label": f"{label}, {what}", "model": name, **row})
    return ConfigDict(
        {
            "title": "stories15M fine-tuned beyond the length it was trained at",
            "models": models,
            "documents": "runs/stories/sampled",
            "packed": True,
            "encodings": encodings,
            "lengths": [256, 512, 1024, 2048, 4096],
            "num_windows": 9,  # of the longest; as many more of the shorter
            "num_repeated_windows": 6,
        }
    )
