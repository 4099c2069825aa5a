"""A sweep ends with what its cells would have been alone, killed or not."""

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time

import chex
import numpy as np
import pytest

from rope_lab.cli.checkpoints import load_checkpoint
from rope_lab.cli.config import PretrainConfig, SweepConfig, read
from rope_lab.cli.grid import make_cells
from rope_lab.cli.main import run_experiment
from rope_lab.cli.pretrain import pretrain
from rope_lab.cli.sweep import _prepare, sweep
from rope_lab.cli.sweep_members import train_group
from rope_lab.evaluation import load_results
from rope_lab.training import read_metrics

YARN = "{'name':'yarn','scale':4,'train_length':16}"
# float32: a mapped product sums in another order, and six updates carry it on.
TOLERANCE = 2e-4


def numbers(folder):
    """Rows of metrics without speeds: [(step, names, values)]."""
    rows = []
    clock = ("_seconds", "_per_second", "_per_device", "_bytes")
    for row in read_metrics(folder):
        kept = {k: v for k, v in row.items() if not k.endswith(clock)}
        rows.append((row["step"], list(kept), np.array(list(kept.values()))))
    return rows


def check_equal(folder, other):
    """Two runs logged the same and saved the same, but for rounding."""
    for found, expected in zip(numbers(folder), numbers(other), strict=True):
        assert found[:2] == expected[:2]
        np.testing.assert_allclose(found[2], expected[2], rtol=TOLERANCE)
    found, expected = load_checkpoint(folder), load_checkpoint(other)
    assert found.meta["config"] == expected.meta["config"]
    assert found.meta["encoding"] == expected.meta["encoding"]
    assert found.meta["step"] == expected.meta["step"]
    chex.assert_trees_all_close(found.params, expected.params, rtol=1e-3, atol=1e-4)


def test_cells_of_one_program_are_what_pretrain_makes_of_each(settings, tmp_path):
    settings["data"]["repeat_fraction"] = 0.25
    base = read(PretrainConfig, settings)
    grid = f"model.logic=[rope,{YARN}],seed=[0,5],data.seed=[0,1]"
    cells = make_cells(base, grid)
    cells = [cells[0], cells[3], cells[6]]
    _prepare(tmp_path / "sweep", base, cells)
    assert train_group(tmp_path / "sweep", [cell.name for cell in cells]) == {}
    for cell in cells:
        alone = tmp_path / "alone" / cell.name
        pretrain(cell.config, alone)
        check_equal(tmp_path / "sweep" / cell.name, alone)
    (timing,) = (tmp_path / "sweep" / "groups").glob("*.json")
    values = load_results(timing)
    assert values["cells"] == [cell.name for cell in cells]
    assert values["step_seconds"] > 0 and values["member_step_seconds"] > 0


def test_layers_with_patterns_of_their_own_share_a_program(settings, tmp_path):
    settings["model"]["num_layers"] = 2
    base = read(PretrainConfig, settings)
    pattern = "[{'name':'rope','sliding_window':4},{'name':'nope'}]"
    cells = make_cells(base, f"model.logic=[{pattern}],seed=[0,1]")
    _prepare(tmp_path / "sweep", base, cells)
    assert train_group(tmp_path / "sweep", [cell.name for cell in cells]) == {}
    pretrain(cells[1].config, tmp_path / "alone")
    check_equal(tmp_path / "sweep" / cells[1].name, tmp_path / "alone")


def test_cells_side_by_side_are_validated_on_packed_windows_as_those_alone(
    settings, tmp_path
):
    settings["validation"]["packed"] = True
    base = read(PretrainConfig, settings)
    cells = make_cells(base, "seed=[0,1]")
    names = [cell.name for cell in cells]
    _prepare(tmp_path / "sweep", base, cells)
    assert train_group(tmp_path / "sweep", names) == {}
    pretrain(cells[0].config, tmp_path / "alone")
    check_equal(tmp_path / "sweep" / cells[0].name, tmp_path / "alone")
    settings["validation"]["num_windows"] = 10_000
    base = read(PretrainConfig, settings)
    _prepare(tmp_path / "few", base, make_cells(base, "seed=[0,1]"))
    with pytest.raises(ValueError, match="num_windows is 10000, but the held-out"):
        train_group(tmp_path / "few", names)


