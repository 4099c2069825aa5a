"""Stories that a model writes itself, from its BOS alone: text to measure it on.

    python -m experiments.sample_stories --output=runs/stories/sampled \
        --checkpoint=weights/stories15M/stories15M.bin

Writes 0000.txt, 0001.txt, ... in batches; a batch that is there is not sampled again.
A hidden file beside them, .sampled.json, says what sampled them: a folder holds stories
of one model and one seed. The loss of a model on text of its own is the entropy of what
it writes, below that on anything else: say so where a figure comes from it.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
from absl import app, flags, logging

import rope_lab
from rope_lab.cli.checkpoints import identity_of
from rope_lab.interop import Pretrained, load_pretrained

CHECKPOINT = flags.DEFINE_string(
    "checkpoint", None, "as load_pretrained takes it", required=True
)
OUTPUT = flags.DEFINE_string("output", None, "folder of the texts", required=True)
COUNT = flags.DEFINE_integer("count", 200, "stories", lower_bound=1)
BATCH = flags.DEFINE_integer("batch", 50, "stories sampled at once", lower_bound=1)
SEED = flags.DEFINE_integer("seed", 0, "of the first batch; the next has the next")

RECORD = ".sampled.json"  # hidden, so that no corpus takes it for a document
TEMPERATURE = 1.0


def main(_) -> None:
    logging.set_verbosity(logging.WARNING)  # JAX tells of backends that are not there
    folder = Path(OUTPUT.value).expanduser()
    try:
        sample(CHECKPOINT.value, folder, COUNT.value, BATCH.value, SEED.value)
    except ValueError as error:
        sys.exit(str(error))


def sample(checkpoint: str, folder: Path, count: int, batch: int, seed: int) -> None:
    """Writes the stories that are missing; a larger count goes on with the same ones.

    Raises:
      ValueError: the folder holds other stories, or more; the model has no BOS.
    """
    loaded = load_pretrained(checkpoint)
    if loaded.tokenizer.bos_id is None:
        raise ValueError(
            f"the tokenizer of {checkpoint} has no BOS, with which a story begins: "
            "give a checkpoint that has one"
        )
    record = {
        "checkpoint": identity_of(loaded.params),
        "encoding": loaded.trained,
        "tokenizer": loaded.tokenizer.checksum,
        "length": loaded.train_length,
        "temperature": TEMPERATURE,
        "batch": batch,
        "seed": seed,
    }
    _begin(folder, record, count)
    for start in range(0, count, batch):
        stop = min(start + batch, count)
        paths = [folder / f"{number:04}.txt" for number in range(start, stop)]
        if all(path.exists() for path in paths):
            continue
        # All of a batch, so that a story does not depend on the count.
        stories = _sampled(loaded, batch, seed + start // batch)[: len(paths)]
        for path, story in zip(paths, stories, strict=True):
            _write(path, story)
        print(f"{stop} of {count} stories", flush=True)


def _sampled(loaded: Pretrained, batch: int, seed: int) -> list[str]:
    bos = loaded.tokenizer.bos_id
    written = rope_lab.generate(
        loaded.graphdef,
        loaded.params,
        np.full((batch, 1), bos, np.int32),
        loaded.logic,
        loaded.train_length - 1,
        temperature=TEMPERATURE,
        seed=seed,
        stop_tokens=(bos,),
    )
    ends = zip(written.tokens, written.lengths, strict=True)
    stories = [tokens[: int(length)] for tokens, length in ends]
    return [loaded.tokenizer.decode(tokens[tokens != bos]) for tokens in stories]


def _begin(folder: Path, record: dict[str, Any], count: int) -> None:
    """Writes the record into a new folder, or refuses one that holds another set."""
    folder.mkdir(parents=True, exist_ok=True)
    path, texts = folder / RECORD, list(folder.glob("*.txt"))
    record = json.loads(json.dumps(record))  # as it is read again
    if not path.exists():
        if texts:
            raise ValueError(
                f"{folder} holds {len(texts)} texts but no {RECORD}, so what sampled "
                "them is not known: remove them, or give another --output"
            )
        _write(path, json.dumps(record, indent=1) + "\n")
        return
    held = json.loads(path.read_text(encoding="utf-8"))
    for key, value in record.items():
        if held.get(key) != value:
            raise ValueError(
                f"the stories in {folder} were sampled with {key} {held.get(key)}, not "
                f"{value}: remove the folder, or give another --output"
            )
    if len(texts) > count:
        raise ValueError(
            f"{folder} holds {len(texts)} stories, more than --count={count}: give a "
            "count of at least as many, or another --output"
        )


def _write(path: Path, text: str) -> None:
    """At once and whole: nothing takes half a story for one."""
    scratch = path.with_name(f".{path.name}.tmp")
    scratch.write_bytes(text.encode("utf-8"))
    os.replace(scratch, path)


if __name__ == "__main__":
    app.run(main)
