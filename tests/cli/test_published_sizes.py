"""The smoke kinds of the configs of published sizes run their whole code path."""

import json
from pathlib import Path

import pytest

from rope_lab.cli.checkpoints import load_checkpoint
from rope_lab.cli.main import run_experiment
from rope_lab.cli.published_sizes import MODELS
from rope_lab.model import ModelConfig, count_parameters, model_structure
from rope_lab.training import read_metrics

CONFIGS = Path(__file__).parents[2] / "configs"
FINETUNED = sorted(
    path.stem
    for path in CONFIGS.glob("llama*.py")
    if path.stem not in ("llama2_eval", "llama2_13b_rerope")
)
# What the makers state, and what transformers counts.
PARAMETERS = {
    "llama2_7b": 6_738_415_616,
    "llama2_13b": 13_015_864_320,
    "llama3_8b": 8_030_261_248,
}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory, corpus):
    """The folder of configs/tiny_llama.py's run, on a small corpus."""
    workdir = tmp_path_factory.mktemp("tiny")
    start("pretrain", "tiny_llama", workdir, corpus)
    return workdir


def start(name, config, workdir, corpus=None, *more):
    arguments = [name, f"--config={CONFIGS / config}.py", f"--workdir={workdir}", *more]
    if ":" in config:
        stem, _, kind = config.partition(":")
        arguments[1] = f"--config={CONFIGS / stem}.py:{kind}"
    if corpus is not None:
        arguments.append(f"--config.data.corpus={corpus}")
        arguments.append(f"--config.data.data_dir={workdir / 'data'}")
    run_experiment(name, arguments)


def test_models_have_as_many_parameters_as_their_makers_say():
    for name, fields in MODELS.items():
        shapes = model_structure(ModelConfig(**fields))[1]
        assert count_parameters(shapes) == PARAMETERS[name]


@pytest.mark.parametrize("config", ["llama2_7b_32k", "llama2_13b_4k400"])
@pytest.mark.parametrize("resonance", [True, False])
def test_both_strategies_fine_tune_a_tiny_model(
    config, resonance, tiny, corpus, tmp_path
):
    base = [f"--config.checkpoint={tiny}", f"--config.logic.resonance={resonance}"]
    start("finetune", f"{config}:smoke", tmp_path / "run", corpus, *base)
    assert read_metrics(tmp_path / "run")[-1]["step"] == 4
    loaded = load_checkpoint(tmp_path / "run")
    scale = 8 if config == "llama2_7b_32k" else 4
    arguments = loaded.meta["encoding"][0]["options"]
    assert arguments["scale"] == scale
    assert arguments.get("resonance", False) == resonance
    assert loaded.model_config.remat == "full"
    assert loaded.model_config.dtype == "bfloat16"


def test_a_model_that_is_not_the_checkpoint_s_is_refused(
    tiny, corpus, tmp_path, capsys
):
    base = [f"--config.checkpoint={tiny}", "--config.model.num_layers=3"]
    with pytest.raises(SystemExit):
        start("finetune", "llama2_7b_32k:smoke", tmp_path / "run", corpus, *base)
    assert "model.num_layers is 3, and the checkpoint was trained with 2" in (
        capsys.readouterr().err
    )


def test_the_untuned_rows_are_measured_on_a_tiny_model(tiny, tmp_path):
    base = f"--config.checkpoint={tiny}"
    data = f"--config.data_dir={tiny / 'data'}"
    start("evaluate", "llama2_eval:smoke", tmp_path, None, base, data)
    scorecard = json.loads((tmp_path / "scorecard.json").read_text())
    labels = {line["label"] for line in scorecard["lines"]}
    assert labels == {"Dynamic NTK", "NTK s=8"}
    start("perplexity", "llama2_13b_rerope:smoke", tmp_path / "far", None, base, data)
