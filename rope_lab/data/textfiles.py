"""Documents in .txt, .jsonl and .parquet files, and their TFDS builder."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pyarrow
import pyarrow.parquet
import tensorflow_datasets as tfds

SUFFIXES = (".txt", ".jsonl", ".parquet")


class TextFiles(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # type: ignore[call-arg]
    """TFDS builder of the documents of any folder, or of a single file.

    A .txt file is one document, a .jsonl file one per line (key "text"), a .parquet
    file one per row (column "text"). Folders are searched to any depth; hidden files
    are left out. Read the result with `as_data_source("train")`.
    """

    VERSION = tfds.core.Version("1.0.0")
    # Nothing to download, so no checksum files to look for.
    url_infos: ClassVar[dict[str, Any]] = {}

    def __init__(self, *, path: str | Path, data_dir: str | Path):
        self._path = Path(path)
        super().__init__(data_dir=data_dir, file_format="array_record")

    def _info(self) -> tfds.core.DatasetInfo:
        features = tfds.features.FeaturesDict({"text": tfds.features.Text()})
        return tfds.core.DatasetInfo(builder=self, features=features)

    def _split_generators(self, dl_manager):
        del dl_manager  # the files are here already
        return {"train": self._generate_examples()}

    def _generate_examples(self):
        for key, document in enumerate(read_documents(self._path)):
            yield key, {"text": document}


def read_documents(path: Path) -> Iterator[bytes]:
    """The documents at `path` as UTF-8, one at a time; empty ones are left out.

    Raises:
      ValueError: no files to read, bytes that are not text, a line or a table
        without "text".
    """
    empty = True
    for file in _files(path):
        for document in _READERS[_suffix(file)](file, "text"):
            if document.strip():
                empty = False
                yield document
    if empty:
        raise ValueError(f"corpus {path} is empty: its files hold no text at all")


def _files(path: Path) -> list[Path]:
    """The readable files of a folder in sorted order, or the file itself."""
    if path.is_file():
        if _suffix(path) not in SUFFIXES:
            raise ValueError(
                f"corpus file {path} has the suffix {path.suffix!r}; expected one of "
                f"{', '.join(SUFFIXES)}: rename it if it is text"
            )
        return [path]
    files = sorted(
        file
        for file in path.rglob("*")
        if _suffix(file) in SUFFIXES
        and not file.name.startswith(".")
        and file.is_file()
    )
    if not files:
        raise ValueError(
            f"corpus folder {path} is empty: it holds no {', '.join(SUFFIXES)} file; "
            "put the documents there or give another folder"
        )
    return files


def _suffix(file: Path) -> str:
    """In small letters: what a program of another system wrote may end in .TXT."""
    return file.suffix.lower()


def read_file(file: Path, column: str = "text") -> Iterator[bytes]:
    """The documents of one .txt, .jsonl or .parquet file, from that key or column.

    Raises:
      ValueError: another suffix, bytes that are not text, no such key or column.
    """
    if _suffix(file) not in SUFFIXES:
        raise ValueError(
            f"{file} has the suffix {file.suffix!r}; expected one of "
            f"{', '.join(SUFFIXES)}"
        )
    return _READERS[_suffix(file)](file, column)


def _read_txt(file: Path, column: str) -> Iterator[bytes]:
    del column  # the file is the document
    yield _checked(file.read_bytes(), file)


def _read_jsonl(file: Path, column: str) -> Iterator[bytes]:
    offset = 0
    with file.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            _checked(line, file, offset)
            offset += len(line)
            if line.strip():
                yield _jsonl_text(line, column, f"{file}, line {number}")


def _jsonl_text(line: bytes, column: str, place: str) -> bytes:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        reason = getattr(error, "msg", error)
        raise ValueError(
            f"{place} is not JSON ({reason}); expected one object per line"
        ) from None
    text = record.get(column) if isinstance(record, dict) else None
    if not isinstance(text, str):
        raise ValueError(
            f'{place} has no "{column}"; expected an object like {{"{column}": "..."}}'
        )
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise ValueError(
            f"{place} holds half of a surrogate pair, which is no character; remove it"
        ) from None


def _read_parquet(file: Path, column: str) -> Iterator[bytes]:
    try:
        yield from _parquet_texts(file, column)
    except (pyarrow.ArrowException, OSError) as error:
        raise ValueError(f"{file} is not a Parquet file, or damaged: {error}") from None


def _parquet_texts(file: Path, column: str) -> Iterator[bytes]:
    with pyarrow.parquet.ParquetFile(file) as table:
        names = table.schema_arrow.names
        if column not in names:
            raise ValueError(
                f'{file} has the columns {names}; expected one called "{column}"'
            )
        for batch in table.iter_batches(columns=[column], batch_size=256):
            for text in batch.column(0).to_pylist():
                if not isinstance(text, str):
                    raise ValueError(
                        f'{file}: column "{column}" holds {type(text).__name__} '
                        "where a string is expected; remove such rows"
                    )
                yield text.encode()


_READERS = dict(zip(SUFFIXES, (_read_txt, _read_jsonl, _read_parquet), strict=True))


def _checked(content: bytes, file: Path, offset: int = 0) -> bytes:
    """Returns `content`, found `offset` bytes into `file`, if it is UTF-8 text."""
    bad = content.find(b"\0")  # valid UTF-8, yet found in no text
    if bad < 0:
        try:
            content.decode("utf-8")
            return content
        except UnicodeDecodeError as error:
            bad = error.start
    raise ValueError(
        f"{file} is not UTF-8 text: byte {offset + bad} is 0x{content[bad]:02x}; "
        "convert the file to UTF-8 or remove it from the corpus"
    )
