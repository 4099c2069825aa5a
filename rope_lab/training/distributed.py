"""Several processes as one run, on JAX's own distributed runtime."""

import contextlib
import dataclasses
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from rope_lab.training.rollcall import call_roll


@dataclasses.dataclass(frozen=True)
class Processes:
    """Which process of how many this is, and how long it waits for the others.

    Raises:
      ValueError: a value that does not fit, or some of the first three alone.
    """

    coordinator: str | None = None  # "host:port" of process 0; None: the cluster knows
    count: int | None = None
    number: int | None = None  # from 0
    join_seconds: int = 300  # until all are there
    heartbeat_seconds: int = 100  # until a process that says nothing counts as dead

    def __post_init__(self):
        given = (self.coordinator, self.count, self.number)
        if any(x is None for x in given):
            if any(x is not None for x in given):
                raise ValueError(
                    "--coordinator, --num_processes and --process_id belong together; "
                    f"got {given}. On SLURM, GKE and TPU VMs leave all three out and "
                    "give --distributed"
                )
        elif not self.coordinator.rpartition(":")[2].isdecimal():
            raise ValueError(
                f"--coordinator is {self.coordinator!r}; it must be host:port"
            )
        elif not 0 <= self.number < self.count:
            raise ValueError(
                f"--process_id is {self.number}; it must be 0 to {self.count - 1}, "
                "below --num_processes"
            )
        for name in ("join_seconds", "heartbeat_seconds"):
            if getattr(self, name) < 1:
                raise ValueError(f"--{name} is {getattr(self, name)}; at least 1")


def join(processes: Processes) -> None:
    """Starts JAX together with the other processes; before anything else uses JAX.

    Raises:
      TimeoutError: names the processes that did not come.
    """
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.config.update("jax_enable_preemption_service", True)
    seconds = processes.join_seconds
    waits: dict[str, Any] = {
        "initialization_timeout": seconds,
        "heartbeat_timeout_seconds": processes.heartbeat_seconds,
    }
    if processes.coordinator is None:
        with _announced(0.9 * seconds, seconds):
            jax.distributed.initialize(**waits)
        return
    address, count, number = processes.coordinator, processes.count, processes.number
    call_roll(address, count, number, seconds)
    jax.distributed.initialize(address, count, number, **waits)


@contextlib.contextmanager
def _announced(after: float, seconds: int) -> Iterator[None]:
    """Says what JAX, which then aborts the process, would not say."""
    message = (
        f"error: not all processes of this job have joined; in {seconds - after:.0f} s "
        f"JAX gives up, after {seconds} s (--join_seconds). Look for a process whose "
        "output stops before this line, or that was never started"
    )
    timer = threading.Timer(after, lambda: print(message, file=sys.stderr, flush=True))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def is_first() -> bool:
    """Whether this process writes what is written once."""
    return jax.process_index() == 0


def agreed(value: int) -> int:
    """The value that process 0 has, in all of them."""
    if jax.process_count() == 1:
        return value
    return int(multihost_utils.broadcast_one_to_all(np.int64(value)))


@contextlib.contextmanager
def stopping() -> Iterator[Callable[[int], bool]]:
    """A function of the step: whether to save after it and end, because of SIGTERM.

    Several processes agree on the step, whichever of them got the signal. Only the main
    thread of a process can install a handler.
    """
    if jax.process_count() > 1:
        yield multihost_utils.reached_preemption_sync_point
        return
    stopped = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield lambda step: False
        return
    before = signal.signal(signal.SIGTERM, lambda *_: stopped.set())
    try:
        yield lambda step: stopped.is_set()
    finally:
        signal.signal(signal.SIGTERM, before)
