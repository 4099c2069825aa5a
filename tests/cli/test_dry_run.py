"""--dry-run: the config as it would run, an estimate, and nothing else."""

import dataclasses
import importlib.util
import json
import re
from pathlib import Path
from types import SimpleNamespace

import pytest

from rope_lab.cli import config as schema
from rope_lab.cli import dry_run, trial
from rope_lab.cli.main import main, reader_of
from rope_lab.model import ModelConfig, build_logic

ROOT = Path(__file__).resolve().parents[2]
STEP, WINDOW = 2.0, 0.5  # seconds, made up
MODEL = ModelConfig(vocab_size=256, num_layers=1, width=16, head_dim=8)
ROPE = build_logic({"name": "rope"}, MODEL)


@pytest.fixture
def clocked(monkeypatch):
    """Trials that take no time and give the seconds above."""
    monkeypatch.setattr(dry_run, "step_seconds", lambda *_: STEP)
    monkeypatch.setattr(dry_run, "window_seconds", lambda *_: WINDOW)
    opened = SimpleNamespace(
        model_config=MODEL, train_length=32, completed=lambda spec: spec,
        logic=lambda: ROPE, own=lambda length: ROPE,
    )  # fmt: skip
    monkeypatch.setattr(dry_run, "load_checkpoint", lambda *_: opened)
    monkeypatch.setattr(dry_run, "open_checkpoint", lambda *_: opened)


def config_of(name, experiment):
    """A config of the clone, read as the command reads it."""
    path = ROOT / "configs" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    values = module.get_config().to_dict()
    if experiment == "sweep":
        values["grid"] = "seed=[0,1,2]"
    return schema.read(getattr(schema, reader_of(experiment, values)[1]), values)


def test_it_shows_the_whole_config_tries_a_step_and_writes_nothing(
    capsys, settings, write_config, tmp_path
):
    config, workdir = write_config(settings), tmp_path / "run"
    arguments = [f"--config={config}", "--config.seed=3", f"--workdir={workdir}"]
    before = set(tmp_path.iterdir())
    main(["rope-lab", "pretrain", *arguments, "--dry-run"])
    shown, _, told = capsys.readouterr().out.partition("\n\nEstimated")
    values = json.loads(shown)
    assert values["seed"] == 3 and values["training"]["weight_decay"] >= 0
    assert schema.read(schema.PretrainConfig, values).data.length == 16
    each = re.search(r"training, steps: 6 of ([\d.e-]+) s", told)
    assert 0 < float(each[1]) < 60
    assert set(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("experiment", "name", "steps", "windows"),
    [
        ("pretrain", "pretrain", 400, 0),
        ("sweep", "pretrain", 3 * 400, 0),
        ("finetune", "finetune", 20, 0),
        # 18 rows with that of truncated context, at four lengths.
        ("demo", "demo", 1800 + 2 * 40, 18 * 4 * (32 + 12)),
    ],
)
def test_the_estimate_counts_every_step_and_window(
    clocked, experiment, name, steps, windows
):
    parts = list(dry_run._parts(config_of(name, experiment)))
    seconds = sum(part.times * part.each for part in parts)
    assert seconds == steps * STEP + windows * WINDOW


def test_a_study_counts_the_training_and_the_rows_of_each_model(clocked):
    config = config_of("rerope_small", "extrapolate")
    parts = list(dry_run._parts(config))
    labels = [part.what.rpartition(",")[0] for part in parts]
    assert list(dict.fromkeys(labels)) == [one.label for one in config.trained]
    steps = sum(part.times for part in parts if part.each == STEP)
    changed = [one.training.get("num_steps") for one in config.trained]
    assert steps == sum(n or config.training.num_steps for n in changed)


def test_posgen_counts_every_model_of_every_cell(clocked):
    config = config_of("posgen_small", "posgen")
    members = len(config.encodings) * len(config.seeds)
    assert [part.times for part in dry_run._parts(config)] == [
        members * cell.get("num_steps", config.training.num_steps)
        for cell in config.cells
    ]


def test_what_cannot_be_estimated_is_said(clocked, capsys):
    sliding = schema.PerplexityConfig(checkpoint="runs/a", convention="sliding")
    dry_run.dry_run(sliding)
    assert "sliding: not estimated" in capsys.readouterr().out
    last = dataclasses.replace(sliding, convention="last", count=7, lengths=[32, 64])
    parts = list(dry_run._parts(last))
    assert [(part.times, part.each) for part in parts] == [(7, WINDOW)] * 2
    dry_run.dry_run(config_of("wavelengths_small", "wavelengths"))
    assert "No estimate: how long a search takes" in capsys.readouterr().out


def test_a_model_too_large_to_be_tried_is_not_tried(monkeypatch, capsys):
    monkeypatch.setattr(trial, "device_memory", lambda: 1e6)
    dry_run.dry_run(config_of("pretrain", "pretrain"))
    assert "No estimate: a step needs at least" in capsys.readouterr().out


def test_a_command_that_ends_at_once_has_no_dry_run(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["rope-lab", "generate", "runs/none", "--dry-run"])
    assert stop.value.code == 2
    assert "generate has no --dry-run" in capsys.readouterr().err
