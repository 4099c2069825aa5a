"""A run's folder is enough to repeat the run."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from rope_lab.cli.main import main, run_experiment
from rope_lab.training import read_metrics

ROOT = Path(__file__).parents[2]


def pretrain(config, workdir, *more):
    run_experiment(
        "pretrain", ["x", f"--config={config}", f"--workdir={workdir}", *more]
    )


def test_a_copied_folder_repeats_its_losses_and_says_where_it_was_made(
    settings, write_config, corpus, tmp_path, monkeypatch
):
    monkeypatch.chdir(corpus.parent)
    settings["data"]["corpus"] = corpus.name  # relative, as users have it
    pretrain(write_config(settings), tmp_path / "run", "--config.data.seed=3")
    copy = shutil.copytree(tmp_path / "run", tmp_path / "elsewhere" / "copy")
    record = json.loads((copy / "run.json").read_text())
    (sitting,) = record["sittings"]
    assert sitting["mesh"] == {"data": 1, "fsdp": 1, "tensor": 1, "context": 1}
    assert set(sitting) > {"command", "commit", "versions", "machine", "processes"}
    config = json.loads((copy / "config.json").read_text())
    assert config["data"]["seed"] == 3
    command = record["repeat"].split()
    assert command[0] == "python"
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    # The data lies where the record says, and is prepared anew.
    place = Path(sitting["folder"]) / config["data"]["corpus"]
    again = [sys.executable, *command[1:], f"--config.data.corpus={place}"]
    again += [f"--config.data.data_dir={tmp_path / 'fresh'}"]
    subprocess.run(again, cwd=copy, env=environment, check=True, capture_output=True)
    (repetition,) = json.loads((copy / "again" / "run.json").read_text())["sittings"]
    assert repetition["data"] == sitting["data"]
    assert repetition["folder"] == str(copy)
    rows, repeated = (read_metrics(path) for path in (copy, copy / "again"))
    assert [row["step"] for row in rows] == [row["step"] for row in repeated]
    for name in ("loss", "eval/loss", "grad_norm"):
        assert [row.get(name) for row in rows] == [row.get(name) for row in repeated]


def test_rows_say_where_the_time_went(settings, write_config, tmp_path):
    pretrain(write_config(settings), tmp_path / "run", "--profile")
    row = [row for row in read_metrics(tmp_path / "run") if "loss" in row][1]
    parts = [
        row[f"{part}_seconds"] for part in ("data", "step", "evaluation", "saving")
    ]
    assert all(part >= 0 for part in parts) and row["step_seconds"] > 0
    each = settings["data"]["batch_size"] * settings["data"]["length"]
    seconds = sum(parts) + row["host_seconds"]
    assert row["tokens_per_second"] <= 1.01 * each / seconds
    assert row["flops_per_second_per_device"] > row["tokens_per_second_per_device"]
    assert row["memory_peak_bytes"] > 1e7
    assert list((tmp_path / "run" / "profile").rglob("*.xplane.pb"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[1]", "holds a list; expected an object"),
        ("{", "is no JSON"),
        ('{"seed": NaN}', "NaN is no number of JSON"),
        ("[" * 100_000, "is no JSON"),
        ('{"sead": 1}', "sead"),
        (" " * (2**20 + 1), "more than 1048576 bytes"),
    ],
)
def test_a_json_config_that_is_none_is_one_line(content, message, tmp_path, capsys):
    path = tmp_path / "config.json"
    path.write_text(content)
    with pytest.raises(SystemExit) as ended:
        main(["rope-lab", "pretrain", "--config", str(path), f"--workdir={tmp_path}"])
    captured = capsys.readouterr().err
    assert ended.value.code == 2 and message in captured
    assert len(captured.splitlines()) == 1
