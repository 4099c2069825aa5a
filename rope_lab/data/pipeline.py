"""From sequences to the batches a step reads, prefetched by Grain."""

from collections.abc import Iterator

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
    """Endless iterator over one host's rows of the global batches.

    Attributes:
      state: the number of the next global batch. `batches(..., start=state)` goes on
        from there, with any number of hosts.
    """

    def __init__(self, rows: Iterator[dict[str, np.ndarray]], start: int):
        self._rows, self.state = rows, start

    def __next__(self) -> dict[str, np.ndarray]:
        batch = next(self._rows)
        self.state += 1
        return batch


def batches(
    source: PackedSequences,
    batch_size: int,
    start: int = 0,
    host: int = 0,
    num_hosts: int = 1,
) -> Batches:
    """Batches of sequences, in an order that the number of hosts does not change.

    Global batch n holds the sequences n*batch_size to (n+1)*batch_size - 1; host h of H
    gets its h-th block of batch_size/H rows, so the hosts' batches, one under the
    other, are the global batch.

    Args:
      source: what `source[n]` is read from.
      batch_size: sequences per global batch.
      start: number of the first global batch.
      host, num_hosts: which part of each batch to read.

    Returns:
      An iterator over dicts of arrays of shape [batch_size / num_hosts, length].
    """
    if batch_size < 1 or num_hosts < 1 or batch_size % num_hosts:
        raise ValueError(
            f"batch_size is {batch_size} for {num_hosts} hosts; give a positive "
            "multiple of the number of hosts"
        )
    if not 0 <= host < num_hosts:
        raise ValueError(f"host is {host}; expected 0 to {num_hosts - 1}")
    if start < 0:
        raise ValueError(f"start is {start}; batches are numbered from 0")
    rows = batch_size // num_hosts

    def read(row: int) -> dict[str, np.ndarray]:
        batch, place = divmod(row, rows)
        return source[batch * batch_size + host * rows + place]

    dataset = grain.MapDataset.range(start * rows, _FOREVER).map(read).batch(rows)
    # Reading takes microseconds: one thread hides it behind the step.
    options = grain.ReadOptions(num_threads=1, prefetch_buffer_size=4)
    return Batches(iter(dataset.to_iter_dataset(options)), start)


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
