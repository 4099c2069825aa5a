"""Corpora that TensorFlow Datasets knows by name, read without TensorFlow."""

import dataclasses
import os
from pathlib import Path

import requests
import tensorflow_datasets as tfds

from rope_lab.data.missing import MissingData


@dataclasses.dataclass(frozen=True)
class Registered:
    """A text data set of the TFDS catalogue; documents come from its train split."""

    builder: str  # TFDS name, with the config where there are several
    text_key: str  # feature that holds the document
    url: str = ""  # where TFDS fetches it from
    needs: str = ""  # what its preparation, not its reading, needs besides TFDS


REGISTERED = {
    "pg19": Registered("pg19", "book_text", needs="tensorflow"),
    "scientific_papers": Registered(
        "scientific_papers/arxiv", "article", url="https://drive.google.com"
    ),
    "lm1b": Registered("lm1b", "text", url="http://www.statmt.org"),
    "booksum": Registered("booksum/book", "document", needs="tensorflow"),
    "big_patent": Registered("big_patent/all", "description", needs="apache-beam"),
    "tiny_shakespeare": Registered(
        "tiny_shakespeare", "text", url="https://raw.githubusercontent.com"
    ),
}


def prepared_builder(name: str, root: Path) -> tfds.core.DatasetBuilder:
    """The TFDS builder of a corpus, prepared as ArrayRecord files.

    Looks in `root`, then in the usual TFDS folder ($TFDS_DATA_DIR), then downloads
    into `root`.

    Raises:
      MissingData: not prepared, and not to be fetched from here; says what to do.
    """
    corpus = REGISTERED[name]
    usual = os.environ.get("TFDS_DATA_DIR", "~/tensorflow_datasets")
    for folder in (root, Path(usual).expanduser()):
        # TFRecord files, the usual format of TFDS, cannot be read without TensorFlow.
        if any((folder / corpus.builder).glob("[0-9]*/*.array_record*")):
            return _builder(name, folder)
    if corpus.needs:
        raise _unavailable(name, root, f"preparing it needs {corpus.needs}")
    return _downloaded(name, root)


def _builder(name: str, folder: Path) -> tfds.core.DatasetBuilder:
    builder = REGISTERED[name].builder
    return tfds.builder(builder, data_dir=folder, file_format="array_record")


def _downloaded(name: str, root: Path) -> tfds.core.DatasetBuilder:
    url = REGISTERED[name].url
    try:
        # Without a network TFDS would try again for minutes.
        requests.head(url, timeout=10)
        builder = _builder(name, root)
        builder.download_and_prepare()
    except Exception as error:  # TFDS has no common class for what can go wrong
        reason = f"{type(error).__name__} while fetching it from {url}"
        raise _unavailable(name, root, reason) from error
    return builder


def _unavailable(name: str, root: Path, reason: str) -> MissingData:
    corpus = REGISTERED[name]
    extra = f" and {corpus.needs}" if corpus.needs else ""
    return MissingData(
        f"corpus {name!r} is not prepared on this machine: {reason}. Where there is "
        f"network, in an environment with tensorflow-datasets{extra}, run `tfds build "
        f"{corpus.builder} --file_format=array_record --data_dir={root}` and bring "
        "that folder here, or set $TFDS_DATA_DIR to where it lies; or give the path "
        "of a folder with the documents as text files"
    )
