"""The three ways in which papers cut a document to measure perplexity at a length.

``last``: ReRoPE's (bojone/rerope, eval_loss.py). The last n tokens of a document are
the targets at every length; what grows is the context before them.

``sliding``: YaRN's (jquesnelle/yarn, eval/perplexity.py), which the Resonance paper's
code inherits. Windows of the length walk over the whole document in strides; each
begins with BOS and scores what the one before has not.

``first``: the same with ``--truncate``. One window, BOS and the first tokens, all of
them scored; its loss by position is what plots of loss against position show.

A document's tokens are numbered without BOS: 0 .. N-1. A model that knows no BOS does
without: its windows hold one token more, and nothing predicts a document's first.
"""

from __future__ import annotations

from typing import NamedTuple

CONVENTIONS = ("last", "sliding", "first")
WEIGHTS = ("tokens", "windows")


class Window(NamedTuple):
    """Tokens start .. stop-1 are read, BOS before them or not; the last are scored."""

    start: int
    stop: int
    scored: int
    bos: bool


def last(tokens: int, length: int, targets: int, bos: bool = True) -> list[Window]:
    """One window of `length` inputs whose final `targets` targets are scored.

    BOS is the first token of a document and cut off with the rest of its beginning. A
    document that is shorter than the window is read whole, as in the released code.
    """
    if tokens + bos > length + 1:
        start = tokens - (length + 1)
        return [Window(start, tokens, min(targets, length), False)]
    return [Window(0, tokens, min(targets, tokens - (not bos)), bos)]


def sliding(tokens: int, length: int, stride: int, bos: bool = True) -> list[Window]:
    """Windows of `length` tokens, BOS among them, every `stride` tokens."""
    windows, scored = [], 0 if bos else 1
    for start in range(0, tokens, stride):
        stop = min(start + length - bos, tokens)
        windows.append(Window(start, stop, stop - scored, bos))
        scored = stop
        if stop == tokens:
            break
    return windows


def first(tokens: int, length: int, bos: bool = True) -> list[Window]:
    """BOS and the first length - 1 tokens, all scored."""
    stop = min(tokens, length - bos)
    return [Window(0, stop, stop - (not bos), bos)]


def filled(convention: str, tokens: int, bos: bool = True) -> int:
    """The length in tokens that a document of so many fills.

    A window of "last" has the length in inputs and a target behind them; those of the
    others count BOS and every token.
    """
    return tokens + bos - (convention == "last")


def check_cut(convention: str, lengths: list[int], most: int | None, bos: bool) -> None:
    """Raises ValueError where documents cut to `most` tokens cannot fill a length."""
    longest = max(lengths)
    if most is None or (room := filled(convention, most, bos)) >= longest:
        return
    raise ValueError(
        f"documents are cut to maximum_tokens {most}, which fill {room} tokens of a "
        f"window of {convention!r}, and the longest length is {longest}: give "
        f"maximum_tokens of at least {most + longest - room}, or shorter lengths"
    )


def check_convention(
    convention: str, lengths: list[int], targets: int, stride: int
) -> None:
    """Raises ValueError for what no document could be measured with."""
    if convention not in CONVENTIONS:
        raise ValueError(
            f"convention is {convention!r}; expected one of {', '.join(CONVENTIONS)}"
        )
    if not lengths or min(lengths) < 2 or len(set(lengths)) < len(lengths):
        raise ValueError(
            f"lengths are {lengths}; give different numbers of at least 2 tokens"
        )
    shortest = min(lengths)
    if convention == "last" and not 1 <= targets <= shortest:
        raise ValueError(
            f"the last {targets} targets do not fit into the shortest length, "
            f"{shortest} tokens: every length has to score the same targets, so give "
            f"1 to {shortest} targets"
        )
    if convention == "sliding" and not 1 <= stride < shortest:
        raise ValueError(
            f"a stride of {stride} tokens leaves out targets of windows of {shortest} "
            f"tokens, BOS among them; give 1 to {shortest - 1}"
        )
