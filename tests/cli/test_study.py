"""A study end to end: models trained, rows measured, tables, page, and a restart."""

import json

import numpy as np
import pytest

from rope_lab.cli.config import StudyConfig, read
from rope_lab.cli.main import run_experiment
from rope_lab.cli.sittings import kept_models
from rope_lab.cli.study import study_model
from rope_lab.cli.study_page import write_page
from rope_lab.data import packed_sequences
from rope_lab.evaluation import load_results

ALIBI_OF_8 = {"name": "alibi", "num_heads": 8}  # where the model has 2


@pytest.fixture
def values(settings):
    """Nested dicts of a `StudyConfig` of two models."""
    model = dict(settings["model"])
    logic = model.pop("logic")
    scaled = {"scale": 4}
    rope_rows = [
        {"label": "RoPE", **logic},
        {"label": "PI", "name": "interpolated", **scaled},
        {"label": "NTK-aware", "name": "ntk_aware", **scaled},
        {"label": "NTK-mixed", "name": "ntk_mixed", **scaled},
        {"label": "ReRoPE w=L/2", "name": "rerope", "window": "trained/2"},
        {"label": "ReRoPE w=L", "name": "rerope", "window": "trained"},
    ]
    return {
        "title": "A study of seconds",
        "model": model,
        "data": {**settings["data"], "repeat_fraction": 0.5},
        "training": settings["training"],
        "validation": settings["validation"],
        "trained": [
            {"label": "RoPE", "logic": logic, "rows": rope_rows},
            {
                "label": "NoPE",
                "logic": {"name": "nope"},
                "rows": [{"label": "NoPE", "name": "nope"}],
                "training": {"num_steps": 4},
            },
        ],
        "extrapolate": {
            "lengths": [16, 64],
            "num_windows": 4,
            "num_repeated_windows": 4,
            "far_repeat_length": 32,
        },
    }


def run(config, workdir, *options):
    arguments = [f"--config={config}", f"--workdir={workdir}", *options]
    run_experiment("extrapolate", ["extrapolate", *arguments])


def test_a_study_trains_measures_reports_and_resumes(
    values, write_config, tmp_path, capsys
):
    config, workdir = write_config(values), tmp_path / "study"
    run(config, workdir)
    results = load_results(workdir / "page" / "results.json")
    rows = {row["label"]: row for row in results["rows"]}
    names = [row["label"] for row in values["trained"][0]["rows"]]
    assert list(rows) == ["truncated", *names, "truncated, NoPE", "NoPE"]
    for length, kinds in (("16", 2), ("64", 3)):
        for kind in results["targets"][length]:
            cells = [row["cells"][length][kind] for row in rows.values()]
            assert len({cell["targets_checksum"] for cell in cells}) == 1
        assert len(results["targets"][length]) == kinds
    own = rows["NoPE"]["cells"]["64"]["natural"]["minus_truncated"]["beyond"]["mean"]
    losses = [
        rows[name]["cells"]["64"]["natural"]["beyond"]["loss"]
        for name in ("NoPE", "truncated, NoPE")
    ]
    assert own == pytest.approx(losses[0] - losses[1], abs=1e-5)
    assert results["run"]["models"]["NoPE"]["tokens"] == 4 * 2 * 16
    page = (workdir / "page" / "README.md").read_text()
    assert "too small to count on repeated text" in page  # six steps teach no copying
    assert "| PI | 49.41 |" in page
    before = {label: row["seconds"] for label, row in rows.items()}
    capsys.readouterr()
    run(config, workdir)  # nothing is trained or measured again
    again = load_results(workdir / "page" / "results.json")
    assert {row["label"]: row["seconds"] for row in again["rows"]} == before
    assert "step 6/6" not in capsys.readouterr().err
    pictures = sorted((workdir / "page").glob("*.png"))
    for path in pictures:
        path.unlink()
    write_page(workdir / "page", again)  # from the numbers alone
    assert sorted((workdir / "page").glob("*.png")) == pictures


