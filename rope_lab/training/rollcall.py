"""Who is there, before JAX is started in several processes.

JAX aborts a process when another does not come, and does not say which. So process 0
first listens at the coordinator's address, and the others tell it their numbers; it
lets all of them go on together, or tells those who came who is missing.
"""

import json
import socket
import time
from typing import Any

_RETRY_SECONDS = 0.2
_ANSWER_SECONDS = 2.0


def call_roll(address: str, count: int, number: int, seconds: float) -> None:
    """Returns when all processes have called it, in each of them.

    Args:
      address: "host:port" of process 0, free until then and again afterwards.
      count: processes in all.
      number: of this one, from 0.
      seconds: how long to wait for the others.

    Raises:
      TimeoutError: names the processes that did not come.
    """
    host, _, port = address.rpartition(":")
    deadline = time.monotonic() + seconds
    if number == 0:
        missing = _take_the_roll(int(port), count, deadline)
    else:
        missing = _report(host, int(port), number, deadline)
    if missing:
        who = ", ".join(map(str, missing))
        raise TimeoutError(
            f"process {number} of {count} waited {seconds:g} s at {address}, and these "
            f"did not come: process {who}. Look at their output, start all of them "
            "with the same --coordinator and --num_processes, or wait longer with "
            "--join_seconds"
        )


def _take_the_roll(port: int, count: int, deadline: float) -> list[int]:
    """Process 0: numbers that did not come, which it also tells those who did."""
    here: dict[int, socket.socket] = {}
    with socket.create_server(("", port), backlog=count) as server:
        while len(here) < count - 1 and (left := deadline - time.monotonic()) > 0:
            server.settimeout(left)
            try:
                connection = server.accept()[0]
            except TimeoutError:
                break
            try:
                connection.settimeout(_ANSWER_SECONDS)
                here[int(_received(connection)["process"])] = connection
            except (OSError, ValueError, KeyError, TypeError):
                connection.close()  # not one of us, or one that says nothing
        missing = sorted(set(range(1, count)) - set(here))
        for connection in here.values():
            _sent(connection, {"missing": missing})
            connection.close()
    return missing


def _report(host: str, port: int, number: int, deadline: float) -> list[int]:
    """Another process: numbers that did not come, [0] if nobody answers."""
    while (left := deadline - time.monotonic()) > 0:
        try:
            with socket.create_connection((host, port), timeout=left) as connection:
                _sent(connection, {"process": number})
                # Process 0 answers at its own deadline, which may be later than ours.
                connection.settimeout(left + 30.0)
                return [int(one) for one in _received(connection)["missing"]]
        except (OSError, ValueError, KeyError, TypeError):
            time.sleep(_RETRY_SECONDS)  # it does not listen yet
    return [0]


def _sent(connection: socket.socket, message: dict[str, Any]) -> None:
    try:
        connection.sendall(json.dumps(message).encode() + b"\n")
    except OSError:
        return  # it has gone: that is for the heartbeat to find


def _received(connection: socket.socket) -> dict[str, Any]:
    with connection.makefile("r") as lines:
        return json.loads(lines.readline(100_000))
