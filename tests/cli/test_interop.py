"""Checkpoints of other programs through the commands: in, on, and out again."""

import json

import numpy as np
import pytest
import tokenizers as hf
from tiny_checkpoint import logits, write_folder

from rope_lab import position_logic
from rope_lab.cli.checkpoints import load_checkpoint
from rope_lab.cli.evaluation_config import CheckpointConfig
from rope_lab.cli.main import main, run_experiment
from rope_lab.cli.subject import Loading
from rope_lab.data import load_tokenizer
from rope_lab.interop import load_pretrained

BASE = 5e5
TRAINED = position_logic("rope", head_dim=16, base=BASE)


@pytest.fixture(scope="module")
def imported(tmp_path_factory):
    """(folder of transformers, workdir, its model) of the same parameters."""
    place = tmp_path_factory.mktemp("imported")
    model = write_folder(place / "theirs", TRAINED, length=16)
    main(["rope-lab", "import", str(place / "theirs"), f"--workdir={place / 'ours'}"])
    return place / "theirs", place / "ours", model


def test_an_imported_checkpoint_is_the_model_with_its_encoding(imported):
    _, workdir, (config, graphdef, params) = imported
    loaded = load_checkpoint(workdir)
    assert loaded.model_config == config and loaded.train_length == 16
    assert loaded.logic().to_dict() == TRAINED.to_dict()
    np.testing.assert_array_equal(
        logits(loaded.graphdef, loaded.params, loaded.logic()),
        logits(graphdef, params, TRAINED),
    )


def test_it_is_fine_tuned_exported_and_read_again(
    imported, settings, write_config, tmp_path
):
    _, workdir, _ = imported
    values = {
        "checkpoint": str(workdir),
        "logic": {"name": "yarn", "scale": 2, "train_length": "trained"},
        "data": {
            **settings["data"],
            "length": 32,
            "tokenizer": load_checkpoint(workdir).meta["config"]["data"]["tokenizer"],
        },
        "training": {**settings["training"], "num_steps": 1},
        "validation": {"every": 1, "num_windows": 2},
    }
    config, tuned = write_config(values), tmp_path / "tuned"
    run_experiment("finetune", ["x", f"--config={config}", f"--workdir={tuned}"])
    main(["rope-lab", "export", str(tuned), str(tmp_path / "out")])
    written = json.loads((tmp_path / "out" / "config.json").read_text())
    rope = written["rope_parameters"]
    assert (rope["rope_type"], rope["rope_theta"]) == ("yarn", BASE)
    assert (rope["factor"], rope["original_max_position_embeddings"]) == (2.0, 16)
    ours, theirs = load_checkpoint(tuned), load_pretrained(tmp_path / "out")
    np.testing.assert_allclose(
        logits(theirs.graphdef, theirs.params, theirs.logic()),
        logits(ours.graphdef, ours.params, ours.logic()),
        atol=1e-5,
    )


def test_it_is_measured_on_documents_that_are_named_under_its_own_base(
    imported, corpus, write_config, tmp_path, capsys
):
    values = {
        "models": {"pretrained": str(imported[1])},
        "encodings": [{"label": "RoPE", "name": "rope"}],
        "lengths": [16],
        "num_windows": 2,
        "num_repeated_windows": 0,
        "data_dir": str(tmp_path),
    }
    flags = ["x", f"--workdir={tmp_path / 'far'}"]
    with pytest.raises(SystemExit):
        run_experiment("extrapolate", [*flags, f"--config={write_config(values)}"])
    assert "imported and names no corpus" in capsys.readouterr().err
    config = write_config({**values, "documents": str(corpus)})
    run_experiment("extrapolate", [*flags, f"--config={config}"])
    rows = json.loads((tmp_path / "far" / "results.json").read_text())["rows"]
    truncated, rope = (row["cells"]["16"]["natural"]["loss"] for row in rows)
    assert rope == pytest.approx(truncated, abs=1e-6)  # base 10,000 would differ


def test_an_encoding_that_transformers_lacks_is_refused_by_the_command(
    imported, tmp_path, capsys
):
    argv = ["rope-lab", "export", str(imported[1]), str(tmp_path / "out")]
    with pytest.raises(SystemExit):
        main([*argv, '--encoding={"name": "rerope", "window": 4}'])
    assert "rerope cannot be exported: far keys" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_checkpoint_without_a_bos_is_measured_without_one(tmp_path):
    folder, workdir = tmp_path / "theirs", tmp_path / "ours"
    write_folder(folder)
    pieces = {f"w{number}": number for number in range(257)}
    hf.Tokenizer(hf.models.WordLevel(pieces, "w0")).save(str(folder / "tokenizer.json"))
    described = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(described | {"bos_token_id": None}))
    main(["rope-lab", "import", str(folder), f"--workdir={workdir}"])
    for place in (folder, workdir):
        with pytest.raises(ValueError, match="has no BOS.*--config.bos=False"):
            Loading(CheckpointConfig(checkpoint=str(place)))
        subject = Loading(CheckpointConfig(checkpoint=str(place), bos=False)).subject
        assert subject.tokenizer.bos_id is None
        assert subject.tokenizer.encode("w256").tolist() == [256]
    kept = load_checkpoint(workdir).meta["config"]["data"]["tokenizer"]
    with pytest.raises(ValueError, match="has no BOS, with which documents begin"):
        load_tokenizer(kept)  # as fine-tuning does


def test_a_workdir_with_anything_in_it_stays_as_it_is(imported, capsys):
    theirs, workdir, _ = imported
    before = sorted(workdir.rglob("*"))
    with pytest.raises(SystemExit):
        main(["rope-lab", "import", str(theirs), f"--workdir={workdir}"])
    assert "is not empty" in capsys.readouterr().err
    assert sorted(workdir.rglob("*")) == before
