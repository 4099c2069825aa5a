"""PosGen on disk, as a TFDS builder, and as what a model reads: ids and weights.

Letters: N sequences, R orders (one per seed), T tokens.
"""

import contextlib
import dataclasses
import os
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds

from rope_lab.data.posgen import (
    PosGenConfig,
    Rule,
    checksum,
    generate_splits,
    modular_addition,
)
from rope_lab.data.shuffling import Purpose, permutation
from rope_lab.data.storage import built, data_root


class PosGen(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # type: ignore[call-arg]
    """TFDS builder of one sub-task, readable without TensorFlow.

    Features: `tokens`, int32[T], of 0 .. m-1 without special tokens. Splits: train,
    validation, test. Read one with `as_data_source("train")`.
    """

    VERSION = tfds.core.Version("1.0.0")
    # Nothing to download, so no checksum files to look for.
    url_infos: ClassVar[dict[str, Any]] = {}

    def __init__(
        self,
        *,
        settings: PosGenConfig,
        rule: Rule = modular_addition,
        data_dir: str | Path,
    ):
        self._settings, self._rule = settings, rule
        super().__init__(data_dir=data_dir, file_format="array_record")

    def _info(self) -> tfds.core.DatasetInfo:
        tokens = tfds.features.Tensor(shape=(None,), dtype=np.int32)
        features = tfds.features.FeaturesDict({"tokens": tokens})
        return tfds.core.DatasetInfo(
            builder=self, features=features, disable_shuffling=True
        )

    def _split_generators(self, dl_manager):
        del dl_manager  # nothing is fetched
        splits = generate_splits(self._settings, self._rule)
        return {name: self._generate_examples(rows) for name, rows in splits.items()}

    def _generate_examples(self, rows):
        for key, tokens in enumerate(rows):
            yield key, {"tokens": tokens}


def load_posgen(
    config: PosGenConfig,
    data_dir: str | os.PathLike | None = None,
    rule: Rule = modular_addition,
) -> dict[str, np.ndarray]:
    """The splits read from disk, int32[N, T] each, prepared there on first use.

    They lie under the checksum of the tokens, so a rule that changes is another set.

    Raises:
      ValueError: see `generate_splits`.
    """
    digest = checksum(generate_splits(config, rule))

    def builder(folder: Path) -> PosGen:
        return PosGen(settings=config, rule=rule, data_dir=folder)

    def write(scratch: Path) -> None:
        tfds.disable_progress_bar()  # seconds of work, no download to tell about
        try:
            with contextlib.redirect_stdout(None):
                builder(scratch).download_and_prepare()
        finally:
            tfds.enable_progress_bar()

    folder = built(data_root(data_dir) / "posgen" / digest[:16], write)
    splits = {
        name: np.stack([record["tokens"] for record in records])
        for name, records in builder(folder).as_data_source().items()
    }
    if checksum(splits) != digest:
        raise ValueError(f"{folder} does not hold what was written; remove it")
    return splits


@dataclasses.dataclass(frozen=True)
class PosGenVocabulary:
    """Token ids: 0 .. m-1 are themselves, five special tokens follow.

    As the authors' tokenizer: UNK m, PAD m+1, CLS m+2, SEP m+3, EOS m+4. EOS alone is
    used, once, in front of each sequence.
    """

    modulus: int

    @property
    def size(self) -> int:
        """V."""
        return self.modulus + 5

    @property
    def start(self) -> int:
        """EOS."""
        return self.modulus + 4

    def with_start(self, tokens_NT: np.ndarray) -> np.ndarray:
        """int32[N, T + 1]: position t then reads token t - 1 and predicts token t."""
        return np.pad(tokens_NT, ((0, 0), (1, 0)), constant_values=self.start)


class PosGenSource:
    """Training sequences for `batches`, in an order for each of R seeds.

    Sequence n is a dict of int32 or float32[R, T]: `inputs` from the start token on,
    `targets`, and `weights`, 0 for the j + k targets that are given. Each seed sees
    every sequence once an epoch, in an order that is drawn anew.
    """

    def __init__(self, config: PosGenConfig, train_NT: np.ndarray, seeds: list[int]):
        vocabulary = PosGenVocabulary(config.modulus)
        self._tokens = vocabulary.with_start(train_NT)
        self._seeds = seeds
        self._weights = np.ones((len(seeds), config.train_length), np.float32)
        self._weights[:, : config.task().prefix] = 0.0
        self._orders: dict[int, np.ndarray] = {}
        self.sequences_per_epoch = len(train_NT)
        self.identity = {
            "corpus": f"posgen {config.subtask}",
            "corpus_checksum": checksum({"train": train_NT} | _empty_evaluation()),
            "tokenizer_checksum": f"posgen-{config.modulus}",
            "split": "train",
            "length": config.train_length,
            "seed": seeds,
        }

    def __getitem__(self, n: int) -> dict[str, Any]:
        epoch, place = divmod(n, self.sequences_per_epoch)
        rows_RT = self._tokens[self._order(epoch)[:, place]]
        inputs, targets = rows_RT[:, :-1], rows_RT[:, 1:]
        return {"inputs": inputs, "targets": targets, "weights": self._weights}

    def _order(self, epoch: int) -> np.ndarray:
        """int64[R, N] of one epoch."""
        if epoch not in self._orders:
            count = self.sequences_per_epoch
            self._orders = {  # the last few, since batches are read a little ahead
                old: order for old, order in self._orders.items() if old >= epoch - 1
            }
            self._orders[epoch] = np.stack(
                [permutation(count, Purpose.SEQUENCES, s, epoch) for s in self._seeds]
            )
        return self._orders[epoch]


def _empty_evaluation() -> dict[str, np.ndarray]:
    nothing = np.empty((0, 0), np.int32)
    return {"validation": nothing, "test": nothing}
