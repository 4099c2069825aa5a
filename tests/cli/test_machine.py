"""Where the machine is in the way, one line says what to do."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from rope_lab.cli.main import main

ROOT = Path(__file__).resolve().parents[2]


def last_line(capsys, config, workdir) -> str:
    """What pretraining says that cannot go on; it ends with status 1."""
    with pytest.raises(SystemExit) as stop:
        main(["rope-lab", "pretrain", f"--config={config}", f"--workdir={workdir}"])
    assert stop.value.code == 1
    printed = capsys.readouterr().err
    assert "Traceback" not in printed
    return printed.strip().splitlines()[-1]


@pytest.mark.skipif(not Path("/sys/kernel").is_dir(), reason="no folder closed to root")
def test_a_folder_that_nobody_may_write_is_named(capsys, settings, write_config):
    line = last_line(capsys, write_config(settings), "/sys/kernel/run")
    assert "/sys/kernel/run" in line and "give another --workdir" in line


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_says_how_much_room_is_left(
    capsys, settings, write_config, tmp_path, monkeypatch, number
):
    def write(*arguments, **options):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("rope_lab.training.checkpoint.Checkpoints.save", write)
    line = last_line(capsys, write_config(settings), tmp_path / "run")
    assert "MiB are left in" in line and "start the same command again" in line


def test_a_platform_that_is_not_here_is_said(settings, write_config, tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "rope_lab.cli.main", "pretrain"]
        + [f"--config={write_config(settings)}", f"--workdir={tmp_path / 'run'}"],
        env=os.environ | {"JAX_PLATFORMS": "cuda", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    line = done.stderr.strip().splitlines()[-1]
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "JAX_PLATFORMS=cpu" in line and "extra gpu" in line


def test_without_a_python_that_is_new_enough_make_says_which(tmp_path):
    done = subprocess.run(
        ["make", f"{tmp_path}/venv/.created", "PYTHON=", f"VENV={tmp_path}/venv"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode != 0 and not (tmp_path / "venv").exists()
    assert "Python 3.11 or newer is needed; name one with PYTHON=" in done.stderr
