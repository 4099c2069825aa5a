"""The PosGen study end to end, on a model of seconds, and its committed page."""

import copy
import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rope_lab.cli.config import PosGenStudyConfig, read
from rope_lab.cli.main import run_experiment
from rope_lab.cli.posgen import posgen
from rope_lab.cli.posgen_cells import make_cell
from rope_lab.cli.posgen_page import page, read_studies
from rope_lab.cli.posgen_tables import claims_table, prefixes_table, run_lines
from rope_lab.evaluation.posgen_published import departures

ROOT = Path(__file__).parents[2]
YARN = {"name": "yarn", "scale": 2, "train_length": "trained"}


@pytest.fixture
def study(tmp_path):
    """Nested dicts of a `PosGenStudyConfig`."""
    sizes = {"num_train": 40, "num_validation": 6, "num_test": 9}
    return {
        "size": "small",
        "data": {"modulus": 5, "train_length": 8, "test_length": 16, **sizes},
        "cells": [{"subtask": "recursive"}, {"subtask": "cot"}],
        "model": {
            "num_layers": 1, "width": 8, "ff_width": 8, "num_heads": 1,
            "num_kv_heads": 1, "head_dim": 4,
        },
        "training": {
            "num_steps": 12, "learning_rate": 0.01, "log_every": 2,
            "checkpoint_every": 2, "tensorboard": False,
        },
        "batch_size": 4,
        "encodings": [
            {"label": "YaRN", **YARN},
            {"label": "Resonance-YaRN", **YARN, "resonance": True},
        ],
        "seeds": [0, 1],
        "validation_every": 4,
        "data_dir": str(tmp_path / "data"),
    }  # fmt: skip


def measured(workdir):
    """The cells of results.json without what differs between two equal runs."""
    cells = json.loads((workdir / "results.json").read_text())["cells"]
    return [{k: v for k, v in cell.items() if k != "train_seconds"} for cell in cells]


@pytest.mark.slow
def test_a_study_killed_at_any_moment_ends_with_the_same_numbers(
    study, write_config, tmp_path
):
    config, killed = write_config(study), tmp_path / "killed"
    command = [sys.executable, "-m", "rope_lab.cli.main", "posgen"]
    command += [f"--config={config}", f"--workdir={killed}"]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    saved = killed / "recursive-m5-disjoint" / "checkpoints" / "4"
    deadline = time.monotonic() + 240
    while not saved.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    for workdir in (killed, tmp_path / "whole"):
        arguments = [f"--config={config}", f"--workdir={workdir}"]
        run_experiment("posgen", ["posgen", *arguments, "--config.gain_steps=1"])
    assert measured(killed) == measured(tmp_path / "whole")
    _check_results(tmp_path / "whole")
    before = (killed / "results.json").read_bytes()
    run_experiment("posgen", ["posgen", *arguments[:1], f"--workdir={killed}"])
    assert (killed / "results.json").read_bytes() == before
    study["seeds"] = [0, 2]
    with pytest.raises(ValueError, match=r"(?s)recursive-m5.*seeds.1.*another workdir"):
        posgen(read(PosGenStudyConfig, study), killed)


