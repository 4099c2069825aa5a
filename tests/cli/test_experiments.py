"""The experiments end to end, on a corpus and a model of seconds."""

import json
import os
import signal
import subprocess
import sys
import time

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rope_lab.cli.checkpoints import load_checkpoint
from rope_lab.cli.main import run_experiment
from rope_lab.data import DataConfig, batches, packed_sequences
from rope_lab.evaluation import per_token
from rope_lab.model import ModelConfig, init_model
from rope_lab.training import (
    TrainingConfig,
    init_state,
    make_optimizer,
    make_train_step,
)


def run(name, config, workdir):
    run_experiment(name, [name, f"--config={config}", f"--workdir={workdir}"])


def test_the_demo_measures_every_row_on_the_same_targets_and_resumes(
    settings, write_config, tmp_path, capsys
):
    tuning = {
        "logic": {"name": "yarn", "scale": 2, "train_length": "trained"},
        "data": {**settings["data"], "length": 32, "seed": 1},
        "training": {**settings["training"], "num_steps": 3},
        "validation": {"every": 3, "num_windows": 2},
    }
    values = {
        "pretrain": settings,
        "finetune": {"YaRN": tuning},
        "extrapolate": {
            "lengths": [16, 32],
            "encodings": [
                {"label": "RoPE", "name": "rope"},
                {"label": "ReRoPE", "name": "rerope", "window": "trained/2"},
                {"label": "YaRN, fine-tuned", "model": "YaRN", **tuning["logic"]},
            ],
            "num_windows": 4,
            "num_repeated_windows": 4,
            "data_dir": settings["data"]["data_dir"],
        },
    }
    config, workdir = write_config(values), tmp_path / "demo"
    run("demo", config, workdir)
    results = json.loads((workdir / "results.json").read_text())
    labels = [row["label"] for row in results["rows"]]
    assert labels == ["truncated", "RoPE", "ReRoPE", "YaRN, fine-tuned"]
    for length in ("16", "32"):
        cells = [row["cells"][length]["natural"] for row in results["rows"]]
        assert len({cell["targets_checksum"] for cell in cells}) == 1
        for cell in cells:
            assert cell["tokens"] == 4 * int(length)
            low, high = cell["loss_interval"]
            assert low <= cell["loss"] <= high
    in_length = [row["cells"]["16"]["natural"]["loss"] for row in results["rows"]]
    assert in_length[0] == pytest.approx(in_length[1], abs=1e-5)  # nothing to truncate
    page = (workdir / "report.html").read_text()
    assert page.count("data:image/png") >= 5 and "ReRoPE" in page
    before = {row["label"]: row["seconds"] for row in results["rows"]}
    run("demo", config, workdir)  # nothing is trained or measured again
    again = json.loads((workdir / "results.json").read_text())
    assert {row["label"]: row["seconds"] for row in again["rows"]} == before
    assert "step 6/6" not in capsys.readouterr().err.split("=== 1/3")[-1]


def test_a_learned_bias_is_saved_measured_and_refused_under_other_logics(
    settings, write_config, tmp_path, capsys
):
    spec = {"name": "kerple_log", "num_heads": 2}
    settings["model"]["logic"] = spec
    run("pretrain", write_config(settings), tmp_path / "base")
    loaded = load_checkpoint(tmp_path / "base")
    assert set(loaded.params["position"]) == {"0"}
    values = {
        "models": {"pretrained": str(tmp_path / "base")},
        "lengths": [16],
        "encodings": [{"label": "KERPLE", **spec}],
        "num_windows": 2,
        "num_repeated_windows": 0,
        "data_dir": settings["data"]["data_dir"],
    }
    run("extrapolate", write_config(values), tmp_path / "far")
    results = json.loads((tmp_path / "far" / "results.json").read_text())
    truncated, kerple = (r["cells"]["16"]["natural"]["loss"] for r in results["rows"])
    assert kerple == pytest.approx(truncated, abs=1e-5)  # nothing to truncate
    values["encodings"] = [{"label": "RoPE", "name": "rope"}]
    with pytest.raises(SystemExit):
        run("extrapolate", write_config(values), tmp_path / "other")
    assert "encoding 'RoPE' on model 'pretrained'" in capsys.readouterr().err


