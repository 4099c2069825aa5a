"""Prepared folders: whole or absent, and built once."""

import subprocess
import sys
import threading
import time

import pytest

from rope_lab.data import storage
from rope_lab.data.storage import built, data_root


def test_a_folder_is_built_once_by_many_at_a_time(tmp_path):
    calls = []

    def write(scratch):
        calls.append(scratch)
        time.sleep(0.05)
        (scratch / "whole").write_text("yes")

    folder = tmp_path / "deep" / "folder"
    threads = [threading.Thread(target=built, args=(folder, write)) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(calls) == 1
    assert (folder / "whole").read_text() == "yes"


def test_a_failure_leaves_no_folder_and_the_next_call_builds_it(tmp_path):
    def fail(scratch):
        (scratch / "half").write_text("")
        raise OSError("disk full")

    folder = tmp_path / "folder"
    with pytest.raises(OSError, match="disk full"):
        built(folder, fail)
    assert not folder.exists()
    assert built(folder, lambda scratch: (scratch / "whole").touch()) == folder
    assert [path.name for path in folder.iterdir()] == ["whole"]


PROGRAM = """
import pathlib, runpy, sys, time
def write(scratch):
    (scratch / "half").touch()
    print("half way", flush=True)
    time.sleep(60)
runpy.run_path(sys.argv[1])["built"](pathlib.Path(sys.argv[2]), write)
"""


def test_a_process_killed_while_building_leaves_neither_folder_nor_lock(tmp_path):
    folder = tmp_path / "folder"
    command = [sys.executable, "-c", PROGRAM, storage.__file__, folder]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "half way\n"
    process.kill()
    process.wait()
    process.stdout.close()
    assert not folder.exists() and (tmp_path / "folder.partial" / "half").exists()
    assert built(folder, lambda scratch: (scratch / "whole").touch()) == folder
    assert [path.name for path in folder.iterdir()] == ["whole"]
    assert not (tmp_path / "folder.partial").exists()


def test_an_argument_beats_the_environment_and_that_the_default(monkeypatch):
    monkeypatch.setenv("HOME", "/home/someone")
    monkeypatch.delenv("ROPE_LAB_DATA", raising=False)
    assert str(data_root()) == "/home/someone/.cache/rope_lab"
    monkeypatch.setenv("ROPE_LAB_DATA", "/data")
    assert str(data_root()) == "/data"
    assert str(data_root("~/mine")) == "/home/someone/mine"
