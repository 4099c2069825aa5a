"""One line that says how far training is and how long it still takes."""

import sys
from typing import TextIO


class Progress:
    """Prints a line per report: rewritten in place on a terminal, else one by one.

    Args:
      num_steps: updates in the whole run.
      label: what is trained, at the start of the line.
      stream: where to print; default: standard error, looked up when printing.
    """

    def __init__(
        self, num_steps: int, label: str = "train", stream: TextIO | None = None
    ):
        self.num_steps = num_steps
        self.label = label
        self._stream = stream
        self._width = 0

    def update(
        self, step: int, loss: float, tokens_per_second: float, seconds_left: float
    ) -> None:
        """Reports the state after `step` updates; loss in nats per token."""
        share = 100 * step // self.num_steps
        self._print(
            f"{self.label}  step {step}/{self.num_steps} ({share}%)  "
            f"loss {loss:.4f}  {tokens_per_second:,.0f} tokens/s  "
            f"{format_seconds(seconds_left)} left"
        )

    def message(self, text: str) -> None:
        """Prints a line that stays."""
        self._print(f"{self.label}  {text}")
        self.close()

    def close(self) -> None:
        """Leaves the line."""
        if self._width:
            self._width = 0
            self._out.write("\n")
            self._out.flush()

    @property
    def _out(self) -> TextIO:
        return sys.stderr if self._stream is None else self._stream

    def _print(self, line: str) -> None:
        if self._out.isatty():
            self._out.write("\r" + line.ljust(self._width))
            self._width = len(line)
        else:
            self._out.write(line + "\n")
        self._out.flush()


def format_seconds(seconds: float) -> str:
    """As 1:02:03, or 2:03 below an hour."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