def test_a_page_is_enough_to_go_on_where_the_workdir_is_gone(
    values, write_config, tmp_path, capsys
):
    # Trained with Resonance, whose frequencies ReRoPE takes over from its model.
    values["trained"][0]["logic"] |= {"resonance": True}
    run(write_config(values), tmp_path / "first")
    page = tmp_path / "first" / "page" / "results.json"
    before = load_results(page)
    for model in before["run"]["models"].values():
        del model["config"]["validation"]["packed"]  # measured before there was one
    page.write_text(json.dumps(before))
    values["trained"][1]["training"] = {"num_steps": 3}
    capsys.readouterr()
    (tmp_path / "again").mkdir()  # of a model that was begun there and then thrown away
    (tmp_path / "again" / "timings.json").write_text('{"1/2 train RoPE": 1e9}')
    run(write_config(values), tmp_path / "again", f"--config.earlier={page}")
    assert "NoPE: trained anew" in capsys.readouterr().err
    assert not (tmp_path / "again" / "rope").exists()
    after = load_results(tmp_path / "again" / "page" / "results.json")
    kept, trained = (
        [row for row in results["rows"] if row["model"] == "RoPE"]
        for results in (before, after)
    )
    assert kept == trained and after["context_use"] == before["context_use"]
    assert after["run"]["models"]["RoPE"] == before["run"]["models"]["RoPE"]
    assert after["run"]["models"]["NoPE"]["tokens"] == 3 * 2 * 16
    seconds = after["run"]["wall seconds"]
    assert seconds["1/2 train RoPE"] == before["run"]["wall seconds"]["1/2 train RoPE"]
    assert set(seconds) == set(before["run"]["wall seconds"])

    values["trained"][0]["rows"][1]["scale"] = 8
    config = read(StudyConfig, values)
    models = [study_model(config, one, tmp_path) for one in config.trained]
    capsys.readouterr()
    assert kept_models(str(page), models, packed_sequences(config.data)) == {}
    said = capsys.readouterr().err
    assert "RoPE: trained anew" in said and "another row 'PI'" in said


def test_an_order_that_differs_stands_beside_the_same_one_at_another_size(
    values, write_config, tmp_path
):
    del values["trained"][1]
    page = tmp_path / "smaller" / "results.json"
    values["page"] = str(page.parent)
    run(write_config(values), tmp_path / "first")
    results = load_results(page)
    results["run"]["title"] = "The other size"
    rows = {row["label"]: row["cells"]["64"]["natural"] for row in results["rows"]}

    def give(accuracy_of):  # against the article, which has RoPE above PI and below NTK
        for name, accuracy in accuracy_of.items():
            held = rows[name]["per_window"]
            held["whole_accuracy"] = [accuracy] * len(held["whole_accuracy"])

    give({"RoPE": 0.2, "PI": 0.1, "NTK-mixed": 0.1})
    page.write_text(json.dumps(results))
    folder = tmp_path / "page"
    folder.mkdir()
    give({"PI": 0.3})
    written = write_page(folder, results, page).read_text("utf-8")
    assert "[another page](../smaller/README.md), *The other size*" in written
    lines = [line for line in written.splitlines() if line.endswith("reversed |")]
    (both,) = [
        line for line in lines if line.startswith("| natural | NTK-mixed | RoPE")
    ]
    assert both.count("−10.00 points") == 2
    (one,) = [line for line in written.splitlines() if "| RoPE | PI |" in line]
    assert one.endswith("| reversed | +10.00 points [10.00, 10.00] | agrees |")
    alone = write_page(folder, results).read_text("utf-8")
    assert "verdict there" not in alone and "## Trained again" not in alone


