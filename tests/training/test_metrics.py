import json
import sys
import time

import pytest

from rope_lab.training import MetricsWriter, read_metrics


def write(workdir, steps, resume=0, **options):
    with MetricsWriter(workdir, **options) as writer:
        writer.resume(resume)
        for step in steps:
            writer.write(step, {"loss": step / 8})


def test_a_row_is_on_disk_when_write_returns(tmp_path):
    writer = MetricsWriter(tmp_path, tensorboard=False)
    writer.write(3, {"loss": 0.5, "accuracy": 1})
    row = {"step": 3, "loss": 0.5, "accuracy": 1.0}
    assert (tmp_path / "metrics.jsonl").read_text() == json.dumps(row) + "\n"
    writer.close()


def test_resuming_forgets_what_will_be_written_again(tmp_path):
    write(tmp_path, [2, 4, 6, 8], tensorboard=False)
    write(tmp_path, [6, 8, 10], resume=5, tensorboard=False)
    assert [row["step"] for row in read_metrics(tmp_path)] == [2, 4, 6, 8, 10]


def test_a_line_cut_by_a_kill_is_forgotten(tmp_path):
    write(tmp_path, [2, 4], tensorboard=False)
    path = tmp_path / "metrics.jsonl"
    path.write_text(path.read_text() + '{"step": 6, "lo')
    assert [row["step"] for row in read_metrics(tmp_path)] == [2, 4]
    write(tmp_path, [6], resume=4, tensorboard=False)
    assert [row["step"] for row in read_metrics(tmp_path)] == [2, 4, 6]


def test_a_broken_line_in_the_middle_is_reported(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"step": 1}\n{"st\n{"step": 3}\n')
    with pytest.raises(ValueError, match="line 2 of .*metrics.jsonl is no JSON"):
        read_metrics(tmp_path)


def test_a_number_that_is_not_finite_is_refused_by_its_name(tmp_path):
    with (
        MetricsWriter(tmp_path, tensorboard=False) as writer,
        pytest.raises(ValueError, match="metric loss is nan at step 4"),
    ):
        writer.write(4, {"loss": float("nan")})


def test_tensorboard_files_hold_the_values(tmp_path):
    from tensorboardX.proto.event_pb2 import Event

    write(tmp_path, [2, 4])
    (file,) = (tmp_path / "tensorboard").iterdir()
    data, values = file.read_bytes(), []
    while data:  # a record: length u64, its checksum u32, the event, its checksum u32
        size = int.from_bytes(data[:8], "little")
        event = Event.FromString(data[12 : 12 + size])
        values += [(event.step, v.tag, v.simple_value) for v in event.summary.value]
        data = data[16 + size :]
    assert values == [(2, "loss", 0.25), (4, "loss", 0.5)]


def test_wandb_writes_an_offline_run_and_a_restart_continues_it(tmp_path, monkeypatch):
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    write(tmp_path, [2, 4], tensorboard=False, wandb=True)
    name = (tmp_path / "wandb_id.txt").read_text()
    time.sleep(1.1)  # wandb names folders by the second; two would fall into one
    write(tmp_path, [6], resume=4, tensorboard=False, wandb=True)
    runs = list((tmp_path / "wandb").glob("offline-run-*/*.wandb"))
    assert runs and all(run.name == f"run-{name}.wandb" for run in runs)
    deadline = time.monotonic() + 20  # a process of wandb's own writes the files
    while not all(b"loss" in run.read_bytes() for run in runs):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert [row["step"] for row in read_metrics(tmp_path)] == [2, 4, 6]


def test_wandb_that_is_not_installed_is_explained(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(ValueError, match=r"pip install 'rope-lab\[wandb\]'"):
        MetricsWriter(tmp_path, wandb=True)
