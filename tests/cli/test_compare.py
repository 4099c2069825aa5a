"""rope-lab compare: what it reads, what it pairs, what it says is missing."""

import copy
import json
import re

import numpy as np
import pytest
import run_folders
from run_folders import LABELS, L

from rope_lab.cli.compare import main
from rope_lab.cli.compare_runs import read_runs
from rope_lab.evaluation import save_results
from rope_lab.evaluation.summaries import difference


def page_data(path):
    """What the page holds for its script."""
    found = re.search(r'id="data">(.*?)</script>', path.read_text("utf-8"))
    return json.loads(found[1])


def compared(tmp_path, *folders):
    assert main([*map(str, folders), f"--out={tmp_path / 'page' / 'c.html'}"]) == 0
    return page_data(tmp_path / "page" / "c.html")


def numbers(data, label, measure, run=0):
    """Places of the lines of a label."""
    return [
        place
        for place, line in enumerate(data["lines"])
        if (line["label"], line["measure"], line["run"]) == (label, measure, run)
    ]


def pair(data, i, j, length):
    (found,) = [one[3:] for one in data["pairs"] if one[:3] == [i, j, length]]
    return found


def test_values_and_differences_between_runs_are_those_of_the_results(tmp_path):
    first = run_folders.measured(tmp_path / "a")
    second = run_folders.measured(tmp_path / "b", seed=1)
    data = compared(tmp_path, tmp_path / "a", tmp_path / "b")
    assert data["runs"] == ["a", "b"]
    (i,) = numbers(data, "RoPE", "accuracy, natural text", run=0)
    (j,) = numbers(data, "RoPE", "accuracy, natural text", run=1)
    ours, theirs = (
        next(r for r in results["rows"] if r["label"] == "RoPE")["cells"]["256"]
        for results in (first, second)
    )
    value = data["lines"][i]["cells"]["256"][0]
    assert value == pytest.approx(100 * ours["natural"]["accuracy"], rel=1e-4)
    documents = first["targets"]["256"]["natural"]["document_ids"]
    values = [c["natural"]["per_window"]["whole_accuracy"] for c in (ours, theirs)]
    expected = difference(*values, documents)
    mean, low, high, shared, most = pair(data, i, j, 256)
    wanted = 100 * np.array([expected["mean"], *expected["interval"]])
    np.testing.assert_allclose([mean, low, high], wanted, rtol=1e-3, atol=1e-3)
    assert (shared, most) == (24, 24)


def test_runs_of_other_windows_are_paired_on_those_they_share(tmp_path):
    run_folders.measured(tmp_path / "a", named=True)
    few = run_folders.measured(tmp_path / "b", windows=8, named=True)
    data = compared(tmp_path, tmp_path / "a", tmp_path / "b")
    (i,) = numbers(data, "PI", "loss, natural text", run=0)
    (j,) = numbers(data, "PI", "loss, natural text", run=1)
    assert pair(data, i, j, L)[3:] == [8, 24]
    del few["windows"]  # as an older version wrote it: nothing says what is equal
    save_results(tmp_path / "b" / "results.json", few)
    data = compared(tmp_path, tmp_path / "a", tmp_path / "b")
    assert not [one for one in data["pairs"] if one[:2] == [i, j]]


def test_perplexities_are_paired_on_the_documents_that_both_read(tmp_path):
    run_folders.perplexity_record(tmp_path / "a", "x", [4, 5, 6], [3.0, 2.0, 2.5])
    run_folders.perplexity_record(tmp_path / "b", "x", [6, 7, 4], [2.0, 9.0, 2.0])
    other = {"settings": {"targets": 4, "lengths": [64]}}
    run_folders.perplexity_record(tmp_path / "c", "x", [4, 5, 6], [3, 2, 2], **other)
    data = compared(tmp_path, *(tmp_path / name for name in "abc"))
    measure = "loss, perplexity/last/books"
    i, j, k = (numbers(data, "x", measure, run=run)[0] for run in range(3))
    mean, *_, shared, most = pair(data, i, j, 64)
    assert (mean, shared, most) == (0.75, 2, 3)  # of documents 4 and 6
    assert not [one for one in data["pairs"] if k in one[:2]]


def test_documents_of_equal_numbers_in_sources_of_one_name_are_not_paired(tmp_path):
    """Two folders called books, of which a record knows the name alone."""
    for run, start in (("a", 4), ("b", 7)):
        run_folders.perplexity_record(
            tmp_path / run, "x", [start, start + 1, start + 2], [3.0, 2.0, 2.5]
        )
        (path,) = (tmp_path / run / "records").iterdir()
        record = json.loads(path.read_text())
        record["data"]["numbers"] = [0, 1, 2]
        path.write_text(json.dumps(record))
    assert not compared(tmp_path, tmp_path / "a", tmp_path / "b")["pairs"]


