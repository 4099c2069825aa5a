"""kill -9 at random moments, restart: the parameters of a run that nobody disturbed."""

import os
import subprocess
import sys
from pathlib import Path

import chex
import pytest
import tiny_run

from rope_lab.training import load_parameters, read_metrics

ROOT = Path(__file__).parents[2]
KILLS = 3


def train_and_kill(workdir: Path, kills: int, cache: Path) -> str:
    """Runs tests/tiny_run.py; returns what it printed."""
    paths = [str(ROOT), str(ROOT / "tests")]
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(paths),
        "JAX_COMPILATION_CACHE_DIR": str(cache),  # each restart compiles the same
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.1",
    }
    command = [sys.executable, tiny_run.__file__, str(workdir), str(kills)]
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_a_run_killed_again_and_again_ends_as_one_left_alone(tmp_path):
    killed, alone = tmp_path / "killed", tmp_path / "alone"
    train_and_kill(alone, 0, tmp_path / "cache")
    report = train_and_kill(killed, KILLS, tmp_path / "cache")
    print(report)
    assert len(report.splitlines()) == KILLS
    found, meta = load_parameters(killed)
    expected, _ = load_parameters(alone)
    assert meta["step"] == tiny_run.KILLED.num_steps
    chex.assert_trees_all_equal(found, expected)
    assert [(row["step"], row["loss"]) for row in read_metrics(killed)] == [
        (row["step"], row["loss"]) for row in read_metrics(alone)
    ]
