"""rope-lab checkpoint inspect, verify, diff."""

import json
import shutil

import pytest

from rope_lab.cli.main import main, run_experiment


@pytest.fixture(scope="module")
def workdir(tmp_path_factory, corpus):
    """A run with the checkpoints 3 and 6."""
    folder = tmp_path_factory.mktemp("looked_at")
    config = {
        "model": {
            "num_layers": 1, "width": 16, "ff_width": 32, "num_heads": 2,
            "num_kv_heads": 1, "head_dim": 8, "logic": {"name": "rerope", "window": 4},
        },
        "data": {
            "corpus": str(corpus), "tokenizer": "bytes", "length": 16,
            "batch_size": 2, "data_dir": str(folder / "data"),
        },
        "training": {
            "num_steps": 6, "learning_rate": 0.01, "log_every": 2,
            "checkpoint_every": 3, "tensorboard": False,
        },
        "validation": {"every": 6, "num_windows": 3},
    }  # fmt: skip
    path = folder / "config.py"
    path.write_text(
        "from ml_collections import ConfigDict\n\n\n"
        f"def get_config():\n    return ConfigDict({config!r})\n"
    )
    arguments = ["x", f"--config={path}", f"--workdir={folder / 'run'}"]
    run_experiment("pretrain", arguments)
    return folder / "run"


def looked(capsys, *arguments):
    """Status and lines of the command."""
    with pytest.raises(SystemExit) as ended:
        main(["rope-lab", "checkpoint", *map(str, arguments)])
    captured = capsys.readouterr()
    return ended.value.code, (captured.out + captured.err).splitlines()


def test_inspect_tells_encoding_tokenizer_size_and_speed(workdir, capsys):
    status, lines = looked(capsys, "inspect", workdir)
    text = "\n".join(lines)
    assert status == 0 and "step 6" in text and "checkpoints/6" in lines[0]
    encoding = next(line for line in lines if line.startswith("encoding"))
    assert json.loads(encoding.partition(": ")[2])[0]["name"] == "rerope"
    assert '"tokenizer": "' in text and "MB/s" in text
    assert "embed.embedding  float32[257, 16]" in text


def test_verify_names_what_is_damaged_and_says_so_by_its_status(
    workdir, tmp_path, capsys
):
    status, lines = looked(capsys, "verify", workdir)
    assert status == 0 and len(lines) == 2
    assert all(line.endswith(": whole") for line in lines)
    shutil.copytree(workdir, tmp_path / "run")
    folder = tmp_path / "run" / "checkpoints" / "3"
    (file,) = list((folder / "params" / "d").iterdir())[:1]
    file.write_bytes(file.read_bytes()[:-1] + b"!")
    status, lines = looked(capsys, "verify", tmp_path / "run")
    assert status == 1 and lines[1].endswith(": whole")
    assert lines[0].startswith(f"{folder}: damaged (params/d/{file.name} has another")
    assert looked(capsys, "verify", tmp_path / "run/checkpoints/6")[0] == 0


def test_diff_names_arrays_and_settings(workdir, capsys):
    steps = workdir / "checkpoints"
    status, lines = looked(capsys, "diff", steps / "6", steps / "6")
    assert (status, lines) == (0, ["no difference"])
    status, lines = looked(capsys, "diff", steps / "3", steps / "6")
    assert status == 1 and lines[0] == "step: first has 3, second has 6"
    assert any(line.startswith("params.embed.embedding: up to") for line in lines)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["inspect"], "got inspect"),
        (["mend", "x"], "checkpoint verify PATH"),
        (["verify", "nowhere"], "no folder"),
    ],
)
def test_wrong_arguments_are_one_line(arguments, message, capsys):
    status, lines = looked(capsys, *arguments)
    assert status == 2 and len(lines) == 1 and message in lines[0]
