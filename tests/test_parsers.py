"""What strangers' files can do to the readers: a value, or one ValueError. No more."""

import contextlib
import json

import numpy as np
import pytest
from fuzzing import NUMBERS, many

from rope_lab.cli import config as config_module
from rope_lab.cli.json_config import take_json_config
from rope_lab.data import PackedSequences, load_corpus, load_tokenizer
from rope_lab.data.exports import read_manifest
from rope_lab.data.textfiles import read_documents, read_file
from rope_lab.evaluation.leval_tasks import TASKS, load_task
from rope_lab.logic import CATALOGUE, PositionLogic, logic_from_dict, position_logic
from rope_lab.training import checksums

OPTIONS = sorted({key for entry in CATALOGUE.values() for key in entry.options})
OPTIONS += ["resonance", "log_n", "train_length", "sliding_window", "layout"]


def a_logic(choices):
    """A serialised logic, more or less."""
    options = {
        choices.of(OPTIONS): 1 + choices.below(64)
        if choices.below(3)
        else choices.plain()
        for _ in range(choices.below(4))
    }
    values = {
        "schema_version": 1,
        "name": choices.of(list(CATALOGUE)),
        "head_dim": choices.of([2, 8, 64]),
        "base": 10_000.0,
        "options": options,
    }
    return values if choices.below(2) else choices.spoilt(values)


@many
def test_a_dictionary_is_a_logic_or_refused(choices):
    values = a_logic(choices) if choices.below(8) else choices.plain()
    with contextlib.suppress(ValueError):
        logic = logic_from_dict(values)
        assert isinstance(logic, PositionLogic)
        assert logic_from_dict(json.loads(json.dumps(logic.to_dict()))) is not None


@pytest.mark.parametrize("key", ["num_heads", "num_buckets", "hidden", "max_distance"])
def test_sizes_are_refused_before_they_cost_memory(key):
    values = position_logic("t5", head_dim=8, num_heads=2).to_dict()
    values["options"] |= {key: 10**13}
    with pytest.raises(ValueError, match=f"{key} 10000000000000; at most 65536"):
        logic_from_dict(values)


def a_line(choices, values):
    """A line of JSON, more or less."""
    kind = choices.below(4)
    if kind == 0:
        return choices.changed(json.dumps(values).encode())
    return json.dumps(choices.spoilt(values) if kind < 3 else choices.plain()).encode()


@many
def test_lines_are_documents_or_refused(tmp_path_factory, choices):
    path = tmp_path_factory.getbasetemp() / "lines.jsonl"
    lines = [a_line(choices, {"text": "some"}) for _ in range(choices.below(4))]
    path.write_bytes(b"\n".join(lines))
    with contextlib.suppress(ValueError):
        assert all(isinstance(one.decode(), str) for one in read_documents(path))


def test_a_line_as_deep_as_it_is_long_is_refused(tmp_path):
    path = tmp_path / "deep.jsonl"
    path.write_bytes(b"[" * 200_000)
    with pytest.raises(ValueError, match="line 1 is not JSON"):
        list(read_documents(path))


CONFIG = {
    "model": {"logic": {"name": "rope"}, "num_layers": 2, "width": 8},
    "data": {"corpus": "sotu", "length": 16, "batch_size": 2},
    "training": {"num_steps": 3, "learning_rate": 0.1},
}


@many
def test_a_json_config_is_a_config_or_refused(tmp_path_factory, choices):
    path = tmp_path_factory.getbasetemp() / "config.json"
    path.write_bytes(a_line(choices, CONFIG))
    with contextlib.suppress(ValueError):
        _, values = take_json_config([f"--config={path}"])
        config = config_module.read(config_module.PretrainConfig, values)
        assert isinstance(config, config_module.PretrainConfig)


QUESTIONS = {
    "input": "a long text",
    "instructions": ["what?", "is it?"],
    "outputs": ["12", "True [fact: False]"],
}


@many
def test_lines_are_questions_or_refused(tmp_path_factory, choices):
    folder, task = tmp_path_factory.getbasetemp(), choices.of(list(TASKS.values()))
    lines = [a_line(choices, QUESTIONS) for _ in range(choices.below(3))]
    (folder / f"{task.stem}.jsonl").write_bytes(b"\n".join(lines))
    with contextlib.suppress(ValueError):
        for one in load_task(folder, task).questions:
            assert all(isinstance(text.encode(), bytes) for text in one)


MANIFEST = {
    "name": "reports",
    "official_file": "somewhere",
    "conversion_command": "convert",
    "splits": {"test": "test.jsonl"},
    "columns": {"text": "input"},
}


@many
def test_a_manifest_names_files_beside_it_or_is_refused(tmp_path_factory, choices):
    folder = tmp_path_factory.getbasetemp()
    file = choices.of(["test.jsonl", "/a", "../a", "a/..", "..", "a\\b", "\0", "a/b"])
    given = MANIFEST | {"splits": {"test": file}}
    (folder / "manifest.json").write_bytes(a_line(choices, given))
    with contextlib.suppress(ValueError):
        for file in read_manifest(folder / "manifest.json").splits.values():
            assert (folder / file).parent == folder and ".." not in file.split("/")


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """A .parquet file of a few documents."""
    pyarrow, parquet = (pytest.importorskip(f"pyarrow{x}") for x in ("", ".parquet"))
    path = tmp_path_factory.mktemp("table") / "whole.parquet"
    texts = ["some text", "é" * 40, "more of it" * 9]
    parquet.write_table(pyarrow.table({"text": texts}), path)
    return path.read_bytes()


@many
def test_a_table_is_documents_or_refused(table, tmp_path_factory, choices):
    path = tmp_path_factory.getbasetemp() / "table.parquet"
    path.write_bytes(choices.changed(table))
    with contextlib.suppress(ValueError):
        assert all(isinstance(one.decode(), str) for one in read_file(path))


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """A corpus, and the index of its tokens."""
    folder = tmp_path_factory.mktemp("store")
    (folder / "text").mkdir()
    for number in range(3):
        (folder / "text" / f"{number}.txt").write_text(f"{number} and more" * 9)
    corpus = load_corpus(folder / "text", folder / "data", 0.0)
    PackedSequences(corpus, load_tokenizer("bytes"), "train", 0, 8)
    (index,) = (folder / "data" / "tokens").glob("*/offsets.npy")
    return corpus, index, index.read_bytes()


@many
def test_a_packing_index_is_right_or_refused(store, choices):
    corpus, index, whole = store
    content = choices.changed(whole)
    if not choices.below(4):
        numbers = [
            choices.of([choices.of(NUMBERS), choices.below(600)]) for _ in "....."
        ]
        content = whole[:-40] + np.array(numbers, np.uint64).tobytes()
    index.write_bytes(content)
    with contextlib.suppress(ValueError):
        found = PackedSequences(corpus, load_tokenizer("bytes"), "train", 0, 8)
        assert found[3]["inputs"].shape == (8,)


@many
def test_checksums_are_read_or_reported(tmp_path_factory, choices):
    folder = tmp_path_factory.getbasetemp()
    given = {"schema_version": 1, "files": {"a": {"bytes": 3, "sha256": "0" * 64}}}
    (folder / checksums.NAME).write_bytes(a_line(choices, given))
    assert isinstance(checksums.problems(folder), list)
