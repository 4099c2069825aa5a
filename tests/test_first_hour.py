"""The commands of the README's first hour run, as they stand there."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_llama2c import write_checkpoint

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
SECTION = TEXT.split("## The first hour")[1].split("\n## ")[0]

# What commands are given besides, so that they take seconds; others run unchanged.
STUDY = ["data.corpus=texts", "data.tokenizer=bytes", "data.length=16"]
STUDY += ["data.batch_size=2", "model.num_layers=1", "model.width=16"]
STUDY += ["model.ff_width=32", "model.num_heads=2", "model.num_kv_heads=2"]
STUDY += ["model.head_dim=8", "training.num_steps=4", "training.warmup_steps=1"]
STUDY += ["training.checkpoint_every=4", "validation.num_windows=2"]
MEASURED = ["extrapolate.lengths=[16,32]", "extrapolate.num_windows=2"]
MEASURED += ["extrapolate.num_repeated_windows=0"]
ENCODINGS = '[{"label": "RoPE", "name": "rope"}]'
BESIDES = {
    "make demo": [
        *(f"pretrain.{each}" for each in STUDY),
        "pretrain.model.logic.train_length=16",
        f"extrapolate.encodings={ENCODINGS}",
        "finetune={}",
        *MEASURED,
    ],
    "rope-lab extrapolate": [*STUDY, *MEASURED],
    "rope-lab perplexity": ["lengths=[32,64]", "maximum_tokens=200"],
}
# Not run: the environment of the tests, and a tiny checkpoint, stand in for them.
ENVIRONMENT = (". .venv/bin/activate", "pip install -e '.[hf]'")
DOWNLOAD = "python -m experiments.fetch_weights"


def commands() -> list[str]:
    """Those of the section, each on one line."""
    block = SECTION.split("```bash\n")[1].split("```")[0]
    lines = block.replace("\\\n", " ").splitlines()
    return [line.partition("    #")[0] for line in lines]


def as_run_here(command: str) -> str:
    """The command, or the line of `make` that does not install anything."""
    found = [start for start in BESIDES if command.startswith(start)]
    besides = [f"--config.{each}" for start in found for each in BESIDES[start]]
    if command.startswith("make "):
        recipe = subprocess.run(
            ["make", "-n", shlex.split(command)[1]],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        (line,) = re.findall(r"\S+/python (-m experiments\..+)", recipe)
        command = f"python {line}"
    elif not besides:
        return command
    return shlex.join([*shlex.split(command, comments=True), *besides])


@pytest.fixture
def clone(tmp_path):
    """A folder with what the commands name of a clone, and a corpus of seconds."""
    for name in ("configs", "experiments", "README.md"):
        (tmp_path / name).symlink_to(ROOT / name)
    for folder in ("texts", "bin"):
        (tmp_path / folder).mkdir()
    for number in range(40):
        piece = TEXT[300 * number : 300 * number + 250]
        (tmp_path / "texts" / f"{number}.txt").write_text(piece, encoding="utf-8")
    run = f'exec {shlex.quote(sys.executable)} {{}} "$@"'
    for name, what in {"python": "", "rope-lab": "-m rope_lab.cli.main"}.items():
        program = tmp_path / "bin" / name
        program.write_text(f"#!/bin/sh\n{run.format(what)}\n")
        program.chmod(0o755)
    return tmp_path


@pytest.mark.slow
def test_the_first_hour_runs_as_it_is_written(clone):
    environment = os.environ | {
        "PATH": f"{clone / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "ROPE_LAB_DATA": str(clone / "data"),
    }
    given = commands()
    assert set(ENVIRONMENT) <= set(given) and set(BESIDES) <= {
        start for start in BESIDES for command in given if command.startswith(start)
    }
    for command in given:
        if command in ENVIRONMENT:
            continue
        if command.startswith(DOWNLOAD):  # tests/test_fetch_weights.py has it
            write_checkpoint(clone / "weights" / "stories15M" / "stories15M.bin")
            continue
        done = subprocess.run(
            ["sh", "-c", as_run_here(command)],
            cwd=clone,
            env=environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, f"{command}: {done.stdout[-500:]}{done.stderr}"
        if command.startswith(
            "cat "
        ):  # what a model of random numbers wrote is no text
            assert (clone / "runs" / "told.txt").read_bytes()
            (clone / "runs" / "told.txt").write_text(TEXT, encoding="utf-8")
    assert "rerope" in done.stdout  # the last table has the encoding asked for
    reports = re.findall(r"`(runs/\S+)`", SECTION.split("Reports are")[1])
    assert len(reports) == 3
    assert not [report for report in reports if not (clone / report).is_file()]