def test_a_checkpoint_is_measured_on_other_documents_packed(
    settings, write_config, tmp_path
):
    run("pretrain", write_config(settings), tmp_path / "base")
    folder = tmp_path / "stories"
    folder.mkdir()
    for number in range(30):
        (folder / f"{number}.txt").write_text(f"{number} people of the union. " * 2)
    values = {
        "models": {"pretrained": str(tmp_path / "base")},
        "documents": str(folder),
        "packed": True,
        "lengths": [16, 64],
        "encodings": [
            {"label": "RoPE", "name": "rope"},
            {"label": "ReRoPE", "name": "rerope", "window": 8},
        ],
        "num_windows": 4,
        "num_repeated_windows": 2,
        "page": str(tmp_path / "page"),
        "data_dir": settings["data"]["data_dir"],
    }
    run("extrapolate", write_config(values), tmp_path / "far")
    results = json.loads((tmp_path / "far" / "results.json").read_text())
    cells = {n: results["rows"][1]["cells"][n]["natural"] for n in ("16", "64")}
    assert {n: cell["windows"] for n, cell in cells.items()} == {"16": 16, "64": 4}
    assert cells["16"]["tokens"] == cells["64"]["tokens"] == 256
    page = (tmp_path / "page" / "README.md").read_text()
    for row in results["rows"]:
        assert f"| {row['label']} | {row['cells']['16']['natural']['loss']:.3f}" in page
    assert "| ReRoPE w=1024 † | 1.4996 | 1.4267 | 1.4001 |" in page
    assert "trained at 16 tokens and not fine-tuned, under" in page
    assert "the model does not copy" in page  # six steps teach nothing
    assert (tmp_path / "page" / "loss-by-position.png").exists()
    # Of one document there is no interval, and the page says so.
    values |= {"packed": False, "documents": str(tmp_path / "one.txt")}
    values |= {"num_windows": 1, "num_repeated_windows": 1}
    (tmp_path / "one.txt").write_text("The people of the union. " * 8)
    run("extrapolate", write_config(values), tmp_path / "one")
    page = (tmp_path / "page" / "README.md").read_text()
    assert page.count("[no interval: one document]") >= len(results["rows"])


def test_a_passage_nobody_named_is_left_out_where_it_does_not_fit(
    settings, write_config, tmp_path, capsys
):
    run("pretrain", write_config(settings), tmp_path / "base")
    values = {
        "models": {"pretrained": str(tmp_path / "base")},
        "lengths": [4, 16],  # half the training length is 8
        "encodings": [],
        "num_windows": 2,
        "num_repeated_windows": 2,
        "page": str(tmp_path / "page"),
        "data_dir": settings["data"]["data_dir"],
    }
    run("extrapolate", write_config(values), tmp_path / "far")
    results = json.loads((tmp_path / "far" / "results.json").read_text())
    found = {length: set(kinds) for length, kinds in results["targets"].items()}
    assert found == {"4": {"natural"}, "16": {"natural", "repeated"}}
    page = (tmp_path / "page" / "README.md").read_text()
    told = page.partition("## One passage repeated")[2]
    assert "| row | 16 |" in told
    values["repeat_length"] = 8
    with pytest.raises(SystemExit):
        run("extrapolate", write_config(values), tmp_path / "named")
    assert "repeat_length is 8 tokens" in capsys.readouterr().err


def test_training_on_short_documents_is_validated_on_packed_windows(
    settings, write_config, tmp_path, capsys
):
    folder = tmp_path / "stories"
    folder.mkdir()
    for number in range(30):
        (folder / f"{number}.txt").write_text(f"{number} people of the union. ")
    settings["data"] |= {"corpus": str(folder), "length": 64, "held_out_fraction": 0.2}
    with pytest.raises(SystemExit):
        run("pretrain", write_config(settings), tmp_path / "inside")
    assert "or windows of short ones packed" in capsys.readouterr().err
    settings["validation"] |= {"packed": True, "num_windows": 50}
    with pytest.raises(SystemExit):
        run("pretrain", write_config(settings), tmp_path / "many")
    assert "validation.num_windows is 50, but the held-out" in capsys.readouterr().err
    settings["validation"]["num_windows"] = 2
    run("pretrain", write_config(settings), tmp_path / "packed")
    lines = (tmp_path / "packed" / "metrics.jsonl").read_text().splitlines()
    (loss,) = [row["eval/loss"] for row in map(json.loads, lines) if "eval/loss" in row]
    assert 0 < loss < 2 * np.log(256)


