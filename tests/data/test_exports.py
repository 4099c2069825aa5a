"""Exported data sets: order, columns, manifests, and what is said when one is wrong."""

import json

import pyarrow
import pyarrow.parquet
import pytest

from rope_lab.data import exports
from rope_lab.data.sources import open_documents

TEXTS = [f"Report {number}, {'in short ' * (7 - number)}done." for number in range(7)]
MANIFEST = {
    "name": "reports",
    "official_file": "reports.zip",
    "conversion_command": "unzip reports.zip",
    "splits": {"test": "test.parquet", "train": "train.jsonl"},
    "columns": {"text": "input"},
}


@pytest.fixture
def folder(tmp_path):
    place = tmp_path / "reports"
    place.mkdir()
    (place / "manifest.json").write_text(json.dumps(MANIFEST))
    write_parquet(place / "test.parquet", "input")
    lines = [json.dumps({"input": text}) for text in TEXTS[:2]]
    (place / "train.jsonl").write_text("\n".join(lines))
    return place


def write_parquet(path, column):
    table = pyarrow.table({"id": list(range(len(TEXTS))), column: TEXTS})
    pyarrow.parquet.write_table(table, path)


def test_documents_keep_the_order_of_the_official_file(folder, tmp_path):
    assert list(open_documents(folder, "test", tmp_path / "data")) == TEXTS
    assert list(open_documents(folder, "train", tmp_path / "data")) == TEXTS[:2]


def test_what_is_prepared_is_read_again_until_the_file_changes(folder, tmp_path):
    open_documents(folder, "train", tmp_path / "data")
    prepared = tmp_path / "data" / "exports" / "prepared"
    before = sorted(prepared.iterdir())
    open_documents(folder, "train", tmp_path / "data")
    assert sorted(prepared.iterdir()) == before
    (folder / "train.jsonl").write_text(json.dumps({"input": "new"}))
    assert list(open_documents(folder, "train", tmp_path / "data")) == ["new"]


@pytest.mark.parametrize("name", ["govreport", "proof_pile"])
def test_a_known_data_set_needs_its_file_alone(name, tmp_path):
    manifest = exports.read_manifest(exports.KNOWN[name])
    with pytest.raises(ValueError, match="load_dataset") as caught:
        open_documents(name, "test", tmp_path)
    place = tmp_path / "exports" / name
    message = str(caught.value)
    assert manifest.official_file in message and str(place) in message
    place.mkdir(parents=True)
    write_parquet(place / manifest.splits["test"], manifest.columns["text"])
    assert list(open_documents(name, "test", tmp_path)) == TEXTS


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"columns": {"text": "report"}}, 'expected one called "report"'),
        ({"columns": {}}, "expected at least one split and columns"),
        ({"splits": {"test": "other.parquet"}}, "unzip reports.zip"),
        ({"splits": {"test": "manifest.json"}}, "suffix '.json'"),
        ({"colums": {}}, "has the keys"),
    ],
)
def test_a_wrong_manifest_is_one_message(folder, tmp_path, change, expected):
    (folder / "manifest.json").write_text(json.dumps(MANIFEST | change))
    with pytest.raises(ValueError, match=expected):
        open_documents(folder, "test", tmp_path / "data")


def test_a_split_that_is_not_there_is_named(folder, tmp_path):
    with pytest.raises(ValueError, match=r"\['test', 'train'\]"):
        open_documents(folder, "validation", tmp_path / "data")


def test_text_files_are_documents_in_the_order_of_their_names(tmp_path):
    for name, text in (("b", "second"), ("a", "first")):
        (tmp_path / f"{name}.txt").write_text(text)
    assert list(open_documents(tmp_path)) == ["first", "second"]


def test_unknown_documents_are_told_what_is_known(tmp_path):
    with pytest.raises(ValueError, match="govreport"):
        open_documents("gov-report", "test", tmp_path)
