"""Files of safetensors: the library agrees, and nothing damaged is read."""

import json

import jax.numpy as jnp
import numpy as np
import pytest

from rope_lab.interop.safetensors import read_header, write

TENSORS = {
    "first": np.arange(6, dtype=np.float32).reshape(2, 3),
    "empty": np.zeros((0, 4), np.float32),
    "last": np.linspace(-1, 1, 5, dtype=np.float32),
}


@pytest.fixture
def path(tmp_path):
    rows = [(name, value.shape, lambda v=value: v) for name, value in TENSORS.items()]
    write(tmp_path / "x.safetensors", rows, np.float32)
    return tmp_path / "x.safetensors"


def with_header(path, change):
    """The file with its JSON changed and its length kept right."""
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    change(header)
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + content[8 + length :])


def test_the_library_reads_what_is_written(path):
    library = pytest.importorskip("safetensors.numpy")
    found = library.load_file(path)
    assert found.keys() == TENSORS.keys()
    for name, value in TENSORS.items():
        np.testing.assert_array_equal(found[name], value)


@pytest.mark.parametrize("dtype", [np.float16, np.float64, jnp.bfloat16])
def test_what_the_library_writes_is_read(tmp_path, dtype):
    library = pytest.importorskip("safetensors.numpy")
    values = {name: value.astype(dtype) for name, value in TENSORS.items()}
    library.save_file(values, tmp_path / "y.safetensors", {"any": "thing"})
    found = read_header(tmp_path / "y.safetensors")
    for name, value in values.items():
        assert found[name].shape == value.shape
        np.testing.assert_array_equal(found[name].mapped(), value)


@pytest.mark.parametrize("kept", [0, 5, 30, -1])
def test_a_truncated_file_is_refused(path, kept):
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(ValueError, match="damaged or incomplete"):
        read_header(path)


def test_tensors_that_overlap_are_refused(path):
    with_header(path, lambda h: h["last"].update(data_offsets=[4, 24]))
    with pytest.raises(ValueError, match="'last' lies at 4 to 24"):
        read_header(path)


def test_a_shape_of_other_bytes_is_refused(path):
    with_header(path, lambda h: h["first"].update(shape=[3, 3]))
    with pytest.raises(ValueError, match="'first' lies at 0 to 24"):
        read_header(path)


def test_quantized_weights_are_refused_by_dtype(path):
    with_header(path, lambda h: h["last"].update(dtype="F8_E4M3"))
    with pytest.raises(ValueError, match="F8_E4M3.*not quantized"):
        read_header(path)


def test_another_file_is_refused(tmp_path):
    (tmp_path / "z").write_bytes((9).to_bytes(8, "little") + b"[1, 2, 3]")
    with pytest.raises(ValueError, match="its header is no object"):
        read_header(tmp_path / "z")
