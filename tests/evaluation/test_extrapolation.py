"""The table of rows: what it holds, and what a restart measures again."""

import dataclasses
import json
from types import SimpleNamespace

import numpy as np
import pytest
import tiny_model

from rope_lab import position_logic, rotary
from rope_lab.evaluation import (
    Model,
    Row,
    evaluate_rows,
    fingerprints,
    load_results,
    per_token,
    positions,
    save_results,
)
from rope_lab.evaluation import extrapolation as module
from rope_lab.evaluation.truncated import truncated
from rope_lab.logic.bands import Band, Unkeyed

L = 8
GRAPHDEF, PARAMS = tiny_model.GRAPHDEF, tiny_model.init(seed=0)
TUNED = tiny_model.init(seed=1)
MODELS = {"pretrained": Model(PARAMS, "run@10"), "tuned": Model(TUNED, "tune@5")}
ROPE = position_logic("rope", head_dim=8)


def dynamic(length):
    return position_logic("dynamic_ntk", head_dim=8, train_length=L, length=length)


ROWS = [
    Row("RoPE", lambda length: ROPE),
    Row("Truncated", lambda length: ROPE, truncated=True),
    Row("PI", lambda length: position_logic("interpolated", head_dim=8, scale=4.0)),
    Row("Dynamic", dynamic),
    Row("Tuned", lambda length: ROPE, model="tuned"),
]


def windows(length, kind):
    rng = np.random.default_rng([length, len(kind)])
    tokens = rng.integers(0, 13, (6, length + 1)).astype(np.int32)
    repeat = length // 2 if kind == "repeated" else None
    return SimpleNamespace(
        tokens=tokens, document_ids=np.arange(6) % 3, repeat_length=repeat
    )


TEXT = {
    length: {kind: windows(length, kind) for kind in ("natural", "repeated")}
    for length in (L, 4 * L)
}


def evaluate(path, rows=ROWS, models=MODELS, text=TEXT, **options):
    return evaluate_rows(GRAPHDEF, models, rows, text, L, path, **options)


@pytest.fixture(scope="module", autouse=True)
def quick_model():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(positions, "target_scores", tiny_model.target_scores)
        yield


@pytest.fixture(scope="module")
def results(tmp_path_factory, quick_model):
    return evaluate(tmp_path_factory.mktemp("table") / "results.json")


@pytest.fixture
def measured(monkeypatch):
    """Labels of the rows that are measured, in order."""
    labels, measure = [], module._measure

    def spy(graphdef, params, row, *rest):
        labels.append(row.label)
        return measure(graphdef, params, row, *rest)

    monkeypatch.setattr(module, "_measure", spy)
    return labels


def test_every_row_holds_loss_accuracy_interval_and_tokens_everywhere(results):
    assert [row["label"] for row in results["rows"]] == [row.label for row in ROWS]
    for row in results["rows"]:
        for length in (L, 4 * L):
            for kind in ("natural", "repeated"):
                cell = row["cells"][str(length)][kind]
                low, high = cell["loss_interval"]
                assert low <= cell["loss"] <= high
                assert 0 <= cell["accuracy"] <= 1
                assert cell["tokens"] == 6 * length and cell["documents"] == 3
                assert (cell["beyond"] is None) == (length == L)


def test_every_row_of_a_length_scored_the_same_targets(results):
    for length, kinds in results["targets"].items():
        for kind, facts in kinds.items():
            expected = positions.targets_checksum(TEXT[int(length)][kind].tokens[:, 1:])
            sums = {
                r["cells"][length][kind]["targets_checksum"] for r in results["rows"]
            }
            assert sums == {facts["checksum"]} == {expected}


