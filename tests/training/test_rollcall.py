"""Processes that come, and those that do not."""

import threading

import many_devices
import pytest

from rope_lab.training.distributed import Processes
from rope_lab.training.rollcall import call_roll


def call(numbers, count, seconds):
    """call_roll in a thread for each number; number -> message, None where it went."""
    address = f"127.0.0.1:{many_devices.free_port()}"
    messages = {}

    def one(number):
        try:
            messages[number] = call_roll(address, count, number, seconds)
        except TimeoutError as error:
            messages[number] = str(error)

    threads = [threading.Thread(target=one, args=(number,)) for number in numbers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return messages


def test_all_go_on_together_when_all_have_come():
    assert call([2, 1, 0], 3, 30) == {0: None, 1: None, 2: None}


def test_everyone_who_came_is_told_who_did_not():
    messages = call([0, 2], 4, 1.0)
    assert set(messages) == {0, 2}
    for message in messages.values():
        assert "these did not come: process 1, 3. Look at their output" in message


def test_a_missing_first_process_is_named_too():
    assert "did not come: process 0." in call([1], 2, 0.5)[1]


def test_strangers_at_the_door_change_nothing():
    import socket
    import time

    address = f"127.0.0.1:{many_devices.free_port()}"
    host, _, port = address.partition(":")
    came = []

    def first():
        came.append(call_roll(address, 2, 0, 30))

    thread = threading.Thread(target=first)
    thread.start()
    for message in (b"GET / HTTP/1.1\r\n\r\n", b'{"process": "x"}\n', b"[1]\n"):
        while True:
            try:
                with socket.create_connection((host, int(port))) as stranger:
                    stranger.sendall(message)
                break
            except ConnectionRefusedError:  # it does not listen yet
                time.sleep(0.01)
    assert call_roll(address, 2, 1, 30) is None
    thread.join()
    assert came == [None]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("host:1", None, None), "belong together"),
        ((None, 2, 0), "belong together"),
        (("host", 2, 0), "must be host:port"),
        (("host:1", 2, 2), "--process_id is 2; it must be 0 to 1"),
        ((None, None, None, 0), "--join_seconds is 0"),
    ],
)
def test_flags_that_do_not_fit_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Processes(*arguments)


def test_one_that_connects_and_says_nothing_keeps_nobody_waiting():
    import socket
    import time

    port = many_devices.free_port()
    address, came = f"127.0.0.1:{port}", []
    first = threading.Thread(target=lambda: came.append(call_roll(address, 2, 0, 30)))
    first.start()
    while True:
        try:
            silent = socket.create_connection(("127.0.0.1", port))
            break
        except ConnectionRefusedError:  # it does not listen yet
            time.sleep(0.01)
    with silent:
        assert call_roll(address, 2, 1, 30) is None
        first.join()
    assert came == [None]