def test_cells_of_a_corpus_held_in_whole_are_not_validated(settings, tmp_path):
    settings["data"]["held_out_fraction"] = 0.0
    settings["validation"]["num_windows"] = 0
    config = read(SweepConfig, settings | {"grid": "seed=[0,1]"})
    base = read(PretrainConfig, settings)
    cells = make_cells(base, config.grid)
    _prepare(tmp_path, base, cells)
    assert train_group(tmp_path, [cell.name for cell in cells]) == {}
    results = sweep(config, tmp_path)
    assert [row["held_out_loss"] for row in results["cells"]] == [None, None]
    assert "| seed-0 | " in (tmp_path / "table.md").read_text()


def command(config, workdir, *options):
    start = [sys.executable, "-m", "rope_lab.cli.main", "sweep"]
    return [*start, f"--config={config}", f"--workdir={workdir}", *options]


def checkpoints(folder):
    return {path.name for path in (folder / "checkpoints").glob("[0-9]*")}


@pytest.mark.slow
def test_a_sweep_killed_in_the_middle_ends_the_same_and_names_what_fails(
    settings, write_config, tmp_path, capsys
):
    settings["training"] |= {"num_steps": 60, "checkpoint_every": 2}
    config, killed = write_config(settings), tmp_path / "killed"
    good = f"model.logic=[rope,{YARN}],training.learning_rate=[0.01,1e4]"
    grid = ["--grid", good, "--workers=2"]
    process = subprocess.Popen(
        command(config, killed, *grid), stderr=subprocess.DEVNULL,
        start_new_session=True,
    )  # fmt: skip
    first = killed / "model.logic-rope_training.learning_rate-0.01"
    deadline = time.monotonic() + 240
    while not checkpoints(first) and time.monotonic() < deadline:
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)  # the sweep and what it started
    process.wait()
    assert "60" not in checkpoints(first)
    for workdir in (killed, tmp_path / "whole"):
        arguments = [f"--config={config}", f"--workdir={workdir}", *grid]
        with pytest.raises(SystemExit) as stop:
            run_experiment("sweep", ["sweep", *arguments])
        assert stop.value.code == 2
        message = capsys.readouterr().err.rpartition("error: ")[2]
        assert message.startswith("2 of 4 cells failed")
        for name in ("rope", "yarn-scale-4-train_length-16"):
            assert f"model.logic-{name}_training.learning_rate-10000.0: " in message
        assert (workdir / "table.md").read_text().count("(failed)") == 2
    losses = []
    for workdir in (killed, tmp_path / "whole"):
        rows = json.loads((workdir / "results.json").read_text())["cells"]
        losses.append([row["held_out_loss"] for row in rows if not row["failure"]])
        check_equal(workdir / first.name, killed / first.name)
    assert len(losses[0]) == 2
    np.testing.assert_allclose(*losses, rtol=TOLERANCE)


def test_a_finished_sweep_trains_nothing_and_refuses_another_config(settings, tmp_path):
    base = read(PretrainConfig, settings)
    cells = make_cells(base, "seed=[0,1]")
    _prepare(tmp_path, base, cells)
    assert train_group(tmp_path, [cell.name for cell in cells]) == {}
    before = read_metrics(tmp_path / "seed-0")
    results = sweep(read(SweepConfig, settings | {"grid": "seed=[0,1]"}), tmp_path)
    assert read_metrics(tmp_path / "seed-0") == before
    row = results["cells"][0]
    assert row["loss"] == before[2]["loss"] and row["side_by_side"] == 2
    assert row["held_out_loss"] == before[-1]["eval/loss"]
    settings["training"]["learning_rate"] = 0.5
    other = read(SweepConfig, settings | {"grid": "seed=[0,1]"})
    with pytest.raises(ValueError, match=r"(?s)learning_rate.*0.01.*0.5.*another"):
        sweep(other, tmp_path)


def test_a_cell_that_a_process_left_behind_still_trains_is_waited_for(
    settings, tmp_path, capsys
):
    config = read(SweepConfig, settings | {"grid": "seed=[0]"})
    (cell,) = make_cells(read(PretrainConfig, settings), "seed=[0]")
    pretrain(cell.config, tmp_path / "alone")
    folder = tmp_path / "sweep" / "seed-0"
    folder.mkdir(parents=True)
    lock = (folder / "lock").open("w")
    fcntl.flock(lock, fcntl.LOCK_EX)

    def finish():
        shutil.copytree(tmp_path / "alone", folder, dirs_exist_ok=True)
        lock.close()

    threading.Timer(1.0, finish).start()
    assert sweep(config, tmp_path / "sweep")["cells"][0]["step"] == 6
    printed = capsys.readouterr().err
    assert "seed-0: waits for the process" in printed and "seed-0  step" not in printed
