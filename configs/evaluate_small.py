"""Evaluate the small pretrained decoder under four encodings, on one scorecard.

    python -m experiments.evaluate --config=configs/evaluate_small.py \
        --workdir=runs/scores

Goes on from configs/pretrain.py; another checkpoint can be named behind
`experiments.evaluate`. Writes runs/scores/scorecard.json, a record for every number and
heat maps of the needle; started again, it goes on. Took 6 minutes on two busy CPU
cores. Perplexity on held-out documents, 95 % intervals over 16 of them (8 for sliding
windows):

    last, 128 targets          128 tokens          512 tokens         1024 tokens
    own (RoPE)       37.1 [30.7, 45.0]   48.1 [40.8, 56.6]   56.5 [47.9, 66.7]
    ReRoPE w=L/2     37.1 [30.7, 45.0]   37.7 [31.3, 45.4]   38.8 [32.5, 46.5]
    YaRN             40.0 [33.0, 48.7]   40.3 [33.1, 49.2]   40.9 [33.5, 49.8]
    Resonance-YaRN   40.3 [33.2, 48.9]   40.4 [33.2, 49.2]   41.2 [33.9, 50.1]

    sliding, stride 64         128 tokens          512 tokens         1024 tokens
    own (RoPE)       31.5 [27.1, 36.6]   39.8 [34.8, 46.5]   43.6 [38.2, 50.9]
    ReRoPE w=L/2     31.4 [27.1, 36.6]   32.7 [28.4, 38.0]   33.3 [29.2, 38.7]

    first tokens               128 tokens          512 tokens         1024 tokens
    own (RoPE)       28.0 [23.4, 33.8]   39.0 [35.5, 43.3]   42.7 [38.6, 47.7]
    ReRoPE w=L/2     28.0 [23.4, 33.8]   34.5 [31.5, 38.2]   34.1 [31.0, 37.9]

Loss at 1024 tokens minus that of RoPE, nats per token, paired over documents:

                                       last                  sliding
    ReRoPE w=L/2    -0.376 [-0.436, -0.320]  -0.268 [-0.284, -0.254]
    YaRN            -0.325 [-0.398, -0.258]  -0.202 [-0.216, -0.184]
    Resonance-YaRN  -0.316 [-0.386, -0.249]  -0.203 [-0.217, -0.187]

The openings of the documents are formulaic, so that "first" is lowest where it sees
nothing else. Retrieval finds nothing under any encoding: 400 steps do not teach a model
of this size to copy. L-Eval is not run: it needs its files, leval.folder.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """Keys of `EvaluateConfig`."""
    yarn = {"name": "yarn", "scale": 8, "train_length": "trained"}
    return ConfigDict(
        {
            "checkpoint": "runs/base",
            "encodings": [
                {"label": "ReRoPE w=L/2", "name": "rerope", "window": "trained/2"},
                {"label": "YaRN", **yarn},
                {"label": "Resonance-YaRN", **yarn, "resonance": True},
            ],
            "lengths": [128, 512, 1024],  # tokens
            "perplexity": [
                {"convention": "last", "count": 16},
                {
                    "convention": "sliding",
                    "stride": 64,
                    "count": 8,
                    "maximum_tokens": 1536,
                },
                {"convention": "first", "count": 16},
            ],
            "retrieval": {"tasks": ["passkey", "needle"], "count": 11},
        },
    )
