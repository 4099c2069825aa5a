"""From sequences to the batches a step reads, prefetched by Grain."""

from collections.abc import Iterator, Sequence
from typing import Protocol

import grain
import numpy as np

from rope_lab.data.config import DataConfig
from rope_lab.data.corpora import load_corpus
from rope_lab.data.packing import PackedSequences
from rope_lab.data.tokenizers import load_tokenizer

_FOREVER = 2**48  # rows: more than any run reads, and no overflow inside Grain


def packed_sequences(config: DataConfig, split: str = "train") -> PackedSequences:
    """Opens corpus and tokenizer of a run, both kept as attributes of the result.

    The held-out documents do not depend on `config.seed`: runs with different seeds
    are measured on the same documents, and none has trained on them.
    """
    corpus = load_corpus(config.corpus, config.data_dir, config.held_out_fraction)
    tokenizer = load_tokenizer(config.tokenizer, corpus)
    return PackedSequences(
        corpus,
        tokenizer,
        split,
        config.seed,
        config.length,
        config.repeat_fraction,
        repeat_shortest=config.repeat_shortest,
        repeat_longest=config.repeat_longest,
        repeat_random=config.repeat_random,
        repeat_first=config.repeat_first,
    )


class Batches(Iterator[dict[str, np.ndarray]]):
    """Endless iterator over the same rows of each global batch.

    Attributes:
      state: the number of the next global batch. `batches(..., start=state)` goes on
        from there, whatever rows it reads.
    """

    def __init__(self, rows: Iterator[dict[str, np.ndarray]], start: int):
        self._rows, self.state = rows, start

    def __next__(self) -> dict[str, np.ndarray]:
        batch = next(self._rows)
        self.state += 1
        return batch


class Sequences(Protocol):
    """What is read sequence by sequence: number n is a dict of arrays."""

    def __getitem__(self, n: int) -> dict[str, np.ndarray]: ...


def batches(
    source: Sequences,
    batch_size: int,
    start: int = 0,
    rows: Sequence[int] | None = None,
) -> Batches:
    """Batches of sequences, in an order that nothing but their size changes.

    Row r of global batch n is sequence n * batch_size + r. Processes that train
    together each read the rows of their own devices, so however many there are, before
    and after a restart, together they read every sequence once.

    Args:
      source: what `source[n]` is read from.
      batch_size: sequences per global batch.
      start: number of the first global batch.
      rows: which rows of each batch to read, ascending; None: all.

    Returns:
      An iterator over dicts of arrays of shape [len(rows), length].
    """
    if batch_size < 1:
        raise ValueError(f"batch_size is {batch_size}; give at least 1")
    rows = list(range(batch_size) if rows is None else rows)
    if not rows or rows != sorted(set(rows) & set(range(batch_size))):
        raise ValueError(
            f"rows are {rows}; give some of 0 to {batch_size - 1}, ascending"
        )
    if start < 0:
        raise ValueError(f"start is {start}; batches are numbered from 0")

    def read(count: int) -> dict[str, np.ndarray]:
        batch, place = divmod(count, len(rows))
        return source[batch * batch_size + rows[place]]

    counts = grain.MapDataset.range(start * len(rows), _FOREVER)
    # Reading takes microseconds: one thread hides it behind the step.
    options = grain.ReadOptions(num_threads=1, prefetch_buffer_size=4)
    dataset = counts.map(read).batch(len(rows)).to_iter_dataset(options)
    return Batches(iter(dataset), start)


def batch_identity(source: PackedSequences, n: int, batch_size: int = 1) -> str:
    """Says which data global batch n is, for messages about it."""
    first, last = n * batch_size, (n + 1) * batch_size - 1
    facts = source.identity
    return (
        f"batch {n}: sequences {first} to {last} (epoch "
        f"{first // source.sequences_per_epoch}) of {facts['length']} tokens, split "
        f"{facts['split']!r} of corpus {facts['corpus']!r} "
        f"({facts['corpus_checksum'][:12]}), tokenizer "
        f"{facts['tokenizer_checksum'][:12]}, seed {facts['seed']}"
    )
