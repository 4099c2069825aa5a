"""The kinds of fault: each function injects one into runs and says what came of it.

All take the bench, how often to do it (where that is more than once), random numbers.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.fault_cycles import Cycles
from benchmarks.fault_jobs import SAVE_EVERY, Bench, Job
from rope_lab.training.folders import DAMAGED, FOLDER
from rope_lab.training.metrics import read_metrics

TITLES = {
    "killed": "kill -9 of the whole job, half of them during a save",
    "one_of_two": "kill -9 of one process of two, half of them during a save",
    "sigterm": "SIGTERM",
    "sigterm_to_one_of_two": "SIGTERM to one process of two",
    "nan_in_a_batch": "NaN in a batch",
    "damaged_data": "a bit of the prepared data flipped",
    "damaged_checkpoint": "a bit of the newest checkpoint flipped",
    "full_disk": "a full disk during a save",
    "missing_host": "a process that never comes",
}
_STEPS_PER_KILL, _MORE_STEPS = 30, 30
STOPPED = 128 + signal.SIGTERM
FAILED, WRONG_INPUT = 1, 2  # statuses of runs that say in one line what is wrong


@dataclasses.dataclass
class Outcome:
    """Figures of one kind of fault; injected 0 where it was skipped, see the note."""

    injected: int
    survived: int
    steps_lost: int = 0  # at most, at one time
    bytes_lost: int = 0  # of complete checkpoints
    note: str = ""


def steps_for(kills: int) -> int:
    """Of a run that is killed so often; a start gets 5 to 80 steps far."""
    return _STEPS_PER_KILL * kills + _MORE_STEPS


def killed(bench: Bench, kills: int, rng: random.Random) -> Outcome:
    """The same command starts it again each time."""
    steps, cycles = steps_for(kills), bench.cycles("killed")
    job = bench.job("killed", keep=True, steps=steps)
    while len(cycles) < kills:
        before = job.saved()
        job.start()
        _until_the_moment(job, before, len(cycles), rng)
        job.kill()
        cycles.add(job.saved() > before, _last_row(job) - job.saved())
    finished = job.finish() == 0 and job.ends_as(bench.undisturbed(steps=steps))
    return _outcome_of(cycles, finished)


def one_of_two(bench: Bench, kills: int, rng: random.Random) -> Outcome:
    """local.py starts both again."""
    steps = steps_for(kills)
    job = bench.job("one_of_two", 2, restarts=kills, keep=True, steps=steps)
    cycles, starts = bench.cycles("one_of_two"), job.starts() + 1
    job.start()
    while len(cycles) < kills:
        job.until(lambda number=starts: job.starts() == number)
        before = job.saved()
        _until_the_moment(job, before, len(cycles), rng)
        job.kill_one(rng.randrange(2))
        starts += 1
        job.until(lambda number=starts: job.starts() == number)
        cycles.add(job.saved() > before, _last_row(job) - job.saved())
    finished = job.wait() == 0 and job.ends_as(bench.undisturbed(2, steps))
    return _outcome_of(cycles, finished)


def _outcome_of(cycles: Cycles, finished: bool) -> Outcome:
    survived = cycles.advanced if finished else 0
    note = f"{cycles.advanced} of {len(cycles)} starts saved a new step before the kill"
    return Outcome(len(cycles), survived, cycles.lost, note=note)


def sigterm(bench: Bench, kills: int, rng: random.Random) -> Outcome:
    """It saves at the next step and ends with a status of its own."""
    job = bench.job("sigterm")
    job.start()
    job.until(lambda: job.saved() > 0)
    time.sleep(rng.uniform(0, 0.3))
    job.process.terminate()
    return _stopped(bench, job)


def sigterm_to_one_of_two(bench: Bench, kills: int, rng: random.Random) -> Outcome:
    """Both agree on a step, save after it and end."""
    job = bench.job("sigterm_to_one", processes=2)
    job.start()
    job.until(lambda: job.saved() > 0)
    time.sleep(rng.uniform(0, 0.3))
    os.kill(job.pids()[1], signal.SIGTERM)
    return _stopped(bench, job)


def _stopped(bench: Bench, job: Job) -> Outcome:
    status = job.wait()
    lost = max(0, _last_row(job) - job.saved())
    finished = job.finish() == 0 and job.ends_as(bench.undisturbed(job.processes))
    note = f"ended with status {status}, expected {STOPPED}"
    return Outcome(1, int(status == STOPPED and finished), lost, note=note)


def nan_in_a_batch(bench: Bench, kills: int, rng: random.Random) -> Outcome:
    """The run stops at its step, names the batch and keeps the checkpoint before."""
    job = bench.job("nan")
    plain, step = list(job.command), 3 * SAVE_EVERY + 2
    job.command = [
        sys.executable,
        "-m",
        "benchmarks.fault_child",
        str(step),
        *plain[3:],
    ]
    status = job.finish()
    said = f"loss is nan at step {step}, on batch {step - 1}" in job.printed()
    lost = step - 1 - job.saved()
    job.command = plain
    finished = job.finish() == 0 and job.ends_as(bench.undisturbed())
    survived = int(status == FAILED and said and finished)
    return Outcome(
        1, survived, lost, note="the batch is named; with it mended, it goes on"
    )


def damaged_data(bench: Bench, kills: int, rng: random.Random) -> Outcome:
    """The run says what to remove; without it, it is prepared anew."""
    job = bench.job("damaged_data")
    bench.undisturbed()  # prepares the data
    (file,) = (bench.folder / "data" / "tokens").glob("*/tokens.bin")
    _flip(file, rng)
    status = job.finish()
    said = f"{file} is damaged" in job.printed()
    shutil.rmtree(file.parent)
    finished = job.finish() == 0 and job.ends_as(bench.undisturbed())
    note = "refused when it is read; prepared anew"
    return Outcome(1, int(status == WRONG_INPUT and said and finished), note=note)


def damaged_checkpoint(bench: Bench, kills: int, rng: random.Random) -> Outcome:
    """It is set aside by name, and the one before it is used."""
    job = bench.job("checkpoint")
    job.start()
    job.until(lambda: job.saved() >= 3 * SAVE_EVERY)
    job.kill()
    newest = job.saved()
    folder = job.workdir / FOLDER / str(newest)
    files = [f for f in folder.rglob("*") if f.is_file() and f.parent != folder]
    size = sum(file.stat().st_size for file in files)
    _flip(rng.choice([file for file in files if file.stat().st_size]), rng)
    status = job.finish()
    said = f"checkpoint {folder} is damaged" in job.printed()
    aside = (job.workdir / DAMAGED / str(newest)).is_dir()
    finished = status == 0 and job.ends_as(bench.undisturbed())
    return Outcome(1, int(said and aside and finished), SAVE_EVERY, size, "set aside")


def full_disk(bench: Bench, kills: int, rng: random.Random) -> Outcome:
    """The run says so; the checkpoint before stays; with room, it goes on."""
    job = bench.job("full")
    job.workdir.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(job.workdir)]
    done = subprocess.run(mount, capture_output=True, text=True)
    if done.returncode:
        return Outcome(0, 0, note=f"skipped, no tmpfs here: {done.stderr.strip()}")
    try:
        job.start()
        job.until(lambda: job.saved() > 0)
        ballast = job.workdir / "ballast"
        with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))
        status = job.wait()
        said = "No space left" in job.printed() or "disk is full" in job.printed()
        saved = job.saved()
        ballast.unlink()
        subprocess.run(["mount", "-o", "remount,size=64m", job.workdir], check=True)
        finished = job.finish() == 0 and job.ends_as(bench.undisturbed())
    finally:
        if job.process.poll() is None:
            job.kill()
        subprocess.run(["umount", "-l", str(job.workdir)], check=True)
    note = f"ended with status {status} after step {saved} was saved"
    return Outcome(1, int(bool(status) and said and finished), SAVE_EVERY, note=note)


def missing_host(bench: Bench, kills: int, rng: random.Random) -> Outcome:
    """Those that came say who did not."""
    job, seconds = bench.job("missing"), 3
    place = ["--coordinator=127.0.0.1:47113", "--num_processes=3", "--process_id=0"]
    job.command += [*place, f"--join_seconds={seconds}"]
    status = job.finish()
    said = "these did not come: process 1, 2" in job.printed()
    note = f"named after {seconds} s, status {status}"
    return Outcome(1, int(status == FAILED and said), note=note)


def _until_the_moment(job: Job, before: int, number: int, rng: random.Random) -> None:
    """A new step is saved, and then: any moment, or one within a save."""
    job.until(lambda: job.saved() > before)
    if number % 2:
        job.until(job.is_saving)
        time.sleep(rng.uniform(0, 0.02))
    else:
        time.sleep(rng.uniform(0, 0.3))


def _last_row(job: Job) -> int:
    """The last step that was logged."""
    return max((row["step"] for row in read_metrics(job.workdir)), default=0)


def _flip(file: Path, rng: random.Random) -> None:
    content = bytearray(file.read_bytes())
    content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    file.write_bytes(content)
