import io

import pytest

from rope_lab.training import Progress
from rope_lab.training.progress import format_seconds


class Terminal(io.StringIO):
    def isatty(self):
        return True


def report(stream):
    progress = Progress(200, "pretrain", stream)
    progress.update(50, 2.34567, 12_345.6, 125.0)
    progress.update(200, 1.5, 12_345.6, 0.0)
    progress.close()
    return stream.getvalue()


def test_a_file_gets_one_line_per_report():
    assert report(io.StringIO()).splitlines() == [
        "pretrain  step 50/200 (25%)  loss 2.3457  12,346 tokens/s  2:05 left",
        "pretrain  step 200/200 (100%)  loss 1.5000  12,346 tokens/s  0:00 left",
    ]


def test_a_terminal_gets_one_line_that_is_rewritten():
    text = report(Terminal())
    assert text.count("\n") == 1 and text.endswith("\n")
    assert text.count("\r") == 2


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0:00"), (59.6, "1:00"), (3723, "1:02:03")]
)
def test_times_read_like_a_clock(seconds, text):
    assert format_seconds(seconds) == text