def test_a_single_document_is_trained_on_without_validation(
    settings, write_config, tmp_path, capsys
):
    file = tmp_path / "one.txt"
    file.write_text("The people of the union. " * 40)
    settings["data"] |= {"corpus": str(file), "held_out_fraction": 0.0}
    config, base = write_config(settings), tmp_path / "base"
    with pytest.raises(SystemExit):
        run("pretrain", config, base)
    assert "validation by validation.num_windows=0" in capsys.readouterr().err
    settings["validation"] = {"num_windows": 0}
    settings["training"]["keep_best"] = 1
    with pytest.raises(SystemExit):
        run("pretrain", write_config(settings), base)
    assert "config.training.keep_best is 1" in capsys.readouterr().err
    settings["training"]["keep_best"] = 0
    assert not base.exists()
    run("pretrain", write_config(settings), base)
    assert "eval/" not in (base / "metrics.jsonl").read_text()
    assert load_checkpoint(base).meta["step"] == 6
    values = {
        "models": {"pretrained": str(base)},
        "encodings": [],
        "lengths": [16],
        "data_dir": settings["data"]["data_dir"],
    }
    with pytest.raises(SystemExit):
        run("extrapolate", write_config(values), tmp_path / "far")
    assert "nothing held out to measure on: give doc" in capsys.readouterr().err


def test_a_wrong_encoding_stops_the_demo_before_it_trains(
    settings, write_config, tmp_path, capsys
):
    values = {
        "pretrain": settings,
        "finetune": {},
        "extrapolate": {
            "lengths": [32],
            "encodings": [{"label": "Leaky", "name": "leaky_rerope", "window": 8}],
        },
    }
    with pytest.raises(SystemExit):
        run("demo", write_config(values), tmp_path / "demo")
    assert "encoding 'Leaky' at length 32" in capsys.readouterr().err
    assert not (tmp_path / "demo" / "pretrain").exists()


@pytest.mark.parametrize(
    ("logic", "expected"),
    [
        ({"name": "yran"}, "did you mean 'yarn'"),
        ({"name": "t5", "num_heads": 2}, "config.finetune['YaRN']: the logic learns"),
        (
            {"name": "rope", "log_n": "train", "train_length": 99},
            "encoding 'RoPE' at length 32: rope has train_length 16",
        ),
    ],
)
def test_a_wrong_fine_tuning_logic_stops_the_demo_before_it_trains(
    settings, write_config, tmp_path, capsys, logic, expected
):
    row = {"label": "RoPE", "model": "YaRN", "name": "rope", "train_length": 16}
    values = {
        "pretrain": settings,
        "finetune": {"YaRN": {**settings, "logic": logic}},
        "extrapolate": {"lengths": [32], "encodings": [row]},
    }
    del values["finetune"]["YaRN"]["model"]
    with pytest.raises(SystemExit):
        run("demo", write_config(values), tmp_path / "demo")
    assert expected in capsys.readouterr().err
    assert not (tmp_path / "demo" / "pretrain").exists()


def test_fine_tuning_starts_from_the_checkpoint_and_records_its_encoding(
    settings, write_config, tmp_path
):
    run("pretrain", write_config(settings), tmp_path / "base")
    values = {
        "checkpoint": str(tmp_path / "base"),
        "logic": {
            "name": "yarn",
            "scale": 2,
            "train_length": "trained",
            "resonance": True,
        },
        "data": {**settings["data"], "length": 32},
        "training": {**settings["training"], "num_steps": 1, "learning_rate": 1e-9},
        "validation": {"every": 1, "num_windows": 2},
    }
    run("finetune", write_config(values, "tune"), tmp_path / "tuned")
    base, tuned = (load_checkpoint(tmp_path / name) for name in ("base", "tuned"))
    chex.assert_trees_all_close(base.params, tuned.params, atol=1e-6)
    assert base.logic().name == "rope" and tuned.logic().name == "yarn"
    assert tuned.logic().to_dict()["options"]["train_length"] == 16


@pytest.fixture
def tuned(settings, write_config, tmp_path):
    """Changes of a model and of its data -> config of `extrapolate` with both."""
    run("pretrain", write_config(settings), tmp_path / "base")

    def make(model=None, data=None):
        tuning = {
            "checkpoint": str(tmp_path / "base"),
            "logic": {"name": "rope"},
            "model": model or {},
            "data": settings["data"] | (data or {}),
            "training": {**settings["training"], "num_steps": 1},
            "validation": {"every": 1, "num_windows": 2},
        }
        run("finetune", write_config(tuning, "tune"), tmp_path / "tuned")
        return {
            "models": {
                "pretrained": str(tmp_path / "base"),
                "tuned": str(tmp_path / "tuned"),
            },
            "encodings": [{"label": "tuned", "model": "tuned", "name": "rope"}],
            "lengths": [16],
            "num_windows": 2,
            "num_repeated_windows": 0,
            "data_dir": settings["data"]["data_dir"],
        }

    return make


