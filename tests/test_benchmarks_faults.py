"""The short form of the fault suite: five kills, during saves and at any moment."""

import pytest

from benchmarks import faults
from benchmarks.fault_cycles import Cycles, keep_result, open_suite
from benchmarks.fault_kinds import Outcome


@pytest.mark.slow
def test_runs_survive_five_kills(tmp_path, monkeypatch):
    monkeypatch.delenv("XLA_FLAGS", raising=False)
    results = faults.run(["killed"], 3, tmp_path)
    results += faults.run(["one_of_two"], 2, tmp_path)
    for result in results:
        assert result.outcome.survived == result.outcome.injected > 0, result
        assert result.outcome.bytes_lost == 0
    page = faults.page(results, "python -m benchmarks.faults", "abc")
    assert "| kill -9 of the whole job, half of them during a save | 3 | 3 |" in page


def test_kinds_that_do_not_exist_are_refused(tmp_path, capsys):
    with pytest.raises(SystemExit):
        faults.main(["--only=flood", f"--out={tmp_path / 'x.md'}"])
    assert "unknown ['flood']" in capsys.readouterr().err


def test_a_suite_goes_on_where_it_was_interrupted(tmp_path):
    cycles = Cycles(tmp_path / "killed.cycles")
    cycles.add(advanced=True, lost=3)
    cycles.add(advanced=False, lost=5)
    again = Cycles(tmp_path / "killed.cycles")
    assert (len(again), again.advanced, again.lost) == (2, 1, 5)
    kept = faults.Result("sigterm", Outcome(1, 1, note="as before"), 12.5)
    keep_result(tmp_path, kept)
    assert faults.run(["sigterm"], 2, tmp_path) == [kept]


def test_a_suite_of_other_settings_is_not_gone_on_with(tmp_path):
    open_suite(tmp_path, kills=50, seed=0)
    open_suite(tmp_path, kills=50, seed=0)
    with pytest.raises(ValueError, match="give another folder"):
        open_suite(tmp_path, kills=49, seed=0)