def test_other_trainings_give_a_row_its_spread(values, write_config, tmp_path):
    del values["trained"][1]
    values["trained"][0]["rows"].append(
        {"label": "Resonance PI", "name": "interpolated", "scale": 4, "resonance": True}
    )
    first = tmp_path / "first" / "page" / "results.json"
    run(write_config(values), tmp_path / "first")
    values |= {"again": [str(first)], "seed": 1}
    run(write_config(values), tmp_path / "second")
    page = (tmp_path / "second" / "page" / "README.md").read_text("utf-8")
    told = page.partition("## Trained again")[2].partition("## Every other row")[0]
    assert "were trained 2 times" in told and "with parameters 0, data 0" in told
    second = load_results(tmp_path / "second" / "page" / "results.json")
    both = [
        {row["label"]: 100 * row["cells"]["64"]["natural"]["accuracy"] for row in rows}
        for rows in (second["rows"], load_results(first)["rows"])
    ]

    def spread(values, sign=""):
        told = f"{np.mean(values):{sign}.2f} ± {np.std(values, ddof=1):.2f}"
        return told.replace("-", "\N{MINUS SIGN}")

    lines = told.splitlines()
    natural = spread([rows["PI"] for rows in both])
    assert f"| PI | {natural} | – | – |" in lines  # six steps teach no copying
    gained = spread([rows["Resonance PI"] - rows["PI"] for rows in both], "+")
    assert f"| PI | {gained} | – | – |" in lines
    other = load_results(first)
    other["targets"]["64"]["natural"]["checksum"] = "another"
    first.write_text(json.dumps(other))
    with pytest.raises(ValueError, match="results of other text"):
        write_page(tmp_path / "second" / "page", second, again=[first])


def test_a_study_without_held_out_text_ends_before_it_trains(
    values, write_config, tmp_path, capsys
):
    values["data"]["held_out_fraction"] = 0.0
    values["validation"] = {"num_windows": 0}
    with pytest.raises(SystemExit):
        run(write_config(values), tmp_path / "study")
    assert "nothing held out to measure on" in capsys.readouterr().err
    assert not (tmp_path / "study").exists()


@pytest.mark.parametrize("option", ["earlier", "other_size", "again"])
def test_the_other_results_must_be_of_a_study(
    values, write_config, tmp_path, capsys, option
):
    other = tmp_path / "results.json"
    other.write_text('{"schema_version": 1, "rows": []}')
    values[option] = [str(other)] if option == "again" else str(other)
    with pytest.raises(SystemExit):
        run(write_config(values), tmp_path / "study")
    assert "is not the results.json of a study's page" in capsys.readouterr().err
    assert not (tmp_path / "study").exists()


def test_a_diverging_model_is_named_with_the_reason_and_the_others_go_on(
    values, write_config, tmp_path, monkeypatch
):
    from rope_lab.cli import study as module
    from rope_lab.training import TrainingDiverged

    train = module.pretrain

    def pretrain(config, workdir):
        if config.model.logic["name"] == "rope":
            raise TrainingDiverged("the loss is NaN", 3, "batch 2", None)
        return train(config, workdir)

    monkeypatch.setattr(module, "pretrain", pretrain)
    run(write_config(values), tmp_path)
    results = json.loads((tmp_path / "page" / "results.json").read_text())
    assert [row["label"] for row in results["rows"]] == ["truncated", "NoPE"]
    page = (tmp_path / "page" / "README.md").read_text()
    assert "PI: the loss is NaN at step 3" in page


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"logic": {"name": "rop"}}, "did you mean 'rope'"),
        ({"rows": [{"label": "a", "name": "rerope"}]}, "encoding 'a' at length 16"),
        ({"rows": [{"label": "PI", "name": "rope"}]}, "two models or rows are called"),
        ({"training": {"num_step": 3}}, "did you mean 'num_steps'"),
        ({"label": "rope"}, "two models or rows are called 'rope'"),
        ({"logic": ALIBI_OF_8}, "model 'NoPE': this alibi logic was built"),
        ({"rows": [{"label": "a", **ALIBI_OF_8}]}, "encoding 'a' at length 16: this"),
        (
            {"rows": [{"label": "a", "name": "kerple_log", "num_heads": 2}]},
            "encoding 'a' on model 'pretrained': the logic learns",
        ),
        (
            {
                "logic": {"name": "rope", "log_n": "train", "train_length": 16},
                "rows": [{"label": "a", "name": "yarn", "scale": 2, "train_length": 8}],
            },
            "encoding 'a' at length 16: yarn has train_length 8, but the model was",
        ),
    ],
)
def test_a_wrong_model_or_row_stops_the_study_before_it_trains(
    values, write_config, tmp_path, capsys, change, expected
):
    values["trained"][1] |= change
    with pytest.raises(SystemExit):
        run(write_config(values), tmp_path / "study")
    assert expected in capsys.readouterr().err
    assert not (tmp_path / "study").exists()
