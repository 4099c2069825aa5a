"""What strangers' files can do to the readers: a value, or one ValueError. No more.

ROPE_LAB_CASES=100000 runs as many cases of each; `make fuzz` does.
"""

import contextlib
import json
import os

import numpy as np
import pytest

pytest.importorskip("hypothesis", reason="hypothesis comes with the extra dev")

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rope_lab.cli import config as config_module
from rope_lab.cli.json_config import take_json_config
from rope_lab.data import PackedSequences, load_corpus, load_tokenizer
from rope_lab.data.textfiles import read_documents
from rope_lab.logic import CATALOGUE, PositionLogic, logic_from_dict, position_logic
from rope_lab.training import checksums

many = settings(
    max_examples=int(os.environ.get("ROPE_LAB_CASES", "100")),
    deadline=None,
    derandomize="ROPE_LAB_CASES" not in os.environ,
    suppress_health_check=list(HealthCheck),
    database=None,
)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.integers(-2, 300)
    | st.floats()
    | st.text(max_size=8)
)
PLAIN = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=12,
)
OPTIONS = sorted({key for entry in CATALOGUE.values() for key in entry.options})
SHARED = ["resonance", "log_n", "train_length", "sliding_window", "layout"]
LOGICS = st.fixed_dictionaries(
    {
        "schema_version": st.just(1) | SCALARS,
        "name": st.sampled_from(list(CATALOGUE)) | SCALARS,
        "head_dim": st.sampled_from([2, 8, 64]) | SCALARS,
        "base": st.just(10_000.0) | SCALARS,
        "options": PLAIN
        | st.dictionaries(
            st.sampled_from(OPTIONS + SHARED), st.integers(1, 64) | PLAIN, max_size=4
        ),
    }
)


@many
@given(LOGICS | PLAIN)
def test_a_dictionary_is_a_logic_or_refused(values):
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


LINES = st.binary(max_size=60) | PLAIN.map(lambda x: json.dumps(x).encode())
TEXTS = st.text(max_size=20).map(lambda x: json.dumps({"text": x}).encode())


@many
@given(st.lists(LINES | TEXTS | st.just(b'{"text": "\\ud800"}'), max_size=4))
def test_lines_are_documents_or_refused(tmp_path_factory, lines):
    path = tmp_path_factory.getbasetemp() / "lines.jsonl"
    path.write_bytes(b"\n".join(lines))
    with contextlib.suppress(ValueError):
        assert all(isinstance(one.decode(), str) for one in read_documents(path))


def test_a_line_as_deep_as_it_is_long_is_refused(tmp_path):
    path = tmp_path / "deep.jsonl"
    path.write_bytes(b"[" * 200_000)
    with pytest.raises(ValueError, match="line 1 is not JSON"):
        list(read_documents(path))


@many
@given(PLAIN.map(lambda x: json.dumps(x).encode()) | st.binary(max_size=200))
def test_a_file_is_a_tokenizer_or_refused(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "tokenizer.json"
    path.write_bytes(content)
    with contextlib.suppress(ValueError):
        assert load_tokenizer(path).vocab_size >= 1


@many
@given(st.text(max_size=40) | PLAIN.map(json.dumps))
def test_a_json_config_is_a_config_or_refused(tmp_path_factory, text):
    path = tmp_path_factory.getbasetemp() / "config.json"
    path.write_text(text, errors="replace")
    with contextlib.suppress(ValueError):
        _, values = take_json_config([f"--config={path}"])
        config = config_module.read(config_module.PretrainConfig, values)
        assert isinstance(config, config_module.PretrainConfig)


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
    return corpus, index


INDEX = st.lists(st.integers(-(2**63), 2**63 - 1) | st.integers(0, 600), max_size=6)
OTHER_BYTES = st.tuples(st.integers(0, 300), st.binary(max_size=4))


@many
@given(st.binary(max_size=300) | INDEX | OTHER_BYTES)
def test_a_packing_index_is_right_or_refused(store, content):
    corpus, index = store
    whole = index.read_bytes()
    expected = PackedSequences(corpus, load_tokenizer("bytes"), "train", 0, 8)[3]
    try:
        if isinstance(content, bytes):
            index.write_bytes(content)
        elif isinstance(content, tuple):  # some bytes of the right one are others
            place, some = content
            index.write_bytes(whole[:place] + some + whole[place + len(some) :])
        else:
            np.save(index, np.array(content, np.int64))
        with contextlib.suppress(ValueError):
            found = PackedSequences(corpus, load_tokenizer("bytes"), "train", 0, 8)
            assert found[3]["inputs"].shape == expected["inputs"].shape
    finally:
        index.write_bytes(whole)


@many
@given(PLAIN.map(lambda x: json.dumps(x).encode()) | st.binary(max_size=100))
def test_checksums_are_read_or_reported(tmp_path_factory, content):
    folder = tmp_path_factory.getbasetemp()
    (folder / checksums.NAME).write_bytes(content)
    assert isinstance(checksums.problems(folder), list)
