"""Wrong input ends with one line that says what to change, and exit status 2."""

import errno
import shutil

import pytest

from rope_lab.cli.commands import COMMANDS
from rope_lab.cli.extrapolate import split_row
from rope_lab.cli.main import main, run_experiment
from rope_lab.cli.run_folder import only_here
from rope_lab.training import Checkpoints, TrainingDiverged


def message(capsys, name, config, workdir, *overrides):
    """Runs an experiment that must fail; returns the one line it printed last."""
    argv = [name, f"--config={config}", f"--workdir={workdir}", *overrides]
    with pytest.raises(SystemExit) as stop:
        run_experiment(name, argv)
    assert stop.value.code == 2
    printed = capsys.readouterr().err
    assert "Traceback" not in printed
    return printed[printed.index("error: ") :]


@pytest.mark.parametrize(
    ("section", "key", "value", "expected"),
    [
        ("model", "head_dim", 7, "head_dim must be even"),
        ("model", "logic", {"name": "rop"}, "did you mean 'rope'"),
        (
            "model",
            "logic",
            {"name": "rope", "window": 4},
            "rope has no option 'window'",
        ),
        ("training", "num_step", 4, "did you mean 'num_steps'"),
        ("data", "corpus", "no-such-corpus", "no-such-corpus"),
        ("data", "length", 4000, "no document is long enough"),
    ],
)
def test_a_wrong_value_is_one_message(
    capsys, settings, write_config, tmp_path, section, key, value, expected
):
    settings[section][key] = value
    line = message(capsys, "pretrain", write_config(settings), tmp_path / "run")
    assert expected in line


def test_a_misspelt_override_is_one_message(capsys, settings, write_config, tmp_path):
    config = write_config(settings)
    line = message(capsys, "pretrain", config, tmp_path, "--config.model.num_layres=2")
    assert "num_layres" in line


def test_a_key_the_file_leaves_out_can_be_overridden(
    capsys, settings, write_config, tmp_path
):
    config = write_config(settings)
    line = message(capsys, "pretrain", config, tmp_path, "--config.model.dtype=float17")
    assert "model.dtype must be one of" in line and "float17" in line


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("def get_config(:\n", "SyntaxError"),
        ("import no_such_module\n", "no_such_module"),
        ("def get_config():\n    return {}['a']\n", "KeyError"),
        ("x = 1\n", "get_config"),
    ],
)
def test_a_broken_config_file_is_one_message(capsys, tmp_path, text, expected):
    path = tmp_path / "broken.py"
    path.write_text(text)
    line = message(capsys, "pretrain", path, tmp_path / "run")
    assert expected in line and "broken.py" in line


def test_an_empty_corpus_is_one_message(capsys, settings, write_config, tmp_path):
    (tmp_path / "empty").mkdir()
    settings["data"]["corpus"] = str(tmp_path / "empty")
    line = message(capsys, "pretrain", write_config(settings), tmp_path / "run")
    assert "empty" in line


def test_a_binary_file_is_one_message(capsys, settings, write_config, tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "picture.txt").write_bytes(b"\x89PNG\r\n\xff\xfe" * 9)
    settings["data"]["corpus"] = str(tmp_path / "folder")
    line = message(capsys, "pretrain", write_config(settings), tmp_path / "run")
    assert "picture.txt" in line


def test_a_missing_config_file_is_one_message(capsys, tmp_path):
    line = message(capsys, "pretrain", tmp_path / "nowhere.py", tmp_path)
    assert "nowhere.py" in line


def test_a_missing_checkpoint_is_one_message(capsys, settings, write_config, tmp_path):
    values = {
        "checkpoint": str(tmp_path / "nothing"),
        "logic": {"name": "rope"},
        "data": settings["data"],
        "training": settings["training"],
    }
    line = message(capsys, "finetune", write_config(values), tmp_path / "run")
    assert "nothing" in line


