"""What a run reads: one dataclass, given whole to `pipeline.packed_sequences`."""

import dataclasses


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataConfig:
    """The data of one run. Lengths are in tokens, batches in sequences."""

    length: int  # tokens per training sequence
    batch_size: int  # sequences per global batch, over all hosts together
    corpus: str = "sotu"  # name of a known corpus, or path of a folder or file
    tokenizer: str = "bytes"  # "bytes", "bpe:1024", a .json or a .model file
    seed: int = 0  # order of documents and sequences; never the held-out split
    held_out_fraction: float = 0.1  # share of documents never trained on
    repeat_fraction: float = 0.0  # share of sequences that repeat one passage
    repeat_shortest: int | None = None  # tokens of such a passage; None: length // 8
    repeat_longest: int | None = None  # None: length // 2, so that all come twice
    repeat_random: float = 0.0  # share of such passages that are random tokens
    repeat_first: int = 0  # sequences before the first epoch, all such random ones
    data_dir: str | None = None  # None: $ROPE_LAB_DATA, else ~/.cache/rope_lab
