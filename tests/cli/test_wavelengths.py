"""The search of wavelengths end to end, on models of seconds, and its page."""

import copy
import json
from pathlib import Path

import numpy as np
import pytest

from rope_lab.cli.config import WavelengthsConfig, read
from rope_lab.cli.main import run_experiment
from rope_lab.cli.wavelengths import wavelengths
from rope_lab.cli.wavelengths_page import page
from rope_lab.rotary.planes import make_frequencies

PAGE = Path(__file__).parents[2] / "experiments" / "wavelengths"


@pytest.fixture
def study(tmp_path):
    """Nested dicts of a `WavelengthsConfig`."""
    return {
        "data": {
            "modulus": 5, "train_length": 8, "test_length": 16, "num_train": 40,
            "num_validation": 6, "num_test": 9,
        },
        "search": [{"subtask": "recursive"}],
        "held_out": [{"subtask": "recursive", "modulus": 7}],
        "model": {
            "num_layers": 1, "width": 8, "ff_width": 8, "num_heads": 1,
            "num_kv_heads": 1, "head_dim": 8,
        },
        "training": {
            "num_steps": 4, "learning_rate": 0.01, "log_every": 2,
            "checkpoint_every": 2, "tensorboard": False,
        },
        "batch_size": 4,
        "encodings": [
            {"label": "RoPE", "name": "rope"},
            {"label": "Resonance RoPE", "name": "rope", "resonance": True},
        ],
        "search_seeds": [0, 1],
        "report_seeds": [2, 3],
        "gradient": {"steps": 2, "starts": 2, "check_every": 1},
        "evolution": {"steps": 2, "population": 3, "parents": 1, "check_every": 1},
        "validation_every": 4,
        "data_dir": str(tmp_path / "data"),
    }  # fmt: skip


@pytest.mark.slow
def test_the_study_reports_every_row_and_goes_on_where_it_was_killed(
    study, write_config, tmp_path, monkeypatch
):
    config, workdir = write_config(study), tmp_path / "run"
    arguments = ["wavelengths", f"--config={config}", f"--workdir={workdir}"]
    from rope_lab.cli import wavelengths as module

    report = module._report
    monkeypatch.setattr(module, "_report", _interrupted)
    with pytest.raises(SystemExit) as stop:
        run_experiment("wavelengths", arguments)
    assert stop.value.code == 130
    before = json.loads((workdir / "results.json").read_text())
    monkeypatch.setattr(module, "_report", report)
    run_experiment("wavelengths", arguments)
    results = json.loads((workdir / "results.json").read_text())
    assert results["found"] == before["found"] and results["schema_version"] == 1
    searched, held_out = results["tasks"]
    assert before["tasks"] == [searched]
    labels = ["RoPE", "Resonance RoPE", "gradient", "evolution"]
    for rows in (searched["switched"], held_out["switched"], held_out["trained"]):
        assert [row["label"] for row in rows] == labels
        reference = np.array(rows[1]["loss"])
        for row in rows:
            difference = row["minus_reference"]
            expected = np.array(row["loss"]) - reference
            np.testing.assert_allclose(difference["models"], expected, atol=1e-6)
            low, high = difference["interval"]
            assert low <= difference["mean"] <= high
    assert held_out["switched"][0]["loss"] == held_out["trained"][0]["loss"]
    for name, row in zip(("gradient", "evolution"), results["rows"][2:], strict=True):
        found = make_frequencies(np.array(results["found"][name]["angular"]))
        np.testing.assert_allclose(found.wavelengths, row["wavelengths"], rtol=1e-6)
    text = (workdir / "page" / "README.md").read_text()
    assert text == page(results) and "recursive, modulus 7" in text
    for name in ("wavelengths.png", "wavelengths-dark.png"):
        assert (workdir / "page" / name).exists()
    study["evolution"]["sigma"] = 0.5
    with pytest.raises(ValueError, match=r"(?s)evolution.sigma.*0.02.*0.5.*another"):
        wavelengths(read(WavelengthsConfig, study), workdir)