def test_cells_hold_the_losses_of_their_model_and_logic(results):
    tokens = TEXT[4 * L]["natural"].tokens
    expected = {
        "RoPE": per_token(GRAPHDEF, PARAMS, tokens, ROPE)[0],
        "Truncated": truncated(GRAPHDEF, PARAMS, tokens, ROPE, L)[0],
        "Dynamic": per_token(GRAPHDEF, PARAMS, tokens, dynamic(4 * L))[0],
        "Tuned": per_token(GRAPHDEF, TUNED, tokens, ROPE)[0],
    }
    for row in results["rows"]:
        if row["label"] in expected:
            loss = expected[row["label"]]
            cell = row["cells"][str(4 * L)]["natural"]
            assert cell["loss"] == pytest.approx(loss.mean(), abs=1e-5)
            assert cell["beyond"]["loss"] == pytest.approx(loss[:, L:].mean(), abs=1e-5)


def test_differences_to_truncated_are_of_the_means_and_zero_for_itself(results):
    cells = {r["label"]: r["cells"][str(4 * L)]["natural"] for r in results["rows"]}
    for part in ("whole", "beyond"):
        assert cells["Truncated"]["minus_truncated"][part]["mean"] == 0
    gap = cells["PI"]["beyond"]["loss"] - cells["Truncated"]["beyond"]["loss"]
    found = cells["PI"]["minus_truncated"]["beyond"]
    assert found["mean"] == pytest.approx(gap, abs=1e-5)
    assert found["interval"][0] <= found["mean"] <= found["interval"][1]


def test_within_the_training_length_truncated_is_the_plain_row(results):
    cells = {r["label"]: r["cells"][str(L)]["natural"] for r in results["rows"]}
    assert cells["RoPE"]["loss"] == pytest.approx(cells["Truncated"]["loss"], abs=1e-5)


def test_logics_are_recorded_per_length(results):
    dynamic_row = next(r for r in results["rows"] if r["label"] == "Dynamic")
    lengths = {
        int(length): kinds["natural"]["logic"]["options"]["length"]
        for length, kinds in dynamic_row["cells"].items()
    }
    assert lengths == {L: L, 4 * L: 4 * L}


def test_context_use_ends_with_the_whole_window(results):
    use = results["context_use"]
    assert [step["context"] for step in use["steps"]] == [[3, 4], [5, 8]]
    loss, _ = per_token(GRAPHDEF, PARAMS, TEXT[L]["natural"].tokens, ROPE)
    assert use["steps"][-1]["loss"] == pytest.approx(loss[:, 4:].mean(), abs=1e-5)
    assert use["tokens"] == 6 * 4


def test_windows_have_names_by_which_other_results_find_them(results, tmp_path):
    fewer = windows(L, "natural")
    fewer.tokens, fewer.document_ids = fewer.tokens[2:4], fewer.document_ids[2:4]
    text = {L: {"natural": fewer}}
    others = evaluate(tmp_path / "results.json", rows=ROWS[:1], text=text)
    names = results["windows"][str(L)]["natural"]
    assert others["windows"][str(L)]["natural"] == names[2:4]
    assert len(set(names)) == 6
    assert results["planned"] == [row.label for row in ROWS]


def test_the_file_is_what_the_call_returns(tmp_path):
    path = tmp_path / "results.json"
    assert evaluate(path, ROWS[:2]) == load_results(path)
    assert [p.name for p in tmp_path.iterdir()] == ["results.json"]


def test_a_killed_evaluation_goes_on_with_the_first_row_that_is_missing(
    tmp_path, measured, results
):
    path = tmp_path / "results.json"

    def killed(state):
        if state.label == "PI":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate(path, progress=killed)
    assert [row["label"] for row in load_results(path)["rows"]] == ["RoPE", "Truncated"]
    measured.clear()
    resumed = evaluate(path)
    assert measured == ["PI", "Dynamic", "Tuned"]
    assert without_times(resumed) == without_times(results)


