"""Several processes of one run on one machine; all again when one dies.

    python -m experiments.launch.local --processes=2 -- \
        python -m experiments.pretrain --config=configs/pretrain.py --workdir=runs/two

What follows `--` is the command; each process gets it with its --coordinator,
--num_processes and --process_id. When one ends badly the others are killed and all are
started again, which goes on from the newest checkpoint, at most --max_restarts times.
SIGTERM and SIGINT are handed on; a run that saved and ended because of SIGTERM (status
143) is not started again.

--devices=4 gives each process four devices on a machine that has none but its CPU.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the status of the job: that of the first process that ended badly, or 0.

    Restarts happen here; everything that is saved is saved by the run itself.
    """
    options, command = _parse(sys.argv[1:] if argv is None else list(argv))
    with _handing_on() as job:
        for attempt in range(options.max_restarts + 1):
            status = _run(options, command, job)
            if status == 0 or job.stopped:
                return status
            left = options.max_restarts - attempt
            print(
                f"local: a process ended with status {status}; "
                + (
                    f"starting all again, {left} restarts left" if left else "giving up"
                ),
                file=sys.stderr,
                flush=True,
            )
    return status


class _Job:
    """The processes that run, for the handler of signals."""

    def __init__(self) -> None:
        self.running: list[subprocess.Popen] = []
        self.stopped = False

    def hand_on(self, number: int, _frame: object) -> None:
        """Sends the signal to every process."""
        self.stopped = True
        for process in self.running:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(number)


@contextlib.contextmanager
def _handing_on() -> Iterator[_Job]:
    job = _Job()
    signals = (signal.SIGTERM, signal.SIGINT)
    before = [signal.signal(number, job.hand_on) for number in signals]
    try:
        yield job
    finally:
        for number, handler in zip(signals, before, strict=True):
            signal.signal(number, handler)


def _run(options: argparse.Namespace, command: list[str], job: _Job) -> int:
    """One attempt: the first status that is not 0, once all have ended."""
    # A port of its own each time: the one before may still be in use.
    address = f"127.0.0.1:{_free_port()}"
    environment = dict(os.environ)
    if options.devices:
        flag = f"--xla_force_host_platform_device_count={options.devices}"
        environment["XLA_FLAGS"] = f"{environment.get('XLA_FLAGS', '')} {flag}".strip()
    for number in range(options.processes):
        place = [
            f"--coordinator={address}",
            f"--num_processes={options.processes}",
            f"--process_id={number}",
        ]
        process = subprocess.Popen([*command, *place], env=environment)
        job.running.append(process)
        message = f"local: process {number} of {options.processes} is {process.pid}"
        print(message, file=sys.stderr, flush=True)
    try:
        return _wait(job)
    finally:
        _end(job)


def _wait(job: _Job) -> int:
    """Until all have ended well, or one has not."""
    while True:
        statuses = [process.poll() for process in job.running]
        failed = [status for status in statuses if status]
        if failed and not job.stopped:
            return failed[0]
        if None not in statuses:
            return failed[0] if failed else 0
        time.sleep(0.05)


def _end(job: _Job) -> None:
    """Ends at once those that still run: without the dead one they cannot even save."""
    for process in job.running:
        if process.poll() is None:
            process.kill()
        process.wait()
    job.running.clear()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _parse(argv: list[str]) -> tuple[argparse.Namespace, list[str]]:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--processes", type=int, required=True)
    parser.add_argument("--max_restarts", type=int, default=3)
    parser.add_argument("--devices", type=int, help="CPU devices of each process")
    if "--" not in argv:
        parser.error(
            "the command is missing: ... -- python -m experiments.pretrain ..."
        )
    cut = argv.index("--")
    options, command = parser.parse_args(argv[:cut]), argv[cut + 1 :]
    if options.processes < 1 or options.max_restarts < 0 or not command:
        parser.error("--processes at least 1, --max_restarts at least 0, a command")
    return options, command


if __name__ == "__main__":
    sys.exit(main())
