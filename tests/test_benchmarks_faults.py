"""The short form of the fault suite: five kills, during saves and at any moment."""

import pytest

from benchmarks import faults


@pytest.mark.slow
def test_runs_survive_five_kills(tmp_path, monkeypatch):
    monkeypatch.delenv("XLA_FLAGS", raising=False)
    results = faults.run(["killed"], 3, tmp_path / "whole")
    results += faults.run(["one_of_two"], 2, tmp_path / "one")
    for result in results:
        assert result.outcome.survived == result.outcome.injected > 0, result
        assert result.outcome.bytes_lost == 0
    page = faults.page(results, "python -m benchmarks.faults")
    assert "| kill -9 of the whole job, half of them during a save | 3 | 3 |" in page


def test_kinds_that_do_not_exist_are_refused(tmp_path, capsys):
    with pytest.raises(SystemExit):
        faults.main(["--only=flood", f"--out={tmp_path / 'x.md'}"])
    assert "unknown ['flood']" in capsys.readouterr().err
