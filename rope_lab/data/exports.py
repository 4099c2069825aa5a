"""Data sets that nobody may pass on, read from files that a user has exported.

A folder holds the exported files and, unless it is one that this package knows,
manifest.json:

    {"name": "govreport",
     "official_file": where the text comes from,
     "conversion_command": what wrote the files of this folder,
     "splits": {"test": "test.parquet"},
     "columns": {"text": "input"}}

The files are .jsonl or .parquet. Documents keep their order: "the first 50" means the
first 50 of the official file.
"""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path
from typing import Any, ClassVar

import tensorflow_datasets as tfds

from rope_lab.data.corpora import prepare_quietly
from rope_lab.data.json_text import parse_json
from rope_lab.data.missing import MissingData
from rope_lab.data.storage import built
from rope_lab.data.textfiles import read_file

MANIFEST = "manifest.json"
KNOWN = {
    path.stem: path for path in (Path(__file__).parent / "manifests").glob("*.json")
}


@dataclasses.dataclass(frozen=True)
class Manifest:
    """What an export is of, and how it was made; the keys of the JSON file."""

    name: str
    official_file: str
    conversion_command: str
    splits: dict[str, str]  # split -> file beside the manifest
    columns: dict[str, str]  # {"text": the column that holds the documents}


class LocalExport(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # type: ignore[call-arg]
    """TFDS builder of an exported data set; its documents keep their order."""

    VERSION = tfds.core.Version("1.0.0")
    # Nothing to download, so no checksum files to look for.
    url_infos: ClassVar[dict[str, Any]] = {}

    def __init__(self, *, folder: Path, manifest: Manifest, split: str, data_dir: Path):
        self._file = folder / manifest.splits[split]
        self._column, self._split = manifest.columns["text"], split
        super().__init__(data_dir=data_dir, file_format="array_record")

    def _info(self) -> tfds.core.DatasetInfo:
        features = tfds.features.FeaturesDict({"text": tfds.features.Text()})
        return tfds.core.DatasetInfo(
            builder=self, features=features, disable_shuffling=True
        )

    def _split_generators(self, dl_manager):
        del dl_manager  # the files are here already
        return {self._split: self._generate_examples()}

    def _generate_examples(self):
        for key, document in enumerate(read_file(self._file, self._column)):
            yield key, {"text": document}


def open_export(spec: str | Path, split: str, root: Path):
    """Records of one split, each with "text" as bytes, in the order of the file.

    Args:
      spec: the name of a known data set, whose files lie in root/exports/<name>, or the
        path of a folder with a manifest.
      split: "test", say.
      root: of prepared data.

    Raises:
      MissingData: the file is not there; says where it comes from.
      ValueError: a manifest or file that is wrong; says what to do.
    """
    folder = _folder(spec, root)
    manifest = read_manifest(_manifest_of(spec, folder))
    if split not in manifest.splits:
        raise ValueError(
            f"{manifest.name!r} has no split {split!r}; its manifest names "
            f"{sorted(manifest.splits)}"
        )
    file = folder / manifest.splits[split]
    if not file.is_file():
        raise MissingData(
            f"{manifest.name!r} needs {file}, which is not there. It comes from "
            f"{manifest.official_file}; in {folder}, with network, run "
            f"{manifest.conversion_command}"
        )
    with file.open("rb") as content:
        checksum = hashlib.file_digest(content, "sha256").hexdigest()

    def write(scratch: Path) -> None:
        prepare_quietly(
            LocalExport(folder=folder, manifest=manifest, split=split, data_dir=scratch)
        )

    name = f"{manifest.name}-{split}-{manifest.columns['text']}-{checksum[:16]}"
    place = built(root / "exports" / "prepared" / name, write)
    builder = LocalExport(folder=folder, manifest=manifest, split=split, data_dir=place)
    return builder.as_data_source(split)


def is_export(spec: str | Path) -> bool:
    """Whether `spec` is a known export or a folder with a manifest."""
    return str(spec) in KNOWN or (Path(spec).expanduser() / MANIFEST).is_file()


def read_manifest(path: Path) -> Manifest:
    """Reads and checks a manifest.

    Raises:
      ValueError: says which key is missing, unknown or wrong.
    """
    values = parse_json(path.read_bytes(), str(path))
    fields = [field.name for field in dataclasses.fields(Manifest)]
    given = sorted(values) if isinstance(values, dict) else values
    if given != sorted(fields):
        raise ValueError(f"{path} has the keys {given}; expected {sorted(fields)}")
    splits, columns = values["splits"], values["columns"]
    texts = [values[key] for key in ("name", "official_file", "conversion_command")]
    if (
        not all(isinstance(text, str) for text in texts)
        or not (_names_files(splits) and _names_files(columns))
        or set(columns) != {"text"}
    ):
        raise ValueError(
            f"{path}: expected at least one split and columns like "
            f'{{"text": "input"}}, got {splits} and {columns}'
        )
    for name in (values["name"], *splits, *splits.values()):
        if name in ("", ".", "..") or set(name) & set("/\\\0"):
            raise ValueError(
                f"{path}: {name!r} must be the name of a file beside the manifest, "
                "without folders"
            )
    return Manifest(**values)


def _names_files(value: Any) -> bool:
    """Whether it is an object of texts, and not empty."""
    return (
        isinstance(value, dict)
        and bool(value)
        and all(isinstance(one, str) for one in value.values())
    )


def _folder(spec: str | Path, root: Path) -> Path:
    if str(spec) in KNOWN:
        return root / "exports" / str(spec)
    return Path(spec).expanduser()


def _manifest_of(spec: str | Path, folder: Path) -> Path:
    """That of the folder, or the one which comes with the package."""
    if (folder / MANIFEST).is_file() or str(spec) not in KNOWN:
        return folder / MANIFEST
    return KNOWN[str(spec)]
