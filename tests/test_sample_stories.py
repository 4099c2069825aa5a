"""Sampled stories: as many as asked for, of one model and one seed in a folder."""

import json
import shutil

import pytest
from tiny_checkpoint import tiny_model
from tiny_llama2c import SIZES, write

from experiments.sample_stories import RECORD, sample
from rope_lab.data.sources import open_documents


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "tiny.bin"
    config, _, params = tiny_model(**SIZES)
    write(path, config, params)
    return path


@pytest.fixture(scope="module")
def four(tmp_path_factory, checkpoint):
    folder = tmp_path_factory.mktemp("stories") / "four"
    sample(str(checkpoint), folder, count=4, batch=3, seed=0)
    return folder


@pytest.fixture
def folder(four, tmp_path):
    return shutil.copytree(four, tmp_path / "four")


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_there_are_as_many_stories_as_asked_for_and_no_other_document(four):
    held = contents(four)
    assert sorted(held) == [RECORD, *(f"000{number}.txt" for number in range(4))]
    texts = [held[name].decode() for name in sorted(held) if name != RECORD]
    assert len(set(texts)) == 4
    assert list(open_documents(four)) == [text for text in texts if text.strip()]


def test_a_larger_count_goes_on_and_a_missing_story_is_the_same_again(
    checkpoint, folder, four, capsys
):
    (folder / "0001.txt").unlink()
    sample(str(checkpoint), folder, count=5, batch=3, seed=0)
    held = contents(folder)
    assert len(held) == 6 and contents(four).items() <= held.items()
    assert capsys.readouterr().out.splitlines() == ["3 of 5 stories", "5 of 5 stories"]


def test_stories_of_another_seed_model_or_batch_are_not_mixed(
    checkpoint, folder, tmp_path
):
    before = contents(folder)
    with pytest.raises(ValueError, match="sampled with seed 0, not 1: remove the"):
        sample(str(checkpoint), folder, count=5, batch=3, seed=1)
    with pytest.raises(ValueError, match="sampled with batch 3, not 2"):
        sample(str(checkpoint), folder, count=5, batch=2, seed=0)
    with pytest.raises(ValueError, match="holds 4 stories, more than --count=2"):
        sample(str(checkpoint), folder, count=2, batch=3, seed=0)
    config, _, params = tiny_model(seed=1, **SIZES)
    write(tmp_path / "other.bin", config, params)
    with pytest.raises(ValueError, match="sampled with checkpoint sha256"):
        sample(str(tmp_path / "other.bin"), folder, count=5, batch=3, seed=0)
    assert contents(folder) == before


def test_texts_without_a_record_are_not_taken_for_the_model_s(checkpoint, folder):
    (folder / RECORD).unlink()
    with pytest.raises(ValueError, match="holds 4 texts but no .*: remove them, or"):
        sample(str(checkpoint), folder, count=4, batch=3, seed=0)
    assert not (folder / RECORD).exists()


def test_the_record_says_what_sampled_them(four):
    record = json.loads((four / RECORD).read_text())
    assert (record["seed"], record["batch"], record["temperature"]) == (0, 3, 1.0)
    assert (record["length"], record["encoding"]["name"]) == (32, "rope")
