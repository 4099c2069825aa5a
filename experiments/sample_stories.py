"""Stories that a model writes itself, from its BOS alone: text to measure it on.

    python -m experiments.sample_stories --output=runs/stories/sampled \
        --checkpoint=weights/stories15M/stories15M.bin

Writes 0000.txt, 0001.txt, ... in batches; a batch that is there is not sampled again.
The loss of a model on text of its own is the entropy of what it writes, below that on
anything else: say so where a figure comes from it.
"""

from pathlib import Path

import numpy as np
from absl import app, flags

import rope_lab
from rope_lab.interop import load_pretrained

CHECKPOINT = flags.DEFINE_string(
    "checkpoint", None, "as load_pretrained takes it", required=True
)
OUTPUT = flags.DEFINE_string("output", None, "folder of the texts", required=True)
COUNT = flags.DEFINE_integer("count", 200, "stories")
BATCH = flags.DEFINE_integer("batch", 50, "stories sampled at once")
SEED = flags.DEFINE_integer("seed", 0, "of the first batch; the next has the next")


def main(_) -> None:
    loaded = load_pretrained(CHECKPOINT.value)
    folder, bos = Path(OUTPUT.value), loaded.tokenizer.bos_id
    folder.mkdir(parents=True, exist_ok=True)
    for start in range(0, COUNT.value, BATCH.value):
        names = [f"{n:04}.txt" for n in range(start, start + BATCH.value)]
        if all((folder / name).exists() for name in names):
            continue
        written = rope_lab.generate(
            loaded.graphdef,
            loaded.params,
            np.full((BATCH.value, 1), bos, np.int32),
            loaded.logic,
            loaded.train_length - 1,
            temperature=1.0,
            seed=SEED.value + start // BATCH.value,
            stop_tokens=(bos,),
        )
        for name, tokens, length in zip(
            names, written.tokens, written.lengths, strict=True
        ):
            story = [int(token) for token in tokens[: int(length)] if token != bos]
            (folder / name).write_text(loaded.tokenizer.decode(np.array(story)))
        print(f"{start + BATCH.value} of {COUNT.value} stories", flush=True)


if __name__ == "__main__":
    app.run(main)
