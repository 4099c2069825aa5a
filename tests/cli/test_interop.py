"""Checkpoints of other programs through the commands: in, on, and out again."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
import tokenizers as hf
from tiny_checkpoint import logits, write_folder

import rope_lab
from rope_lab import position_logic
from rope_lab.cli.checkpoints import load_checkpoint
from rope_lab.cli.evaluation_config import CheckpointConfig, GenerateConfig
from rope_lab.cli.generate import generate
from rope_lab.cli.main import main, run_experiment
from rope_lab.cli.opening import open_checkpoint
from rope_lab.cli.subject import Loading
from rope_lab.data import load_tokenizer
from rope_lab.data.chat import TEMPLATES
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


def test_an_import_follows_the_length_where_the_checkpoint_does(tmp_path):
    dynamic = position_logic(
        "dynamic_ntk", head_dim=16, train_length=16, length=16, scale=2.0
    )
    write_folder(tmp_path / "theirs", dynamic, length=16)
    command = ["rope-lab", "import", str(tmp_path / "theirs")]
    main([*command, f"--workdir={tmp_path / 'ours'}"])
    main([*command, f"--workdir={tmp_path / 'fixed'}", "--config.length=32"])
    theirs, ours, fixed = (
        open_checkpoint(tmp_path / name).own for name in ("theirs", "ours", "fixed")
    )
    for length in (16, 24, 64):
        assert ours(length).to_dict() == theirs(length).to_dict()
        assert fixed(length).to_dict() == theirs(32).to_dict()
    assert ours(64).to_dict() != ours(16).to_dict()


def test_what_ends_an_answer_survives_import_and_export(imported, tmp_path):
    theirs = shutil.copytree(imported[0], tmp_path / "theirs")
    config = json.loads((theirs / "config.json").read_text())
    (theirs / "config.json").write_text(json.dumps(config | {"eos_token_id": 65}))
    (theirs / "generation_config.json").write_text('{"eos_token_id": [65, 66]}')
    (theirs / "chat_template.jinja").write_text("{{ messages }}")
    ours, out = tmp_path / "ours", tmp_path / "out"
    main(["rope-lab", "import", str(theirs), f"--workdir={ours}"])
    tokenizer = Loading(CheckpointConfig(checkpoint=str(ours))).subject.tokenizer
    assert tokenizer.eos_ids == (65, 66)
    assert TEMPLATES["none"].stop_tokens(tokenizer) == [65, 66]
    main(["rope-lab", "export", str(ours), str(out)])
    again = load_pretrained(out).tokenizer
    assert (again.eos_ids, again.chat_template) == ((65, 66), "{{ messages }}")
    written = json.loads((out / "config.json").read_text())
    assert written["eos_token_id"] == [65, 66]
    assert json.loads((out / "tokenizer_config.json").read_text())["eos_token"] == "A"


def test_generate_stops_where_the_checkpoint_ends(imported, tmp_path):
    theirs = shutil.copytree(imported[0], tmp_path / "theirs")
    loaded = load_pretrained(theirs)
    prompt = np.array([[256, *b"abc"]])
    written, _ = rope_lab.generate(
        loaded.graphdef, loaded.params, prompt, loaded.logic, 8
    )
    answer = written[0, -8:].tolist()
    config = json.loads((theirs / "config.json").read_text())
    ends = {"eos_token_id": answer[3]}
    (theirs / "config.json").write_text(json.dumps(config | ends))
    asked = GenerateConfig(checkpoint=str(theirs), prompt="abc", max_new_tokens=8)
    (text,) = generate(asked)
    assert text == loaded.tokenizer.decode(answer[: answer.index(answer[3])])


def test_a_moved_import_takes_the_tokenizer_beside_it(imported, tmp_path):
    moved = shutil.copytree(imported[1], tmp_path / "moved")
    recorded = load_checkpoint(moved).meta["config"]["data"]["tokenizer"]
    assert recorded == f"{moved / 'tokenizer.json'}?bos=256"
    (step,) = (moved / "checkpoints").glob("0*")
    assert load_checkpoint(step).meta["config"]["data"]["tokenizer"] == recorded
    assert load_tokenizer(recorded).bos_id == 256


def test_a_tokenizer_with_another_bos_is_told_what_to_give(tmp_path):
    write_folder(tmp_path / "theirs")
    path = tmp_path / "theirs" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"bos_token_id": 5}))
    ours = tmp_path / "ours"
    main(["rope-lab", "import", str(path.parent), f"--workdir={ours}"])
    given = CheckpointConfig(
        checkpoint=str(ours), tokenizer=str(ours / "tokenizer.json")
    )
    with pytest.raises(ValueError, match=r"tokenizer\.json\?bos=5'") as caught:
        Loading(given)
    named = str(caught.value).split("trained with, '")[1].split("'")[0]
    Loading(dataclasses.replace(given, tokenizer=named))