def test_a_truncated_checkpoint_is_one_message(
    capsys, settings, write_config, tmp_path
):
    config, workdir = write_config(settings), tmp_path / "run"
    run_experiment("pretrain", ["x", f"--config={config}", f"--workdir={workdir}"])
    with Checkpoints(workdir) as checkpoints:
        folder = checkpoints.path(checkpoints.latest_step())
    for part in (folder / "params").glob("ocdbt.process_*"):
        shutil.rmtree(part)
    values = {"models": {"pretrained": str(workdir)}, "lengths": [16], "encodings": []}
    config = write_config(values, "extrapolate")
    line = message(capsys, "extrapolate", config, tmp_path / "measured")
    assert "damaged or incomplete" in line and str(folder) in line


def test_another_architecture_in_the_workdir_is_refused_by_name(
    capsys, settings, write_config, tmp_path
):
    config, workdir = write_config(settings), tmp_path / "run"
    run_experiment("pretrain", ["x", f"--config={config}", f"--workdir={workdir}"])
    before = [(workdir / name).read_bytes() for name in ("config.json", "run.json")]
    line = message(capsys, "pretrain", config, workdir, "--config.model.ff_width=48")
    assert "model.ff_width: checkpoint has 32, this run asks for 48" in line
    after = [(workdir / name).read_bytes() for name in ("config.json", "run.json")]
    assert after == before  # what is refused has not been a sitting


def test_a_folder_in_which_another_job_trains_is_refused(
    capsys, settings, write_config, tmp_path
):
    config, workdir = write_config(settings), tmp_path / "run"
    with only_here(workdir):
        line = message(capsys, "pretrain", config, workdir)
    assert f"another process trains in {workdir}" in line
    assert not (workdir / "metrics.jsonl").exists()


def test_the_traceback_comes_when_asked_for(capsys, settings, write_config, tmp_path):
    settings["model"]["head_dim"] = 7
    config = write_config(settings)
    argv = ["x", f"--config={config}", f"--workdir={tmp_path}", "--traceback"]
    with pytest.raises(SystemExit):
        run_experiment("pretrain", argv)
    assert "Traceback" in capsys.readouterr().err


def test_an_unknown_experiment_lists_the_known(capsys):
    with pytest.raises(SystemExit):
        main(["rope-lab", "pretrian"])
    printed = capsys.readouterr().err
    assert "did you mean 'pretrain'" in printed and ", ".join(COMMANDS) in printed


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), 1),
        (TrainingDiverged("loss is nan", 3, "batch 2", None), 1),
        (FileNotFoundError(errno.ENOENT, "No such file"), 2),
        (ValueError("window is 0"), 2),
    ],
)
def test_the_status_tells_a_failure_from_wrong_usage(
    capsys, settings, write_config, tmp_path, monkeypatch, error, status
):
    def fail(config, workdir):
        raise error

    monkeypatch.setattr("rope_lab.cli.pretrain.pretrain", fail)
    config = write_config(settings)
    with pytest.raises(SystemExit) as stop:
        main(["rope-lab", "pretrain", f"--config={config}", f"--workdir={tmp_path}"])
    assert stop.value.code == status
    assert str(error) in capsys.readouterr().err


@pytest.mark.parametrize(
    "labels", [("YaRN s=8", "yarn, s 8"), ("Пи",), ("pretrained",)]
)
def test_models_of_the_demo_that_have_no_folder_of_their_own_are_refused(
    capsys, settings, write_config, tmp_path, labels
):
    tuning = {"logic": {"name": "rope"}}
    tuning |= {key: settings[key] for key in ("data", "training")}
    values = {
        "pretrain": settings,
        "finetune": {label: tuning for label in labels},
        "extrapolate": {"lengths": [16], "encodings": []},
    }
    line = message(capsys, "demo", write_config(values), tmp_path / "run")
    assert f"the label {labels[0]!r} gives no folder of its own" in line


def test_options_beside_the_layers_of_a_row_are_refused_by_name():
    row = {"label": "Mixed", "model": "other", "layers": [{"name": "rope"}]}
    assert split_row(row) == ("Mixed", "other", [{"name": "rope"}])
    for key in ("log_n", "sliding_window", "train_lenght", "name"):
        with pytest.raises(ValueError, match=f"'Mixed' has layers.*{key}.*each spec"):
            split_row(row | {key: 4})