def _interrupted(*_):
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"report_seeds": [1, 2]}, "seeds .1. are in search_seeds and report_seeds"),
        ({"held_out": [{"subtask": "recursive"}]}, "is searched on and held out"),
        ({"held_out": []}, "at least one task each"),
        ({"encodings": [{"label": "RoPE", "name": "rope"}]}, "compared with"),
        ({"encodings": [{"label": "a", "name": "nope"}]}, "must be plain rope"),
        ({"search": [{"subtask": "cot", "moduls": 7}]}, "did you mean 'modulus'"),
        ({"model": {"widht": 8}}, "did you mean 'width'"),
    ],
)
def test_a_wrong_setting_ends_the_study_before_any_work(
    study, change, message, tmp_path
):
    config = read(WavelengthsConfig, study | change)
    with pytest.raises(ValueError, match=message):
        wavelengths(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.fixture
def made_up():
    """The committed results, with losses of one held-out task to decide verdicts."""
    results = copy.deepcopy(json.loads((PAGE / "results.json").read_text()))
    results["tasks"] = [t for t in results["tasks"] if t["kind"] == "held out"][:1]
    losses = {
        "RoPE": [1.0, 2.0, 3.0],
        "Resonance RoPE": [2.0, 3.0, 4.0],
        "YaRN": [5.0, 5.0, 5.0],
        "Resonance-YaRN": [5.0, 5.0, 5.0],
        "gradient": [1.5, 2.4, 3.6],  # above RoPE, below Resonance RoPE, in each model
        "evolution": [1.9, 2.9, 4.5],  # below Resonance RoPE in two models of three
    }
    (task,) = results["tasks"]
    for row in task["trained"]:
        row["loss"] = losses[row["label"]]
    return results


def verdict(results, label, kind):
    lines = page(results).splitlines()
    (line,) = [line for line in lines if line.startswith(f"- {label}, {kind}: ")]
    return line


def test_verdicts_are_against_the_start_of_the_search_and_resonance(made_up):
    told = verdict(made_up, "gradient", "trained with")
    assert "below RoPE in 0 of 1 tasks, above in 1, undecided in 0" in told
    assert "below Resonance RoPE in 1 of 1 tasks, above in 0, undecided in 0" in told


def test_a_verdict_needs_models_that_agree_not_sequences(made_up):
    (task,) = made_up["tasks"]
    (row,) = [row for row in task["trained"] if row["label"] == "evolution"]
    row["minus_reference"]["interval"] = [-0.2, -0.1]  # over sequences alone
    told = verdict(made_up, "evolution", "trained with")
    assert "below Resonance RoPE in 0 of 1 tasks, above in 0, undecided in 1" in told


def test_the_best_row_is_named_beside_what_was_found(made_up):
    told = verdict(made_up, "gradient", "trained with")
    assert told.endswith(
        "Lowest mean loss: RoPE in recursive, modulus 11 (2.000 against 2.500)."
    )
    told = verdict(made_up, "gradient", "same models")
    assert told.endswith("YaRN † in recursive, modulus 11 (0.202 against 1.356).")
    (task,) = made_up["tasks"]
    (row,) = [row for row in task["trained"] if row["label"] == "gradient"]
    row["loss"] = [0.1, 0.1, 0.1]
    told = verdict(made_up, "gradient", "trained with")
    assert told.endswith("gradient in recursive, modulus 11 (0.100).")


def test_one_model_decides_nothing(made_up):
    (task,) = made_up["tasks"]
    for row in task["switched"] + task["trained"]:
        for values in (row["loss"], row["minus_reference"]["models"]):
            del values[1:]
    told = verdict(made_up, "gradient", "trained with")
    assert told.count("undecided in 1") == 2 and "[one model]" in page(made_up)


def test_the_committed_page_is_what_its_results_give():
    if not (PAGE / "results.json").exists():
        pytest.skip("not run yet")
    results = json.loads((PAGE / "results.json").read_text())
    reading = PAGE / "reading.md"
    text = reading.read_text() if reading.exists() else ""
    assert (PAGE / "README.md").read_text() == page(results, text)