def test_a_training_run_has_its_last_held_out_loss_and_its_curves(tmp_path):
    run_folders.trained(tmp_path / "base")
    (run,) = read_runs([tmp_path / "base"])
    (line,) = run.lines
    assert line.label == "rerope window=8"
    assert line.cells[L].value == 0.25
    steps, losses = run.curves["training"]
    assert (steps[0], losses[0], steps[-1]) == (4, 1.25, 40)


def test_a_folder_of_runs_stands_for_the_runs_in_it(tmp_path):
    run_folders.trained(tmp_path / "study" / "one")
    run_folders.measured(tmp_path / "study" / "two")
    run_folders.measured(tmp_path / "study" / "page")  # the same once more
    names = [run.name for run in read_runs([tmp_path / "study"])]
    assert names == ["study/one", "study/two"]


def test_a_sweep_stands_for_its_cells_and_not_for_its_table(tmp_path):
    run_folders.trained(tmp_path / "sweep" / "one")
    table = {"schema_version": 1, "study": "sweep", "cells": []}
    save_results(tmp_path / "sweep" / "results.json", table)
    (run,) = read_runs([tmp_path / "sweep"])
    assert run.name == "sweep/one" and run.lines


def damaged(folder):
    text = json.dumps(run_folders.measured(folder))
    (folder / "results.json").write_text(text[: len(text) // 2])


def without_a_cell(folder):
    results = run_folders.measured(folder)
    results["rows"][1]["cells"]["256"]["natural"] = {}
    save_results(folder / "results.json", results)


def without_a_row(folder):
    results = run_folders.measured(folder)
    save_results(folder / "results.json", results | {"planned": [*LABELS, "ALiBi"]})


def with_units_alone(folder):
    (folder / "units").mkdir(parents=True)
    (folder / "units" / "perplexity-own.jsonl").write_text("")


def with_another_schema(folder):
    run_folders.perplexity_record(folder, "x", [1, 2, 3], [1, 2, 3], schema_version=9)


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (damaged, "results.json is damaged and left out"),
        (without_a_cell, "results.json is damaged and left out: KeyError"),
        (without_a_row, "unfinished: ALiBi not measured"),
        (with_units_alone, "unfinished: perplexity-own has no record yet"),
        (with_another_schema, "has schema_version 9"),
        (lambda folder: run_folders.trained(folder, wanted=90), "step 40 of 90"),
        (lambda folder: folder.mkdir(), "nothing measured yet"),
    ],
)
def test_a_run_that_is_damaged_or_unfinished_is_named_and_the_others_compared(
    tmp_path, capsys, spoil, expected
):
    run_folders.measured(tmp_path / "good")
    spoil(tmp_path / "<bad>")
    data = compared(tmp_path, tmp_path / "good", tmp_path / "<bad>")
    assert numbers(data, "RoPE", "loss, natural text")
    assert expected in capsys.readouterr().out
    problems = (tmp_path / "page" / "c.html").read_text().split('id="problems"')[1]
    assert "&lt;bad&gt;" in problems.split("</ul>")[0]


def test_without_a_single_measurement_there_is_no_page(tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    out = tmp_path / "c.html"
    assert main([str(tmp_path / "empty"), f"--out={out}"]) == 1
    assert "nothing to compare" in capsys.readouterr().out
    assert not out.exists()


def test_a_folder_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(ValueError, match="there is no folder .*nowhere"):
        main([str(tmp_path / "nowhere")])


def test_encodings_of_equal_matrices_share_a_picture_and_biases_have_none(tmp_path):
    results = run_folders.measured(tmp_path / "a")
    alibi = copy.deepcopy(results["rows"][0])
    alibi |= {"label": "ALiBi", "truncated": False}
    for kinds in alibi["cells"].values():
        for cell in kinds.values():
            cell["logic"] = {"name": "alibi", "head_dim": 16, "base": 1e4}
            cell["logic"] |= {"schema_version": 1, "options": {"num_heads": 2}}
    results["rows"].append(alibi)
    save_results(tmp_path / "a" / "results.json", results)
    data = compared(tmp_path, tmp_path / "a")
    page = (tmp_path / "page" / "c.html").read_text()
    assert page.count('class="matrix"') == 3  # of RoPE with YaRN, PI, and ReRoPE
    assert "RoPE, YaRN, fine-tuned<br>" in page
    (place,) = numbers(data, "ALiBi", "loss, natural text")
    assert data["lines"][place]["encoding"] is None


def test_a_label_cannot_end_the_data_of_the_page(tmp_path):
    results = run_folders.measured(tmp_path / "a")
    results["rows"][1]["label"] = name = "</script><script>alert(1)</script>"
    save_results(tmp_path / "a" / "results.json", results)
    data = compared(tmp_path, tmp_path / "a")
    assert numbers(data, name, "loss, natural text")
    assert "<script>alert" not in (tmp_path / "page" / "c.html").read_text()
