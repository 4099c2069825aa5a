"""Documents to evaluate on, in the order of their source."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from rope_lab.data import exports, registered
from rope_lab.data.corpora import Documents
from rope_lab.data.storage import data_root
from rope_lab.data.textfiles import read_documents


def open_documents(
    spec: str | os.PathLike,
    split: str = "test",
    data_dir: str | os.PathLike | None = None,
) -> Sequence[str]:
    """The documents of a split, none held out and none reordered.

    Args:
      spec: a name of `registered.REGISTERED` ("pg19"), a known export ("govreport",
        "proof_pile"), or the path of a folder with an export's manifest, of a folder
        of text files or of one such file.
      split: of the first two and of an export; text files have none.
      data_dir: where prepared data lies; None means $ROPE_LAB_DATA or
        ~/.cache/rope_lab.

    Raises:
      MissingData: known, but not to be had here; says what to do.
      ValueError: nothing of that name, or files that cannot be read.
    """
    spec, root = os.fspath(spec), data_root(data_dir)
    if exports.is_export(spec):
        return _all(exports.open_export(spec, split, root), "text")
    if spec in registered.REGISTERED:
        folder = root / "tensorflow_datasets"
        builder = registered.prepared_builder(spec, folder)
        if split not in builder.info.splits:
            raise ValueError(
                f"{spec!r} has no split {split!r}; it has {sorted(builder.info.splits)}"
            )
        records = builder.as_data_source(split)
        return _all(records, registered.REGISTERED[spec].text_key)
    if Path(spec).expanduser().exists():
        return [text.decode() for text in read_documents(Path(spec).expanduser())]
    known = ", ".join([*registered.REGISTERED, *exports.KNOWN])
    raise ValueError(
        f"unknown documents {spec!r}: neither one of {known}, nor the path of an "
        "existing folder or file"
    )


def _all(records, key: str) -> Documents:
    return Documents(records, key, np.arange(len(records)))