def test_rows_are_measured_again_only_if_something_they_depend_on_changed(
    tmp_path, measured
):
    path = tmp_path / "results.json"
    short = {L: TEXT[L]}
    evaluate(path, text=short)
    measured.clear()
    evaluate(path, text=short)
    assert measured == []
    models = MODELS | {"tuned": Model(TUNED, "tune@6")}
    evaluate(path, models=models, text=short)
    assert measured == ["Tuned"]
    measured.clear()
    wider = Row("PI", lambda _: position_logic("interpolated", head_dim=8, scale=2.0))
    evaluate(path, [ROWS[0], wider], models, short)
    assert measured == ["PI"]
    measured.clear()
    evaluate(path, ROWS[:1], models, {L: TEXT[L] | {"natural": windows(L, "other")}})
    assert measured == ["RoPE"]


def test_a_logic_put_together_by_hand_is_known_by_its_values(tmp_path, measured):
    path = tmp_path / "results.json"
    for frequency in (0.5, 0.5, 0.25):
        bands = (Band(rotary.make_frequencies(np.full(4, frequency))),)
        logic = dataclasses.replace(ROPE, bands=bands, record=Unkeyed(None))
        evaluate(path, [Row("Mine", lambda _, x=logic: x)], text={L: TEXT[L]})
    assert measured == ["Mine", "Mine"]


def test_a_plain_callable_is_known_by_its_source():
    def mine(q, k, query_positions, key_positions):
        return ROPE(q, k, query_positions, key_positions)

    def other(q, k, query_positions, key_positions):
        return 2 * ROPE(q, k, query_positions, key_positions)

    described = [fingerprints.describe_logic(logic) for logic in (mine, mine, other)]
    assert described[0] == described[1]
    assert described[0]["sha256"] != described[2]["sha256"]
    assert described[0]["callable"].endswith("mine")


def test_a_callable_whose_file_has_changed_has_a_description(tmp_path):
    changed = tmp_path / "changed.py"
    changed.write_text("'a string that never ends\n(\n")
    names = {}
    exec(compile("def mine(q, k): return q, k", changed, "exec"), names)
    assert fingerprints.describe_logic(names["mine"])["callable"] == "mine"


def test_progress_rises_to_one(tmp_path):
    seen = []
    evaluate(tmp_path / "r.json", ROWS[:2], text={L: TEXT[L]}, progress=seen.append)
    fractions = [state.fraction for state in seen]
    assert fractions == sorted(fractions) and fractions[-1] == 1
    assert seen[-1].seconds_left == 0
    assert {s.label for s in seen} == {"RoPE", "Truncated", "use of context"}


@pytest.mark.parametrize("content", ["{", "[]", '{"schema_version": 99}'])
def test_a_file_that_is_not_such_results_is_never_overwritten(tmp_path, content):
    path = tmp_path / "results.json"
    path.write_text(content)
    with pytest.raises(ValueError, match=r"results\.json .* anew"):
        evaluate(path)
    assert path.read_text() == content


def test_mistakes_are_named(tmp_path):
    path = tmp_path / "results.json"
    with pytest.raises(ValueError, match="two rows are called 'RoPE'"):
        evaluate(path, [ROWS[0], ROWS[0]])
    with pytest.raises(ValueError, match="asks for model 'tuned'; models holds"):
        evaluate(path, models={"pretrained": MODELS["pretrained"]})
    with pytest.raises(ValueError, match="hold 9 tokens; expected 17"):
        evaluate(path, text={16: TEXT[L]})
    with pytest.raises(ValueError, match="at most one"):
        evaluate(path, [ROWS[1], Row("Again", lambda _: ROPE, truncated=True)])
    assert not path.exists()


def without_times(results):
    copy = json.loads(json.dumps(results))
    for row in copy["rows"]:
        del row["seconds"]
    return copy


def test_a_list_of_numbers_takes_one_line_and_is_read_as_it_was(tmp_path):
    results = {"schema_version": 1, "rows": [[1, -2.5e-7], [], ["[1,\n 2]"]]}
    save_results(tmp_path / "results.json", results)
    assert load_results(tmp_path / "results.json") == results
    assert "[ 1, -2.5e-07 ]" in (tmp_path / "results.json").read_text()
