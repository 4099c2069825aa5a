"""Corpora of the TFDS catalogue, prepared here in miniature."""

import time

import numpy as np
import pytest
import requests
import tensorflow_datasets as tfds

from rope_lab.data import load_corpus
from rope_lab.data.registered import REGISTERED, Registered
from rope_lab.data.sources import open_documents

BOOKS = [f"Book {number}. Call me {'very ' * number}Ishmael." for number in range(10)]


class Pg19(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """Writes what the real builder of this name writes, in few words."""

    VERSION = tfds.core.Version("0.1.1")
    url_infos = {}

    def _info(self):
        features = {"book_text": tfds.features.Text(), "book_id": np.int32}
        return tfds.core.DatasetInfo(
            builder=self, features=tfds.features.FeaturesDict(features)
        )

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples(), "test": self._few()}

    def _few(self):
        yield 0, {"book_text": "The test split.", "book_id": 0}

    def _generate_examples(self):
        for number, text in enumerate(BOOKS):
            yield number, {"book_text": text, "book_id": number}


class RopeLabTestBooks(Pg19):
    """The same under a name of its own, which `tfds.builder` finds."""


@pytest.fixture
def no_network(monkeypatch, tmp_path):
    def fail(*args, **kwargs):
        raise requests.ConnectionError("no route")

    monkeypatch.setattr(requests, "head", fail)
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "elsewhere"))


@pytest.mark.parametrize("place", ["data/tensorflow_datasets", "elsewhere"])
def test_a_prepared_corpus_is_read_where_it_lies(place, no_network, tmp_path):
    folder = tmp_path / place
    Pg19(data_dir=folder, file_format="array_record").download_and_prepare()
    corpus = load_corpus("pg19", tmp_path / "data")
    assert sorted(corpus.everything) == sorted(BOOKS)
    assert corpus.num_documents("held_out") == 1


def test_files_that_only_tensorflow_reads_do_not_count(no_network, tmp_path):
    Pg19(data_dir=tmp_path, file_format="array_record").download_and_prepare()
    other = tmp_path / "elsewhere" / "pg19" / "0.1.1"
    other.mkdir(parents=True)
    for file in (tmp_path / "pg19").glob("*/*.array_record*"):
        file.rename(other / file.name.replace("array_record", "tfrecord"))
    with pytest.raises(ValueError, match="file_format=array_record"):
        load_corpus("pg19", tmp_path / "data")


def test_a_corpus_is_fetched_where_the_network_allows(tmp_path, monkeypatch):
    entry = Registered("rope_lab_test_books", "book_text", url="http://reachable")
    monkeypatch.setitem(REGISTERED, "books", entry)
    monkeypatch.setattr(requests, "head", lambda url, timeout: None)
    corpus = load_corpus("books", tmp_path / "data")
    assert sorted(corpus.everything) == sorted(BOOKS)
    monkeypatch.setattr(requests, "head", None)  # now it is here
    assert load_corpus("books", tmp_path / "data").checksum == corpus.checksum


@pytest.mark.parametrize("name", REGISTERED)
def test_what_cannot_be_fetched_is_refused_at_once(name, no_network, tmp_path):
    start = time.monotonic()
    with pytest.raises(ValueError, match="tfds build") as caught:
        load_corpus(name, tmp_path / "data")
    assert time.monotonic() - start < 5
    assert "\n" not in str(caught.value)
    assert REGISTERED[name].builder in str(caught.value)


@pytest.mark.parametrize("name", REGISTERED)
def test_the_catalogue_has_each_corpus_with_its_text(name, tmp_path):
    corpus = REGISTERED[name]
    builder = tfds.builder(corpus.builder, data_dir=tmp_path)
    assert isinstance(builder.info.features[corpus.text_key], tfds.features.Text)


def test_a_split_of_its_own_is_read_for_evaluation(no_network, tmp_path):
    folder = tmp_path / "data" / "tensorflow_datasets"
    Pg19(data_dir=folder, file_format="array_record").download_and_prepare()
    assert list(open_documents("pg19", "test", tmp_path / "data")) == [
        "The test split."
    ]
    with pytest.raises(ValueError, match=r"\['test', 'train'\]"):
        open_documents("pg19", "validation", tmp_path / "data")