def _check_results(workdir):
    results = json.loads((workdir / "results.json").read_text())
    assert results["gain"]["members"] == 4
    for cell in results["cells"]:
        assert cell["overlap"]["prefixes"] == 0.0
        for row in cell["rows"]:
            curves = row["by_position"]["accuracy"]
            assert [len(curve) for curve in curves] == [12, 12]  # 16 but the prefix
            assert row["validation"]["steps"] == [4, 8, 12]
            within, beyond = curves[1][:4], curves[1][4:]
            assert row["within"][1] == pytest.approx(sum(within) / 4, abs=1e-3)
            assert row["beyond"][1] == pytest.approx(sum(beyond) / 8, abs=1e-3)
            assert row["first"][1] == pytest.approx(within[0], abs=1e-3)
    text = (workdir / "page" / "README.md").read_text()
    assert text == page(read_studies(workdir / "page"))
    assert "Resonance-YaRN minus YaRN" in text and "Not run yet" in text
    for name in ("accuracy", "validation", "accuracy-dark", "validation-dark"):
        assert (workdir / "page" / f"small-{name}.png").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"cells": [{"subtask": "cot", "moduls": 7}]}, "did you mean 'modulus'"),
        ({"cells": ["cot"]}, "a cell is a dict"),
        ({"cells": []}, "at least one"),
        ({"cells": [{"subtask": "cot"}, {"subtask": "cot"}]}, "cot-m5-disjoint.* own"),
        ({"cells": [{"num_train": 620}]}, "modulus 5 has 625 prefixes"),
        ({"encoding_at": "test"}, "training, evaluation"),
        ({"seeds": [1, 1]}, "none twice"),
        ({"encodings": []}, "at least one"),
        ({"encodings": [{"name": "rope"}]}, "a dict with a label"),
        ({"model": {"widht": 8}}, "did you mean 'width'"),
        ({"size": "tiny"}, "published, medium, small, modulus"),
    ],
)
def test_a_wrong_setting_ends_the_study_before_it_trains(
    study, change, message, tmp_path
):
    config = read(PosGenStudyConfig, study | change)
    with pytest.raises(ValueError, match=message):
        posgen(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_rows_that_need_different_programs_are_refused(study, tmp_path):
    study["encodings"].append({"label": "ReRoPE", "name": "rerope", "window": 4})
    with pytest.raises(ValueError, match="rerope .*frequencies alone"):
        posgen(read(PosGenStudyConfig, study), tmp_path / "run")


def test_switched_at_evaluation_trains_with_unscaled_rope(study):
    config = read(PosGenStudyConfig, study | {"encoding_at": "evaluation"})
    cell = make_cell(config, {"subtask": "cot"})
    trained = [logic.to_dict() for logic in cell.trained]
    assert [logic["name"] for logic in trained] == ["rope", "rope"]
    assert [logic["options"] for logic in trained] == [{}, {"resonance": True}]
    assert [logic.name for logic in cell.measured] == ["yarn", "yarn"]
    other = make_cell(read(PosGenStudyConfig, study), {"subtask": "cot"})
    assert [logic.name for logic in other.trained] == ["yarn", "yarn"]


def load(name: str) -> PosGenStudyConfig:
    scope: dict = {}
    exec((ROOT / "configs" / f"{name}.py").read_text(), scope)
    return read(PosGenStudyConfig, scope["get_config"]())


def test_the_published_config_departs_from_the_paper_in_no_size():
    config = load("posgen")
    for changes in config.cells:
        assert departures(make_cell(config, changes).settings()) == []


@pytest.mark.parametrize(("size", "width"), [("small", 64), ("medium", 128)])
def test_configs_for_a_cpu_keep_lengths_head_dim_modulus_and_data(size, width):
    config = load(f"posgen_{size}")
    settings = make_cell(config, config.cells[0]).settings()
    kept = ("length", "head dim", "modulus", "far", "near", "num train")
    lines = departures(settings)
    assert not [line for line in lines if any(word in line for word in kept)]
    assert f"width {width} (512)" in lines and "3 seeds (5)" in lines


def test_settings_left_at_their_defaults_are_named_as_departures():
    config = load("posgen_small")
    lines = departures(make_cell(config, config.cells[0]).settings())
    assert "b2 0.95 (0.999)" in lines and "clip norm 1.0 (none)" in lines
    without = dataclasses.replace(config.training, b2=0.999, clip_norm=None)
    config = dataclasses.replace(config, training=without)
    lines = departures(make_cell(config, config.cells[0]).settings())
    assert not [line for line in lines if line.startswith(("b2", "clip"))]


@pytest.fixture(scope="module")
def small():
    """The committed results of the small size."""
    return read_studies(ROOT / "experiments" / "posgen")["small"]


def test_the_remark_on_prefixes_follows_the_cells(small):
    disjoint, released = (
        "Prefixes that no two splits share, as the paper says: ",
        "Prefixes as the released code draws them, shared between splits: ",
    )
    told = run_lines("small", small)
    assert f"{released}cot-m17-released." in told
    assert "recursive-m17-disjoint" in told.split(disjoint)[1].split(".")[0]
    one = small | {"cells": small["cells"][:2]}
    told = run_lines("small", one)
    assert f"{disjoint}every cell." in told and released not in told


def test_a_difference_that_counts_with_zero_in_its_interval_is_named(small):
    assert claims_table(small).endswith(
        "Every difference that counts excludes 0 at 95 %."
    )
    results = copy.deepcopy(small)
    plain, resonant = results["cells"][1]["rows"][:2]
    plain["beyond"], resonant["beyond"] = [0.1, 0.1, 0.1], [0.1, 0.2, 0.3]
    text = claims_table(results)
    assert "| +10.00 ± 5.77 | [−14.84, +34.84] | as published |" in text
    assert text.endswith(
        "Differences that count: 1, of which 1 with 0 in the 95 % interval: cot, "
        "Resonance RoPE minus RoPE."
    )
    for row in results["cells"][1]["rows"]:
        row["within"] = [0.5, 0.5, 0.5]  # not learned, so nothing counts
    assert claims_table(results).endswith(" |")
    assert "cot, RoPE, beyond" in prefixes_table(small).split("\n\n")[1]


def test_the_committed_page_is_what_its_results_give():
    folder = ROOT / "experiments" / "posgen"
    reading = folder / "reading.md"
    text = reading.read_text() if reading.exists() else ""
    assert (folder / "README.md").read_text() == page(read_studies(folder), text)