def test_models_tuned_in_another_dtype_or_with_other_memory_share_a_table(
    tuned, write_config, tmp_path
):
    values = tuned(model={"remat": "full", "dtype": "bfloat16"})
    run("extrapolate", write_config(values), tmp_path / "far")
    rows = json.loads((tmp_path / "far" / "results.json").read_text())["rows"]
    assert [row["label"] for row in rows] == ["truncated", "tuned"]


def test_models_of_several_corpora_share_a_table_on_documents_that_it_names(
    tuned, write_config, tmp_path, capsys
):
    other = tmp_path / "other"
    other.mkdir()
    for number in range(12):
        (other / f"{number}.txt").write_text(f"Fellow citizens, {number}. " * 20)
    values = tuned(data={"corpus": str(other)})
    with pytest.raises(SystemExit):
        run("extrapolate", write_config(values), tmp_path / "far")
    said = capsys.readouterr().err
    assert "model 'tuned' was trained on other documents" in said
    assert "give documents" in said
    (tmp_path / "new.txt").write_text("Peace to the people of the union. " * 20)
    values["documents"] = str(tmp_path / "new.txt")
    run("extrapolate", write_config(values), tmp_path / "far")
    rows = json.loads((tmp_path / "far" / "results.json").read_text())["rows"]
    assert [row["label"] for row in rows] == ["truncated", "tuned"]


def test_models_of_several_tokenizers_share_no_table(
    tuned, write_config, settings, tmp_path, capsys
):
    values = tuned()
    settings["data"]["tokenizer"] = "bpe:257"  # as many tokens as there are bytes
    run("pretrain", write_config(settings), tmp_path / "bpe")
    values["models"]["tuned"] = str(tmp_path / "bpe")
    values["documents"] = settings["data"]["corpus"]
    with pytest.raises(SystemExit):
        run("extrapolate", write_config(values), tmp_path / "far")
    said = capsys.readouterr().err
    assert "another tokenizer than 'pretrained' ('bpe:257' and 'bytes')" in said


def test_pretrain_killed_at_any_moment_ends_with_the_same_bits(
    settings, write_config, tmp_path
):
    settings["training"] |= {"num_steps": 40, "checkpoint_every": 5, "log_every": 5}
    settings["validation"]["every"] = 20
    config = write_config(settings)
    command = [sys.executable, "-m", "rope_lab.cli.main", "pretrain"]
    command += [f"--config={config}", f"--workdir={tmp_path / 'killed'}"]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    saved = tmp_path / "killed" / "checkpoints" / "10"
    deadline = time.monotonic() + 240
    while not saved.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
    run("pretrain", config, tmp_path / "whole")
    killed, whole = (load_checkpoint(tmp_path / name) for name in ("killed", "whole"))
    assert killed.identity == whole.identity
    chex.assert_trees_all_equal(killed.params, whole.params)


def test_a_plain_callable_trains_and_evaluates(corpus, tmp_path):
    def alibi_like(q_BTHD, k_BSKD, query_positions, key_positions):
        groups = q_BTHD.shape[2] // k_BSKD.shape[2]
        k_BSHD = jnp.repeat(k_BSKD, groups, axis=2)
        logits = jnp.einsum("BTHD,BSHD->BHTS", q_BTHD, k_BSHD)
        distance = query_positions[..., :, None] - key_positions[..., None, :]
        return logits / q_BTHD.shape[-1] ** 0.5 - 0.5 * distance[:, None]

    config = DataConfig(
        corpus=str(corpus), length=16, batch_size=4, data_dir=str(tmp_path)
    )
    source = packed_sequences(config)
    model = ModelConfig(
        vocab_size=source.tokenizer.vocab_size,
        num_layers=1,
        width=32,
        ff_width=32,
        num_heads=2,
        num_kv_heads=1,
        head_dim=8,
        remat="full",
    )
    training = TrainingConfig(num_steps=30, learning_rate=0.01, accumulation_steps=2)
    graphdef, params = init_model(model)
    optimizer = make_optimizer(training)
    state = init_state(params, optimizer, training)
    step = make_train_step(graphdef, optimizer, training)
    losses = []
    for _, batch in zip(range(30), batches(source, 4), strict=False):
        state, metrics = step(state, batch, alibi_like)
        losses.append(float(metrics["loss"]))
    assert np.mean(losses[-5:]) < np.mean(losses[:5]) - 0.5
    windows = jax.random.randint(jax.random.key(0), (2, 17), 0, 256)
    loss, _ = per_token(graphdef, state.params, np.asarray(windows), alibi_like)
    assert loss.shape == (2, 16) and np.isfinite(loss).all()
